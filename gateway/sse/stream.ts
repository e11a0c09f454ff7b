// Owns: one SSE stream: what carries a session over an HTTP answer. Events are written to the socket itself, shared with
// all other streams, so the body is not chunked: it ends with the connection (RFC 9112, 6.3), which also suits proxies
// that speak HTTP/1.0. Elsewhere: who may have one (routes.ts).

import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { SSE } from "../fanout/encoding.ts";
import { BECAME_STREAM } from "../http/connections.ts";
import { type Ping, type Pinged, type Pings, Taking } from "../sessions/pings.ts";
import type { Session, Transport } from "../sessions/session.ts";
import type { Sessions } from "../sessions/sessions.ts";

/** Milliseconds that an EventSource waits before it reconnects, jittered: a gateway that died is not stormed. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 5_000;

/** Milliseconds in which a client must go on taking the last words; who takes nothing is cut off. */
const LAST_WORDS_MS = 5_000;

const PING_COMMENT = Buffer.from(": ping\n\n");

const SSE_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
  connection: "close",
} as const;

/** The first line of every stream. */
export function retryLine(random: number): string {
  return `retry: ${Math.round(RETRY_MS_MIN + random * (RETRY_MS_MAX - RETRY_MS_MIN))}\n\n`;
}

export class SseStream implements Transport, Pinged {
  readonly encoding = SSE;
  readonly pingIntervalMs: number;
  readonly socket: Socket;
  readonly session: Session;
  readonly #response: ServerResponse;
  readonly #ping: Ping;
  readonly #taking = new Taking();

  /** Writes the head of the answer. `headers` are those that every answer has. */
  constructor(
    response: ServerResponse,
    socket: Socket,
    deps: { sessions: Sessions; pings: Pings; address: string; headers: Record<string, string> },
  ) {
    this.#response = response;
    this.socket = socket;
    this.pingIntervalMs = deps.pings.intervalMs;
    beginStream(response, deps.headers);
    socket.setTimeout(0);
    socket.emit(BECAME_STREAM);
    socket.write(retryLine(Math.random()));
    this.session = deps.sessions.enter(this, deps.address);
    this.#ping = deps.pings.add(this);
    response.once("close", () => {
      this.#ping.stop();
      this.session.gone();
    });
  }

  ping(): void {
    const waiting = this.socket.writableLength;
    if (this.#taking.isAlive(waiting, this.socket.bytesWritten - waiting)) this.#ping.heard();
    // To a client that is behind, what waits says that this gateway lives.
    if (this.session.outbox.clear && waiting === 0) this.socket.write(PING_COMMENT);
  }

  silent(): void {
    this.session.end(3102);
  }

  end(): void {
    this.#ping.stop();
    this.socket.setTimeout(LAST_WORDS_MS);
    this.#response.end();
  }
}

/** Sends the head of an answer whose body is written to the socket and ends with it. */
export function beginStream(response: ServerResponse, headers: Record<string, string>): void {
  response.removeHeader("transfer-encoding");
  response.writeHead(200, { ...headers, ...SSE_HEADERS });
  response.flushHeaders();
}
