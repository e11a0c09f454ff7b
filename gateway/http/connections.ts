// Owns: the HTTP connections of a gateway: how many there may be, and what becomes of them while it ends. At the cap the
// oldest that waits for nothing of ours gives way, so that whoever holds connections idle shuts nobody out. In a drain one
// that a client keeps is never closed under a request on its way: the next answer asks the client to close it (app.ts),
// and one that was quiet for long enough is ended.
// Elsewhere: WebSockets (gateway/websocket) and streams (gateway/sse): sessions, counted and moved away by themselves.

import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { type Registry, readCounter, readGauge } from "#core/runtime/metrics.ts";

/**
 * Connections of one process that carry no session. Calls are answered in milliseconds and kept for a minute; with a full
 * gateway's 15,000 sessions and 2,000 of gRPC this stays below the 20,000 files that a process may open.
 */
const HTTP_CONNECTIONS_MAX = 2_000;

/** Connections looked at, oldest first, for one that may give way; when none of them may, the new one is closed. */
const LOOKS_FOR_ROOM_MAX = 64;

/** Event of a socket whose answer has become a stream: it carries a session from now on. */
export const BECAME_STREAM = "earshot:stream";

/** Milliseconds without a byte of a client after which a kept connection is ended: a busy one is used sooner. */
const QUIET_MS = 500;

/** Milliseconds between looks while draining. */
const LOOK_MS = 50;

interface HttpConnectionsOptions {
  readonly clock: Clock;
  readonly registry: Registry;
  readonly max?: number;
}

interface Quiet {
  bytes: number;
  sinceMs: number;
}

export class HttpConnections implements Component {
  readonly #clock: Clock;
  /** The oldest first, but for those that were busy when room was looked for. */
  readonly #open = new Set<Socket>();
  readonly #max: number;
  /** Connections that were closed to make room, or because there was none. */
  #gaveWay = 0;
  #draining: Promise<void> | undefined;
  #finish: (() => void) | undefined;

  constructor(server: Server, { clock, registry, max = HTTP_CONNECTIONS_MAX }: HttpConnectionsOptions) {
    this.#clock = clock;
    this.#max = max;
    const held = `HTTP connections without a session, ${max} at most; then the oldest that waits for nothing gives way.`;
    readGauge(registry, "earshot_http_connections", held, () => this.#open.size);
    const gaveWay = "HTTP connections that were closed to make room, or because there was none.";
    readCounter(registry, "earshot_http_connections_gave_way_total", gaveWay, () => this.#gaveWay);
    const open = this.#open;
    // One function for all sockets: nothing is kept of one that carries a session.
    function left(this: Socket): void {
      open.delete(this);
      this.removeListener("close", left);
      this.removeListener(BECAME_STREAM, left);
    }
    server.on("connection", (socket: Socket) => {
      if (open.size >= this.#max) this.#makeRoom(socket);
      if (socket.destroyed) return;
      open.add(socket);
      socket.on("close", left);
      socket.on(BECAME_STREAM, left);
    });
    server.prependListener("upgrade", (_request, socket) => left.call(socket as Socket));
  }

  get size(): number {
    return this.#open.size;
  }

  /** Ends quiet connections; resolves when none is left, or at the deadline. */
  drain(deadlineMs: number): Promise<void> {
    this.#draining ??= new Promise((resolve) => {
      const quiet = new Map<Socket, Quiet>();
      const timers: Timer[] = [];
      this.#finish = () => {
        for (const timer of timers) timer.cancel();
        resolve();
      };
      const look = (): void => {
        this.#endQuiet(quiet);
        if (this.#open.size === 0) this.#finish?.();
      };
      timers.push(this.#clock.every(LOOK_MS, look), this.#clock.after(deadlineMs, this.#finish));
      look();
    });
    return this.#draining;
  }

  /** Ends every connection at once. */
  close(): Promise<void> {
    this.#finish?.();
    for (const socket of this.#open) socket.destroy();
    return Promise.resolve();
  }

  /** Closes the oldest that may go, or the newcomer. */
  #makeRoom(newcomer: Socket): void {
    this.#gaveWay += 1;
    let looks = 0;
    for (const socket of this.#open) {
      if (!isAwaited(socket)) {
        this.#open.delete(socket);
        socket.destroy();
        return;
      }
      looks += 1;
      if (looks === LOOKS_FOR_ROOM_MAX) break;
      // Looked at again only after all others.
      this.#open.delete(socket);
      this.#open.add(socket);
    }
    newcomer.destroy();
  }

  #endQuiet(quiet: Map<Socket, Quiet>): void {
    const nowMs = this.#clock.monotonic();
    for (const socket of this.#open) {
      const known = quiet.get(socket);
      if (isAnswering(socket)) {
        quiet.delete(socket);
      } else if (known === undefined || known.bytes !== socket.bytesRead) {
        quiet.set(socket, { bytes: socket.bytesRead, sinceMs: nowMs });
      } else if (nowMs - known.sinceMs >= QUIET_MS) {
        socket.end();
      }
    }
  }
}

/** Whether a request of this connection is not answered to its end. */
export function isAnswering(socket: Socket): boolean {
  return answerOf(socket) !== undefined;
}

/** Whether a request came whole and its answer is awaited. */
function isAwaited(socket: Socket): boolean {
  return answerOf(socket)?.req.complete === true;
}

/** The answer under way; node:http keeps it at its socket. */
function answerOf(socket: Socket): ServerResponse | undefined {
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
}
