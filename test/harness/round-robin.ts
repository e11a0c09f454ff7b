// Owns: what a Service of Kubernetes does to connections: each new one goes to the next of several ports, past those that
// nobody listens on; one that is open stays where it is.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

export class RoundRobin {
  readonly #server: Server;
  readonly #ports: readonly number[];
  readonly #sockets = new Set<Socket>();
  #next = 0;

  private constructor(ports: readonly number[]) {
    this.#ports = ports;
    this.#server = createServer((client) => this.#forward(client, ports.length));
  }

  /** In front of ports of 127.0.0.1. */
  static async listen(ports: readonly number[]): Promise<RoundRobin> {
    const service = new RoundRobin(ports);
    service.#server.listen(0, "127.0.0.1");
    await once(service.#server, "listening");
    return service;
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #forward(client: Socket, tries: number): void {
    this.#keep(client);
    const upstream = connect(this.#ports[this.#next++ % this.#ports.length] ?? 0, "127.0.0.1");
    this.#keep(upstream);
    let isOpen = false;
    upstream.on("connect", () => {
      isOpen = true;
      client.pipe(upstream).pipe(client);
    });
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => {
      if (isOpen || tries <= 1) client.destroy();
      else if (!client.destroyed) this.#forward(client, tries - 1);
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
  }
}
