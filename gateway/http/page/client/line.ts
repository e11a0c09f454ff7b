// Owns: one WebSocket, from its opening until it is closed: says who we are, keeps watch over its signs of life, hands on
// every frame. Never opens another one: connection.ts does. Invariant: `ended` is called once, and nothing after it.

import type { Frame } from "./frames.ts";

/** Milliseconds until a connection that was not welcomed is given up. */
const WELCOME_MS = 10_000;
/** Milliseconds a pong may take: docs/protocol.md, "Signs of life". */
const PONG_MS = 10_000;
/** Close code of our own for a connection without signs of life: browsers let a page choose 3000 to 4999. */
const GIVEN_UP = 4_000;

export interface LineEvents {
  /** Who we are is settled: subscriptions may go out. */
  ready(line: Line, userId: string): void;
  frame(line: Line, frame: Frame, text: string): void;
  ended(line: Line, code: number): void;
}

export class Line {
  readonly #socket: WebSocket;
  readonly #events: LineEvents;
  readonly #token: string;
  #userId = "";
  #isReady = false;
  #hasEnded = false;
  #welcome: number;
  #pinging: number | undefined;
  #pong: number | undefined;

  constructor(url: string, token: string, events: LineEvents) {
    this.#events = events;
    this.#token = token;
    this.#socket = new WebSocket(url);
    this.#welcome = setTimeout(() => this.#end(GIVEN_UP), WELCOME_MS);
    this.#socket.addEventListener("open", () => {
      // In a frame, not in the URL: URLs end up in logs.
      if (token !== "") this.send(JSON.stringify({ type: "token", id: "token", token }));
    });
    this.#socket.addEventListener("message", ({ data }) => this.#receive(String(data)));
    this.#socket.addEventListener("close", ({ code }) => this.#end(code));
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  get userId(): string {
    return this.#userId;
  }

  /** Bytes that the network has not taken yet. */
  get unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(text: string): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  /** Ends it without a word to `events`. */
  close(): void {
    this.#stop();
    this.#socket.close(1000);
  }

  /** Asks for a sign of life now: the network has changed. */
  check(): void {
    if (this.#isReady && this.#pong === undefined) this.#ping();
  }

  #receive(text: string): void {
    if (this.#hasEnded) return;
    const frame = JSON.parse(text) as Frame;
    switch (frame.type) {
      case "welcome":
        clearTimeout(this.#welcome);
        this.#pinging = setInterval(() => this.#ping(), frame.ping_interval_ms);
        this.#userId = frame.user_id;
        // Where anonymous access is allowed, the welcome comes before our token was looked at.
        if (this.#token === "" || !frame.user_id.startsWith("anonymous:")) this.#settle();
        break;
      case "token":
        this.#userId = frame.user_id;
        this.#settle();
        break;
      case "pong":
        clearTimeout(this.#pong);
        this.#pong = undefined;
        return;
      case "subscribed":
      case "unsubscribed":
      case "message":
      case "gap":
      case "presence":
      case "published":
      case "error":
      case "reconnect":
      case "token_expiring":
        break;
    }
    this.#events.frame(this, frame, text);
    // A bad token: we go on as nobody in particular, where that is allowed.
    if (frame.type === "error" && frame.id === "token" && this.#userId !== "") this.#settle();
  }

  #settle(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#events.ready(this, this.#userId);
  }

  #ping(): void {
    this.send('{"type":"ping"}');
    // Browsers do not show us the server's own pings, so this is how a dead connection is found out.
    this.#pong ??= setTimeout(() => this.#end(GIVEN_UP), PONG_MS);
  }

  #end(code: number): void {
    if (this.#hasEnded) return;
    this.#stop();
    this.#socket.close();
    this.#events.ended(this, code);
  }

  #stop(): void {
    this.#hasEnded = true;
    this.#isReady = false;
    clearTimeout(this.#welcome);
    clearInterval(this.#pinging);
    clearTimeout(this.#pong);
  }
}
