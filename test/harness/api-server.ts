// Owns: a real Kubernetes API server for tests: etcd and kube-apiserver as plain processes of the test's own user, on free
// ports of 127.0.0.1, everything they keep in one temporary folder. With RBAC, Pod Security, a ServiceAccount issuer and
// an audit log of every request. No controllers run but those asked for, and no pods.
// KUBEBUILDER_ASSETS is the folder of the programs, as everywhere in the field. Speaking with it: kube-access.ts.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeAccess, type KubeAddress } from "./kube-access.ts";
import { freePort } from "./redis.ts";
import { until } from "./until.ts";

/** Folder of etcd, kube-apiserver and kubectl; undefined where the machine has none. */
export const KUBE_ASSETS = process.env["KUBEBUILDER_ASSETS"] || undefined;

/** Controllers of Kubernetes that can be asked for (kube-controller-manager must be in the folder). */
export type KubeController =
  | "endpointslice-controller"
  | "garbage-collector-controller"
  | "namespace-controller"
  | "serviceaccount-controller";

export interface ApiServerOptions {
  readonly controllers?: readonly KubeController[];
}

/** Times that other free ports are tried: between choosing one and listening, somebody else may take it. */
const START_ATTEMPTS_MAX = 5;

/** A start takes 5 s on two idle cores. */
const READY_WITHIN_MS = 120_000;

const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [{ level: "Metadata" }],
};

/** What is started so ends with the test's process, however that ends (Linux; elsewhere `close` ends it). */
const WITH_PARENT = spawnSync("setpriv", ["--version"]).status === 0 ? ["setpriv", "--pdeathsig", "KILL", "--"] : [];

export class ApiServer {
  readonly folder = mkdtempSync(join(tmpdir(), "earshot-api-"));
  readonly address: KubeAddress;
  readonly #assets: string;
  readonly #controllers: readonly KubeController[];
  readonly #token = randomBytes(16).toString("hex");
  readonly #children = new Map<string, ChildProcess>();
  #etcdPort = 0;
  #port = 0;
  #access: KubeAccess | undefined;

  private constructor({ controllers = [] }: ApiServerOptions) {
    if (KUBE_ASSETS === undefined) throw new Error("set KUBEBUILDER_ASSETS to the folder of etcd and kube-apiserver");
    this.#assets = KUBE_ASSETS;
    this.#controllers = controllers;
    this.address = {
      kubeconfig: join(this.folder, "kubeconfig"),
      kubectl: join(this.#assets, "kubectl"),
      auditLog: join(this.folder, "audit.log"),
    };
    const { privateKey, publicKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
      publicKeyEncoding: { type: "spki", format: "pem" },
    });
    this.#write("service-accounts.key", privateKey);
    this.#write("service-accounts.pub", publicKey);
    this.#write("tokens.csv", `${this.#token},admin,admin,system:masters\n`);
    this.#write("audit-policy.json", JSON.stringify(AUDIT_POLICY));
  }

