// Owns: one public port of a gateway: sockets of our own that share the port with other gateways (SO_REUSEPORT), whose
// connections are given to whoever serves them. Several sockets a port, since libuv accepts one connection a turn and
// socket. Closing takes in what the kernel has queued first: closing a socket resets what waits in its queue.

import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import type { Component } from "#core/runtime/lifecycle.ts";

/** Sockets a port: reconnecting clients are accepted this many times faster between two slices of fan-out. */
const SOCKETS = 4;

/** Connections that the kernel keeps for each socket. */
const BACKLOG = 1_024;

/** Turns of the event loop without a new connection after which a queue counts as empty; and when to stop looking. */
const QUIET_TURNS = 3;
const EMPTYING_MS_MAX = 500;

interface ListenOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Whether other processes listen on the same port (Linux only). */
  readonly shared: boolean;
  readonly accept: (socket: Socket) => void;
}

export class Listener implements Component {
  readonly port: number;
  readonly #servers: readonly Server[];
  readonly #accepted: () => number;
  #closing: Promise<void> | undefined;

  private constructor(servers: readonly Server[], port: number, accepted: () => number) {
    this.#servers = servers;
    this.port = port;
    this.#accepted = accepted;
  }

  /** Rejects with the system's error when the port cannot be had; nothing is left open then. */
  static async listen({ host, port, shared, accept }: ListenOptions): Promise<Listener> {
    const servers: Server[] = [];
    let accepted = 0;
    let bound = port;
    const onConnection = (socket: Socket): void => {
      accepted += 1;
      accept(socket);
    };
    try {
      for (let index = 0; index < (shared ? SOCKETS : 1); index++) {
        const server = createServer({ noDelay: true }, onConnection);
        servers.push(server);
        server.listen({ host, port: bound, backlog: BACKLOG, reusePort: shared, exclusive: true });
        await once(server, "listening");
        bound = (server.address() as AddressInfo).port;
      }
    } catch (error) {
      for (const server of servers) server.close();
      throw error;
    }
    return new Listener(servers, bound, () => accepted);
  }

  /** Accepts no more, once the queues are empty. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const endsAtMs = performance.now() + EMPTYING_MS_MAX;
    let known = this.#accepted();
    for (let quiet = 0; quiet < QUIET_TURNS && performance.now() < endsAtMs; quiet++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#accepted() === known) continue;
      known = this.#accepted();
      quiet = -1;
    }
    // 'close' comes only after the last connection has ended, which is not waited for here.
    for (const server of this.#servers) server.close();
  }
}
