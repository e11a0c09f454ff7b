// Owns: processes that prove themselves as they do in a cluster: tokens of ServiceAccounts in files, TLS from folders,
// peers by names; with a control plane that says what the test says. One address of 127.0.0.0/8 a process, as pods have.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import type { Router } from "#core/domain/shard-map.ts";
import type { Topic } from "#core/domain/topic.ts";
import { createPeerIdentity } from "#core/fleet/peer-identity.ts";
import { type InstallationRole, peerAccount, peerDomain, peerServerName } from "#core/fleet/peer-names.ts";
import { ServiceAccounts } from "#core/fleet/service-accounts.ts";
import { shardMapToProto } from "#core/fleet/shard-map-codec.ts";
import { topicToRecord } from "#core/fleet/topic-codec.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { HeldTls } from "#core/runtime/tls.ts";
import { Role, type ServiceAccountKeys } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { TestAuthority, writeTlsFolder } from "./certificates.ts";
import { TestCluster, type TokenParts } from "./cluster-tokens.ts";
import { mapOf } from "./hand-map.ts";
import { handTopic } from "./router-rig.ts";
import { ScriptedOperator } from "./scripted-operator.ts";
import { until } from "./until.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const INSTALLATION = { release: "live", namespace: "shop" };
const LOG = createLog("silent", {});

export const PEER_AUDIENCE = peerDomain(INSTALLATION);

interface Pod {
  readonly role: "router" | "gateway";
  readonly name: string;
  readonly host: string;
  readonly ports: { readonly probes: number; readonly http: number; readonly grpc: number };
  readonly child: ChildProcess;
}

export class ProvenFleet {
  readonly folder = mkdtempSync(join(tmpdir(), "earshot-proven-"));
  readonly authority = new TestAuthority(PEER_AUDIENCE);
  readonly cluster: TestCluster;
  /** What the next `serve` tells of. */
  topics: readonly Topic[] = [handTopic("shop.demo", { permissions: "Public" })];
  readonly accounts: ServiceAccounts;
  readonly operator: ScriptedOperator;
  readonly #pods = new Map<string, Pod>();
  readonly #internalPort: number;
  #epoch = 0;
  #trusted: string;

  private constructor(
    cluster: TestCluster,
    parts: { readonly operator: ScriptedOperator; readonly accounts: ServiceAccounts; readonly internalPort: number },
  ) {
    this.cluster = cluster;
    this.#trusted = this.authority.pair.certificate;
    this.operator = parts.operator;
    this.accounts = parts.accounts;
    this.#internalPort = parts.internalPort;
  }

  /** With an operator that knows the cluster's keys. */
  static async start(): Promise<ProvenFleet> {
    const cluster = await TestCluster.create("ES256");
    const accounts = new ServiceAccounts({ clock: SYSTEM_CLOCK, log: LOG });
    accounts.update(cluster.keys());
    const tls = new HeldTls();
    const config = { ...INSTALLATION, peerSecret: "", peerTokenFile: "", peerAudience: PEER_AUDIENCE, tlsFolder: "" };
    const parts = { clock: SYSTEM_CLOCK, log: LOG, registry: new Registry() };
    const identity = createPeerIdentity({ config, accounts, tls, ...parts });
    const operator = await ScriptedOperator.listen(identity);
    const fleet = new ProvenFleet(cluster, { operator, accounts, internalPort: await freePort() });
    tls.offer(fleet.authority.material([peerServerName("operator", INSTALLATION)]));
    return fleet;
  }

