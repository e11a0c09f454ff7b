// Owns: a WebSocket client for tests: Node's own, with its frames kept.

import { Frames } from "./frames.ts";

export interface WebSocketOptions {
  readonly topics?: readonly string[];
  readonly token?: string;
  /** Further query, like `presence=true`. */
  readonly query?: string;
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

export class WebSocketClient {
  readonly frames = new Frames();
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<Closed>;
  readonly #socket: WebSocket;

  /** `base` is `ws://host:port`. */
  constructor(base: string, options: WebSocketOptions = {}) {
    const query = new URLSearchParams(options.query);
    for (const topic of options.topics ?? []) query.append("topic_id", topic);
    if (options.token !== undefined) query.set("token", options.token);
    this.#socket = new WebSocket(`${base}/ws/subscribe?${query.toString()}`);
    this.#socket.addEventListener("message", (event) => this.frames.add(String(event.data)));
    this.closed = new Promise((resolve) => {
      this.#socket.addEventListener("close", ({ code, reason }) => resolve({ code, reason }));
    });
    // A close follows every error.
    this.#socket.addEventListener("error", () => {});
  }

  /** Sends a frame: an object as JSON, a string as it is. */
  send(frame: object | string): void {
    this.#socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  async close(): Promise<void> {
    this.#socket.close();
    await this.closed;
  }
}

/** Connects and waits for `welcome`, and for `subscribed` of every topic asked for. */
export async function openWebSocket(base: string, options: WebSocketOptions = {}): Promise<WebSocketClient> {
  const client = new WebSocketClient(base, options);
  await client.frames.next({ type: "welcome" });
  for (const topic of options.topics ?? []) await client.frames.next({ type: "subscribed", topic_id: topic });
  return client;
}
