// Owns: how a test speaks with an API server, whichever it is: kubectl, raw HTTP (fast, and with the status code), tokens
// of ServiceAccounts, and the audit log as the oracle of who did what. Starting one: api-server.ts.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, type Dispatcher, request } from "undici";
import { parse } from "yaml";

/** What another process needs to speak with it. */
export interface KubeAddress {
  /** Path of a kubeconfig whose user may do everything. */
  readonly kubeconfig: string;
  /** Path or name of the program. */
  readonly kubectl: string;
  /** Path of the audit log; undefined where nobody said where it is. */
  readonly auditLog: string | undefined;
}

export type HttpMethod = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface OpenOptions {
  readonly body?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface KubectlResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface KubeResponse {
  readonly status: number;
  readonly body: unknown;
  /** Texts of `Warning` headers: unknown fields and the like. */
  readonly warnings: readonly string[];
}

/** One entry of the audit log (audit.k8s.io/v1), as far as tests look at it. */
export interface AuditEntry {
  readonly auditID: string;
  readonly stage: "RequestReceived" | "ResponseStarted" | "ResponseComplete" | "Panic";
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string; readonly groups?: readonly string[] };
  readonly impersonatedUser?: { readonly username: string };
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
    readonly apiGroup?: string;
  };
  readonly responseStatus?: { readonly code: number; readonly reason?: string };
  readonly requestReceivedTimestamp: string;
}

interface Kubeconfig {
  readonly clusters: readonly {
    readonly cluster: {
      readonly server: string;
      readonly "certificate-authority"?: string;
      readonly "certificate-authority-data"?: string;
    };
  }[];
  readonly users: readonly {
    readonly user: {
      readonly token?: string;
      readonly "client-certificate"?: string;
      readonly "client-key"?: string;
      readonly "client-certificate-data"?: string;
      readonly "client-key-data"?: string;
    };
  }[];
}

export class KubeAccess {
  readonly address: KubeAddress;
  /** `https://127.0.0.1:port` */
  readonly url: string;
  readonly #token: string | undefined;
  readonly #agent: Agent;
  /** kubectl keeps what it discovered; without one of its own, that of the user's home. */
  readonly #cache = mkdtempSync(join(tmpdir(), "earshot-kubectl-"));

  constructor(address: KubeAddress) {
    this.address = address;
    const config = parse(readFileSync(address.kubeconfig, "utf8")) as Kubeconfig;
    const cluster = config.clusters[0]?.cluster;
    const user = config.users[0]?.user ?? {};
    if (cluster === undefined) throw new Error(`${address.kubeconfig} names no cluster`);
    this.url = cluster.server;
    this.#token = user.token;
    this.#agent = new Agent({
      connect: {
        ca: fileOrData(cluster["certificate-authority"], cluster["certificate-authority-data"]),
        cert: fileOrData(user["client-certificate"], user["client-certificate-data"]),
        key: fileOrData(user["client-key"], user["client-key-data"]),
      },
    });
  }

  /** What kubectl printed; rejects with its stderr where it fails. `input` is its stdin. */
  async kubectl(args: readonly string[], input = ""): Promise<string> {
    const { code, stdout, stderr } = await this.tryKubectl(args, input);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  async tryKubectl(args: readonly string[], input = ""): Promise<KubectlResult> {
    const { kubectl, kubeconfig } = this.address;
    const child = spawn(kubectl, ["--kubeconfig", kubeconfig, "--cache-dir", this.#cache, ...args]);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
    child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
    child.stdin.on("error", () => {}).end(input);
    const code = await new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject));
    return { code, stdout, stderr };
  }

  /** One HTTP call as the kubeconfig's user, or as `headers` say (`Impersonate-User`). A text is sent as it is. */
  async call(
    method: HttpMethod,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<KubeResponse> {
    const sent = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const response = await this.open(method, path, { body: sent, headers });
    const text = await response.body.text();
    const isJson = String(response.headers["content-type"]).includes("json");
    const warnings = [response.headers["warning"] ?? []].flat().flatMap((header) => readWarnings(header));
    return { status: response.statusCode, body: isJson ? JSON.parse(text) : text, warnings };
  }

  /** The head of an answer; its body, which may be a watch's, is the caller's to read. */
  open(method: HttpMethod, path: string, { body, headers, signal }: OpenOptions): Promise<Dispatcher.ResponseData> {
    return request(`${this.url}${path}`, {
      method,
      dispatcher: this.#agent,
      body: body ?? null,
      headers: {
        ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
        "content-type": "application/json",
        ...headers,
      },
      signal: signal ?? null,
      bodyTimeout: 0,
    });
  }

  /** A token that proves a ServiceAccount (TokenRequest), as kubelet projects them into pods. */
  async serviceAccountToken(namespace: string, name: string, audience?: string): Promise<string> {
    const audiences = audience === undefined ? [] : ["--audience", audience];
    return (await this.kubectl(["create", "token", name, "-n", namespace, ...audiences])).trim();
  }

  /** Where the audit log ends now: what is asked later begins here. */
  auditEnd(): number {
    const { auditLog } = this.address;
    return auditLog !== undefined && existsSync(auditLog) ? readFileSync(auditLog).length : 0;
  }

  /** Every entry of the audit log from `start` (bytes) on. An answer that a client has stands in it. */
  audit(start = 0): readonly AuditEntry[] {
    const { auditLog } = this.address;
    if (auditLog === undefined) throw new Error("KUBE_AUDIT_LOG does not say where this cluster's audit log is");
    const lines = readFileSync(auditLog).subarray(start).toString("utf8").split("\n");
    // The last one is empty, or still being written.
    return lines.slice(0, -1).map((line) => JSON.parse(line) as AuditEntry);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
    rmSync(this.#cache, { recursive: true, force: true });
  }
}

function fileOrData(file: string | undefined, data: string | undefined): Buffer | undefined {
  if (file !== undefined) return readFileSync(file);
  return data === undefined ? undefined : Buffer.from(data, "base64");
}

/** `299 - "unknown field \"spec.foo\"", 299 - "..."` (RFC 7234, 5.5). */
function readWarnings(header: string): readonly string[] {
  return [...header.matchAll(/\d{3} \S+ ("(?:[^"\\]|\\.)*")/g)].map(([, quoted]) =>
    (quoted ?? "").slice(1, -1).replaceAll(/\\(.)/g, "$1"),
  );
}
