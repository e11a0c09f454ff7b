// Owns: a proxy in front of a real API server that does what API servers, load balancers and networks do on bad days. It
// ends TLS, keeps every request that it sees, and puts the kubeconfig's user in the place of whoever asks. Whoever is
// tested gets a kubeconfig of its own (`kubeconfig`) with a token that the proxy checks.

import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import { type AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestAuthority } from "./certificates.ts";
import type { HttpMethod, KubeAccess } from "./kube-access.ts";

/** What its certificates are made for. */
const DOMAIN = "faults.test";
const SERVER_NAME = `kubernetes.${DOMAIN}`;

export interface SeenRequest {
  /** Of performance.now(). */
  readonly atMs: number;
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly isWatch: boolean;
}

export interface Refusal {
  readonly status: number;
  readonly reason?: string;
  readonly message?: string;
  readonly retryAfterSeconds?: number;
}

/** What watches are told of bookmarks: everything, only the one that ends a list, nothing. */
export type Bookmarks = "all" | "list-end" | "none";

export class FaultProxy {
  readonly kubeconfig: string;
  /** Every request so far. */
  readonly requests: SeenRequest[] = [];
  bookmarks: Bookmarks = "all";
  /** Every answer but those of watches ends in its middle. */
  cutAnswers = false;
  /** Connections that were ever accepted. */
  accepted = 0;
  readonly #access: KubeAccess;
  readonly #folder = mkdtempSync(join(tmpdir(), "earshot-faults-"));
  #tls = new TestAuthority(DOMAIN).material([SERVER_NAME]);
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Set<WatchThrough>();
  #refuses: (request: SeenRequest) => Refusal | undefined = () => undefined;
  #token = "first token";
  #frozen: PromiseWithResolvers<void> | undefined;

  private constructor(access: KubeAccess) {
    this.#access = access;
    this.kubeconfig = join(this.#folder, "kubeconfig");
    this.#server = createServer(this.#serverTls, (request, response) => void this.#pass(request, response));
    this.#server.on("connection", (socket) => {
      if (!(socket instanceof Socket)) return;
      this.accepted += 1;
      this.#sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("tlsClientError", () => undefined);
  }

  static async listen(access: KubeAccess): Promise<FaultProxy> {
    const proxy = new FaultProxy(access);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    proxy.giveToken("first token");
    return proxy;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  /** Another authority: connections are made anew, and who trusts the one before makes none. */
  replaceAuthority(): void {
    this.#tls = new TestAuthority(DOMAIN).material([SERVER_NAME]);
    this.#server.setSecureContext(this.#serverTls);
    this.reset();
  }

  /** Writes the kubeconfig with this token; the proxy goes on with the one that it accepts. */
  giveToken(token: string): void {
    const { port } = this.#server.address() as AddressInfo;
    const cluster = {
      server: `https://127.0.0.1:${port}`,
      "certificate-authority-data": Buffer.from(this.#tls.authorities).toString("base64"),
      "tls-server-name": SERVER_NAME,
    };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "faults", cluster }],
      users: [{ name: "tested", user: { token } }],
      contexts: [{ name: "faults", context: { cluster: "faults", user: "tested" } }],
      "current-context": "faults",
    };
    writeFileSync(this.kubeconfig, JSON.stringify(config));
  }

  /** Everybody with another token is told 401 from now on. */
  accept(token: string): void {
    this.#token = token;
  }

  /** Answers these requests so, instead of passing them on; replaces what was said before. */
  refuse(refuses: (request: SeenRequest) => Refusal | undefined): void {
    this.#refuses = refuses;
  }

  /** Nothing goes through any more, and nothing is closed. */
  freeze(): void {
    this.#frozen ??= Promise.withResolvers();
  }

  /** What was held up goes on. */
  thaw(): void {
    this.#frozen?.resolve();
    this.#frozen = undefined;
  }

  /** Resets every connection (RST). */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** The next event of each open watch is passed on half, then its connection ends. */
  cutLines(): void {
    for (const watch of this.#watches) watch.cut = true;
  }

  /** Tells every open watch this line, and ends it. */
  endWatches(line = ""): void {
    for (const watch of this.#watches) watch.end(line);
  }

  async close(): Promise<void> {
    this.thaw();
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #serverTls(): { readonly cert: string; readonly key: string } {
    return { cert: this.#tls.certificate, key: this.#tls.key };
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "", "https://proxy");
    const query = Object.fromEntries(url.searchParams);
    const isWatch = query["watch"] === "true";
    const method = request.method ?? "";
    const seen = { atMs: performance.now(), method, path: url.pathname, query, isWatch };
    this.requests.push(seen);
    const gone = new AbortController();
    response.on("close", () => gone.abort()).on("error", () => gone.abort());
    try {
      const body = Buffer.concat(await request.toArray()).toString();
      await this.#frozen?.promise;
      if (gone.signal.aborted) return;
      const isKnown = request.headers.authorization === `Bearer ${this.#token}`;
      const refusal = isKnown ? this.#refuses(seen) : { status: 401, reason: "Unauthorized" };
      if (refusal !== undefined) return refuse(response, refusal);
      const answer = await this.#access.open(method as HttpMethod, url.pathname + url.search, {
        body: body === "" ? undefined : body,
        headers: pickHeaders(request),
        signal: gone.signal,
      });
      await this.#frozen?.promise;
      response.writeHead(answer.statusCode, { "content-type": String(answer.headers["content-type"]) });
      response.flushHeaders();
      if (isWatch && answer.statusCode === 200) return await this.#watch(response, answer.body);
      for await (const piece of answer.body) {
        await this.#frozen?.promise;
        if (this.cutAnswers) return void response.write(piece.subarray(0, piece.length / 2), () => response.destroy());
        response.write(piece);
      }
      response.end();
    } catch {
      response.destroy();
    }
  }

  async #watch(response: ServerResponse, body: AsyncIterable<Buffer>): Promise<void> {
    const watch = new WatchThrough(response);
    this.#watches.add(watch);
    response.on("close", () => this.#watches.delete(watch));
    for await (const line of lines(body)) {
      await this.#frozen?.promise;
      if (this.#isWithheld(line)) continue;
      watch.pass(line);
    }
    response.end();
  }

  #isWithheld(line: string): boolean {
    if (this.bookmarks === "all" || !line.startsWith('{"type":"BOOKMARK"')) return false;
    return this.bookmarks === "none" || !line.includes("initial-events-end");
  }
}

class WatchThrough {
  /** The next line is passed on half. */
  cut = false;
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  pass(line: string): void {
    if (this.#response.writableEnded) return;
    if (this.cut) this.end(line.slice(0, line.length / 2));
    else this.#response.write(`${line}\n`);
  }

  end(text: string): void {
    if (!this.#response.writableEnded) this.#response.end(text);
  }
}

async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let begun = "";
  for await (const piece of body) {
    const parts = (begun + piece.toString("latin1")).split("\n");
    begun = parts.pop() ?? "";
    // Bytes of a character may come in two pieces: they are joined before they are read.
    for (const part of parts) yield Buffer.from(part, "latin1").toString();
  }
}

function pickHeaders({ headers }: IncomingMessage): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of ["content-type", "accept", "user-agent"]) {
    const value = headers[name];
    if (typeof value === "string") picked[name] = value;
  }
  return picked;
}

function refuse(response: ServerResponse, { status, reason, message, retryAfterSeconds }: Refusal): void {
  const after = retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
  response.writeHead(status, { "content-type": "application/json", ...after });
  const told = { reason: reason ?? "Refused", message: message ?? `refused with ${status}` };
  response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", code: status, ...told }));
}
