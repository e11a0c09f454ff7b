// Owns: a TCP proxy on 127.0.0.1 that passes everything on in order, each piece late by so many milliseconds, both ways
// together. Late are answers alone, so that a round trip is late once.

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class SlowProxy {
  delayMs = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(port: number) {
    this.#server = createServer((client) => this.#accept(client, port));
  }

  /** In front of a port of this machine. */
  static async listen(port: number): Promise<SlowProxy> {
    const proxy = new SlowProxy(port);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("not listening");
    return address.port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket, port: number): void {
    const server = connect(port, "127.0.0.1");
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (piece) => server.write(piece));
    server.on("data", (piece) => {
      setTimeout(() => client.write(piece), this.delayMs);
    });
  }
}