  /** Starts a process at an address of its own; resolves without waiting for it. */
  async spawn(role: "router" | "gateway", host: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
    const name = `${role}-${host}`;
    const folder = join(this.folder, name);
    mkdirSync(folder);
    const names = [peerServerName(role, INSTALLATION)] as const;
    writeTlsFolder(join(folder, "tls"), this.authority.material([...names], this.#trusted));
    await this.writeToken(name, { name: peerAccount(role, INSTALLATION) });
    const ports = { probes: await freePort(), http: await freePort(), grpc: await freePort() };
    const child = spawn(process.execPath, [join(ROOT, role, "main.ts")], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"] ?? "",
        EARSHOT_NAME: name,
        EARSHOT_RELEASE: INSTALLATION.release,
        EARSHOT_NAMESPACE: INSTALLATION.namespace,
        EARSHOT_PEERS: `dns:operator=${this.operator.address},router=127.0.0.1:${this.#internalPort}`,
        EARSHOT_PEER_AUDIENCE: PEER_AUDIENCE,
        EARSHOT_PEER_TOKEN_FILE: join(folder, "token"),
        EARSHOT_TLS_FOLDER: join(folder, "tls"),
        EARSHOT_INTERNAL_HOST: host,
        ...(role === "router" ? { EARSHOT_INTERNAL_PORT: String(this.#internalPort) } : {}),
        EARSHOT_PROBES_PORT: String(ports.probes),
        EARSHOT_HOST: host,
        ...(role === "gateway" ? { EARSHOT_PORT: String(ports.http) } : {}),
        EARSHOT_GRPC_PORT: String(ports.grpc),
        EARSHOT_SECRET: "a test's secret of thirty-two bytes",
        EARSHOT_ANONYMOUS: "true",
        EARSHOT_DRAIN: "2s",
        ...env,
      },
    });
    const log = join(folder, "log");
    for (const output of [child.stdout, child.stderr]) {
      output?.on("data", (chunk: Buffer) => writeFileSync(log, chunk, { flag: "a" }));
    }
    this.#pods.set(name, { role, name, host, ports, child });
    return name;
  }

  /** Resolves when a process has its stream to the operator. */
  async connected(name: string): Promise<void> {
    await until(
      () => {
        const { child } = this.#pod(name);
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${name} ended: ${this.log(name)}`);
        return this.#streamOf(name) !== undefined;
      },
      `${name} comes to the operator`,
      60_000,
    );
  }

  /** The token that a process shows from now on. */
  async writeToken(pod: string, parts: Partial<TokenParts> & { readonly name: string }): Promise<void> {
    const token = await this.cluster.token({ audience: PEER_AUDIENCE, ...parts });
    writeFileSync(join(this.folder, pod, "token"), `${token}\n`);
  }

  /** Tells all processes what the keys are, as the operator has them. */
  keys(keys: ServiceAccountKeys = this.cluster.keys()): void {
    this.accounts.update(keys);
    for (const stream of this.operator.streams) if (stream.open) stream.push({ serviceAccountKeys: keys });
  }

  /** Whom every running process trusts from now on. */
  trust(authorities: string): void {
    this.#trusted = authorities;
    for (const { name } of this.#pods.values()) writeFileSync(join(this.folder, name, "tls", "ca.crt"), authorities);
  }

  /** Gives a process a certificate of another authority. */
  certify(name: string, authority: TestAuthority, trusts: string): void {
    const names = [peerServerName(this.#pod(name).role, INSTALLATION)] as const;
    writeTlsFolder(join(this.folder, name, "tls"), authority.material([...names], trusts));
  }

  /** Who signed what a router shows. */
  async issuerOf(router: string): Promise<string> {
    const { host } = this.#pod(router);
    const socket = connect({ host, port: this.#internalPort, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    await once(socket, "secureConnect");
    const issuer = socket.getPeerX509Certificate()?.issuer ?? "";
    socket.destroy();
    return issuer;
  }

  /** Topics and a map in which these routers own everything, to all who are connected. */
  serve(routers: readonly string[]): void {
    this.#epoch += 1;
    const map = mapOf(
      this.#epoch,
      routers.map((name) => this.router(name)),
    );
    const topics = this.topics.map(topicToRecord);
    for (const stream of this.operator.streams) {
      if (!stream.open) continue;
      const shardMap = shardMapToProto(map);
      stream.push({
        topicsReset: true,
        topics,
        topicsComplete: true,
        shardMap,
        members: { processes: this.#gateways() },
      });
    }
  }

  /** As its Hello says. */
  router(name: string): Router {
    const hello = this.#streamOf(name)?.hello;
    if (hello === undefined) throw new Error(`${name} has not said hello`);
    const { incarnation, address, node, zone } = hello;
    return { incarnation, name, address, node, zone };
  }

  http(name: string): string {
    const { host, ports } = this.#pod(name);
    return `http://${host}:${ports.http}`;
  }

  grpc(name: string): string {
    const { host, ports } = this.#pod(name);
    return `${host}:${ports.grpc}`;
  }

  async notReady(name: string): Promise<readonly string[]> {
    const { host, ports } = this.#pod(name);
    try {
      const response = await fetch(`http://${host}:${ports.probes}/readyz`);
      return ((await response.json()) as { reasons: string[] }).reasons;
    } catch {
      return ["not there yet"];
    }
  }

  async metrics(name: string): Promise<string> {
    const { host, ports } = this.#pod(name);
    return await (await fetch(`http://${host}:${ports.probes}/metrics`)).text();
  }

  log(name: string): string {
    return readFileSync(join(this.folder, name, "log"), "utf8");
  }

  /** A caller of a router's port between processes, who trusts this installation and shows a token. */
  dial(router: string, token: string): GrpcClient {
    const source = new HeldTls();
    source.offer(this.authority.material(undefined, this.#trusted));
    const tls = { source, serverName: peerServerName("router", INSTALLATION) };
    return new GrpcClient(`${this.#pod(router).host}:${this.#internalPort}`, { bearer: () => token, tls });
  }

  /** A token of one of this installation's processes. */
  token(role: InstallationRole, parts: Partial<TokenParts> = {}): Promise<string> {
    return this.cluster.token({ name: peerAccount(role, INSTALLATION), audience: PEER_AUDIENCE, ...parts });
  }

  /** Resolves with the exit code of a process that ends by itself. */
  async ended(name: string): Promise<number | null> {
    const { child } = this.#pod(name);
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    return child.exitCode;
  }

  /** Lets another process have the name of one that ended. */
  forget(name: string): void {
    rmSync(join(this.folder, name), { recursive: true });
    this.#pods.delete(name);
  }

  async kill(name: string, signal: NodeJS.Signals): Promise<number | null> {
    const { child } = this.#pod(name);
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.kill(signal);
      await ended;
    }
    return child.exitCode;
  }

  async close(): Promise<void> {
    for (const name of this.#pods.keys()) await this.kill(name, "SIGKILL");
    this.operator.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #gateways() {
    const hellos = this.operator.streams.flatMap(({ open, hello }) => (open && hello !== undefined ? [hello] : []));
    return hellos
      .filter(({ role }) => role === Role.GATEWAY)
      .map(({ incarnation, role, name }) => ({ incarnation, role, name }));
  }

  #streamOf(name: string) {
    return this.operator.streams.findLast(({ open, hello }) => open && hello?.name === name);
  }

  #pod(name: string): Pod {
    const pod = this.#pods.get(name);
    if (pod === undefined) throw new Error(`there is no ${name}`);
    return pod;
  }
}

/** A port that was free on all addresses a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