  /** Starts one; resolves when it answers everything. */
  static async start(options: ApiServerOptions = {}): Promise<ApiServer> {
    const server = new ApiServer(options);
    try {
      await server.#startEtcd();
      await server.start();
      if (server.#controllers.length > 0) server.#startControllers();
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  get access(): KubeAccess {
    this.#access ??= new KubeAccess(this.address);
    return this.#access;
  }

  /** Starts the API server itself again after `kill`, on the port that it had. */
  async start(): Promise<void> {
    const isFirst = this.#port === 0;
    for (let attempt = 1; ; attempt++) {
      if (isFirst) this.#port = await freePort();
      this.#writeKubeconfig();
      this.#spawn("kube-apiserver", this.#apiServerArgs());
      const isUp = await until(
        async () => (await this.#isReady()) || (this.isRunning ? undefined : "ended"),
        "kube-apiserver is ready",
        READY_WITHIN_MS,
      );
      if (isUp !== "ended") return;
      if (attempt === START_ATTEMPTS_MAX) throw new Error(`kube-apiserver ended: ${this.#logEnd("kube-apiserver")}`);
    }
  }

  /** Where etcd answers anybody of this machine, in plain text. */
  get etcdUrl(): string {
    return `http://127.0.0.1:${this.#etcdPort}`;
  }

  get isRunning(): boolean {
    return isAlive(this.#children.get("kube-apiserver"));
  }

  /** To the API server: SIGSTOP freezes it with its connections. */
  signal(signal: NodeJS.Signals): void {
    this.#children.get("kube-apiserver")?.kill(signal);
  }

  /** Ends the API server at once; etcd keeps what it knows. */
  async kill(): Promise<void> {
    await end(this.#children.get("kube-apiserver"));
  }

  /** Ends everything and removes the folder. Safe to call twice. */
  async close(): Promise<void> {
    for (const name of ["kube-controller-manager", "kube-apiserver", "etcd"]) await end(this.#children.get(name));
    await this.#access?.close();
    this.#access = undefined;
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #startEtcd(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.#etcdPort = await freePort();
      const [client, peer] = [`http://127.0.0.1:${this.#etcdPort}`, `http://127.0.0.1:${await freePort()}`];
      this.#spawn("etcd", [
        `--data-dir=${join(this.folder, "etcd")}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peer}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--initial-cluster=default=${peer}`,
        "--unsafe-no-fsync",
      ]);
      const etcd = this.#children.get("etcd");
      const isUp = await until(
        async () => (await isHealthy(`${client}/health`)) || (isAlive(etcd) ? undefined : "ended"),
        "etcd is ready",
        READY_WITHIN_MS,
      );
      if (isUp !== "ended") return;
      if (attempt === START_ATTEMPTS_MAX) throw new Error(`etcd ended: ${this.#logEnd("etcd")}`);
    }
  }

  #apiServerArgs(): readonly string[] {
    return [
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      `--secure-port=${this.#port}`,
      "--bind-address=127.0.0.1",
      "--advertise-address=127.0.0.1",
      // It would write 127.0.0.1 into Endpoints, which may not be there.
      "--endpoint-reconciler-type=none",
      // Makes its own certificate there.
      `--cert-dir=${this.folder}`,
      "--service-cluster-ip-range=10.96.0.0/16",
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${join(this.folder, "service-accounts.pub")}`,
      `--service-account-signing-key-file=${join(this.folder, "service-accounts.key")}`,
      "--authorization-mode=Node,RBAC",
      "--enable-admission-plugins=NodeRestriction,ResourceQuota,PodSecurity",
      `--token-auth-file=${join(this.folder, "tokens.csv")}`,
      `--audit-policy-file=${join(this.folder, "audit-policy.json")}`,
      `--audit-log-path=${this.address.auditLog}`,
      "--allow-privileged=true",
    ];
  }

  #startControllers(): void {
    this.#spawn("kube-controller-manager", [
      `--kubeconfig=${this.address.kubeconfig}`,
      `--controllers=${this.#controllers.join(",")}`,
      `--service-account-private-key-file=${join(this.folder, "service-accounts.key")}`,
      "--leader-elect=false",
      "--secure-port=0",
    ]);
  }

  #writeKubeconfig(): void {
    const cluster = {
      server: `https://127.0.0.1:${this.#port}`,
      "certificate-authority": join(this.folder, "apiserver.crt"),
    };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "test", cluster }],
      users: [{ name: "admin", user: { token: this.#token } }],
      contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
      "current-context": "test",
    };
    // JSON is YAML.
    this.#write("kubeconfig", JSON.stringify(config));
  }

  async #isReady(): Promise<boolean> {
    if (!existsSync(join(this.folder, "apiserver.crt"))) return false;
    const access = new KubeAccess(this.address);
    try {
      return (await access.call("GET", "/readyz")).status === 200;
    } catch {
      return false;
    } finally {
      await access.close();
    }
  }

  #spawn(name: string, args: readonly string[]): void {
    const log = openSync(join(this.folder, `${name}.log`), "a");
    const [program = "", ...rest] = [...WITH_PARENT, join(this.#assets, name), ...args];
    this.#children.set(name, spawn(program, rest, { stdio: ["ignore", log, log], cwd: this.folder }));
    closeSync(log);
  }

  #logEnd(name: string): string {
    return readFileSync(join(this.folder, `${name}.log`), "utf8").slice(-2_000);
  }

  #write(file: string, text: string): void {
    writeFileSync(join(this.folder, file), text, { mode: 0o600 });
  }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}

function isAlive(child: ChildProcess | undefined): boolean {
  return child !== undefined && child.exitCode === null && child.signalCode === null;
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || !isAlive(child)) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
