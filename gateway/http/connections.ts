// Owns: the HTTP connections of a gateway while it ends. A connection that a client keeps is never closed under a request
// on its way: the next answer asks the client to close it (app.ts), and one that was quiet for long enough is ended.
// Elsewhere: WebSockets (gateway/websocket) and streams (gateway/sse), whose sessions move away by themselves.

import type { OutgoingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";

/** Milliseconds without a byte of a client after which a kept connection is ended: a busy one is used sooner. */
const QUIET_MS = 500;

/** Milliseconds between looks while draining. */
const LOOK_MS = 50;

interface Quiet {
  bytes: number;
  sinceMs: number;
}

export class HttpConnections implements Component {
  readonly #clock: Clock;
  readonly #open = new Set<Socket>();
  #draining: Promise<void> | undefined;
  #finish: (() => void) | undefined;

  constructor(server: Server, clock: Clock) {
    this.#clock = clock;
    const open = this.#open;
    // One function for all sockets: nothing is kept of one that became a WebSocket.
    function closed(this: Socket): void {
      open.delete(this);
    }
    server.on("connection", (socket: Socket) => {
      open.add(socket);
      socket.on("close", closed);
    });
    server.prependListener("upgrade", (_request, socket) => {
      open.delete(socket as Socket);
      socket.removeListener("close", closed);
    });
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

/** Whether a request of this connection is not answered to its end (node:http keeps the answer at its socket). */
function isAnswering(socket: Socket): boolean {
  return ((socket as { _httpMessage?: OutgoingMessage | null })._httpMessage ?? null) !== null;
}
