// Owns: undici: the connections to the API server, kept and used again. HTTP/1.1 on purpose: a call that is given up ends
// its connection, so nobody waits for a dead one twice; over HTTP/2 all of them would wait for the same. Watches, each of
// which holds a connection for minutes, have connections of their own, so that they never take those of calls.
// Invariant: connections made with other certificates than those that count now are used no more.

import type { Agent, Dispatcher, ProxyAgent } from "undici";
import type { Credentials, KubeCredentials } from "./credentials.ts";

export interface Exchange {
  readonly method: Dispatcher.HttpMethod;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
}

/** Connections of calls: more at once wait. Above what work queues and the Lease need together. */
const CALL_CONNECTIONS_MAX = 32;

/** Milliseconds to connect, TLS included. */
const CONNECT_MS = 5_000;

/** Milliseconds that a connection is kept with nothing on it: above the time between two renewals of a Lease. */
const IDLE_MS = 30_000;

type Kind = "calls" | "watches";

export class Transport {
  readonly #credentials: KubeCredentials;
  readonly #agents = new Set<Agent | ProxyAgent>();
  readonly #current = new Map<Kind, { readonly agent: Agent | ProxyAgent; readonly fingerprint: string }>();

  constructor(credentials: KubeCredentials) {
    this.#credentials = credentials;
  }

  /** Resolves with the head of the answer; its body is the caller's to read or destroy. */
  async request(kind: Kind, exchange: Exchange): Promise<Dispatcher.ResponseData> {
    const credentials = await this.#credentials.read();
    const agent = await this.#agentFor(kind, credentials);
    const { server } = credentials;
    return agent.request({
      origin: server.origin,
      path: server.pathname.replace(/\/$/, "") + exchange.path,
      method: exchange.method,
      headers: { ...credentials.headers, ...exchange.headers },
      body: exchange.body ?? null,
      signal: exchange.signal,
      // Whoever calls has a deadline of its own.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** One connection of calls was found dead: the others that lie idle may be as dead. */
  suspect(): void {
    this.#retire("calls");
  }

  async close(): Promise<void> {
    this.#current.clear();
    await Promise.all([...this.#agents].map((agent) => agent.destroy()));
    this.#agents.clear();
  }

  async #agentFor(kind: Kind, credentials: Credentials): Promise<Agent | ProxyAgent> {
    const current = this.#current.get(kind);
    if (current?.fingerprint === credentials.fingerprint) return current.agent;
    const undici = await import("undici");
    const made = this.#current.get(kind);
    // Another call may have been faster.
    if (made?.fingerprint === credentials.fingerprint) return made.agent;
    this.#retire(kind);
    const connect = { ...credentials.tls, timeout: CONNECT_MS, keepAlive: true, keepAliveInitialDelay: IDLE_MS };
    const options = {
      allowH2: false,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS,
      ...(kind === "calls" ? { connections: CALL_CONNECTIONS_MAX } : {}),
    };
    const { proxyUrl } = credentials;
    const agent =
      proxyUrl === undefined
        ? new undici.Agent({ ...options, connect })
        : new undici.ProxyAgent({ ...options, uri: proxyUrl, requestTls: connect });
    this.#agents.add(agent);
    this.#current.set(kind, { agent, fingerprint: credentials.fingerprint });
    return agent;
  }

  /** What is under way on it goes on to its end. */
  #retire(kind: Kind): void {
    const agent = this.#current.get(kind)?.agent;
    if (agent === undefined) return;
    this.#current.delete(kind);
    void agent.close().then(
      () => this.#agents.delete(agent),
      () => this.#agents.delete(agent),
    );
  }
}
