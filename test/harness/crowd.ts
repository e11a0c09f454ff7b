// Owns: very many WebSocket subscribers that only stay: a bare socket each, whose frames are thrown away, so that the test's
// process is not what is slow. Each has no token, and so is a user of its own.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { until } from "./until.ts";

/** Connections being opened at once. */
const OPENING = 200;

export class Crowd {
  readonly #sockets = new Set<Socket>();

  get size(): number {
    return this.#sockets.size;
  }

  /** Enters a topic `count` times, over several doors (`http://host:port`) in turn. */
  async enter(doors: readonly string[], topicId: string, count: number): Promise<void> {
    let opening = 0;
    for (let index = 0; index < count; index++) {
      await until(() => opening < OPENING, "others are let in", 60_000);
      opening += 1;
      void this.#open(new URL(doors[index % doors.length] ?? ""), topicId).finally(() => {
        opening -= 1;
      });
    }
    await until(() => opening === 0, "the last one is let in", 60_000);
  }

  async close(): Promise<void> {
    const sockets = [...this.#sockets];
    const closed = sockets.map((socket) => once(socket, "close"));
    for (const socket of sockets) socket.destroy();
    await Promise.all(closed);
  }

  async #open({ hostname, port, host }: URL, topicId: string): Promise<void> {
    const socket = connect(Number(port), hostname);
    socket.on("error", () => {});
    await once(socket, "connect");
    const path = `/ws/subscribe?topic_id=${encodeURIComponent(topicId)}`;
    // RFC 6455, section 1.3: the key is the one of its example.
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    if (!answer.toString("latin1").startsWith("HTTP/1.1 101")) throw new Error(answer.toString("latin1").slice(0, 200));
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.resume();
  }
}
