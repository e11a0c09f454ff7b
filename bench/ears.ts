// Owns: many WebSocket clients that do nothing but count text frames (RFC 6455, 5.2: unmasked, whole), as cheaply as Node
// can, so that one core of listeners keeps up with a server on the other.

import { connect, type Socket } from "node:net";

const TEXT = 0x81;
const HEAD_END = "\r\n\r\n";

export class Ears {
  /** Text frames that all of them have heard. */
  heard = 0;
  readonly sockets: Socket[] = [];
  #waiting: { readonly heard: number; readonly resolve: () => void } | undefined;

  /** Opens `count` clients of a `ws://host:port/path`, some at a time; resolves when each was let in. */
  async open(url: string, count: number): Promise<void> {
    const at = new URL(url);
    while (this.sockets.length < count) {
      const some = Math.min(100, count - this.sockets.length);
      await Promise.all(Array.from({ length: some }, () => this.#openOne(at)));
    }
  }

  /** Resolves when `heard` is reached. */
  until(heard: number): Promise<void> {
    if (this.heard >= heard) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting = { heard, resolve };
    });
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  #openOne({ hostname, port, pathname, search }: URL): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      this.sockets.push(socket);
      socket.on("error", reject);
      socket.write(
        `GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n` +
          "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      );
      socket.once("data", (head: Buffer) => {
        const end = head.indexOf(HEAD_END);
        if (!head.toString("latin1").startsWith("HTTP/1.1 101") || end < 0) {
          reject(new Error(head.toString("latin1")));
          return;
        }
        const frames = new FrameCounter();
        const take = (chunk: Buffer): void => this.#count(frames.take(chunk));
        take(head.subarray(end + HEAD_END.length));
        socket.on("data", take);
        resolve();
      });
    });
  }

  #count(frames: number): void {
    this.heard += frames;
    const waiting = this.#waiting;
    if (waiting === undefined || this.heard < waiting.heard) return;
    this.#waiting = undefined;
    waiting.resolve();
  }
}

/** Counts the text frames that end in each chunk of a stream. */
class FrameCounter {
  /** Bytes of the present frame's payload that are still to come. */
  #left = 0;
  /** Of a head that is not whole yet. */
  #rest: Buffer = Buffer.alloc(0);
  #isText = false;

  take(chunk: Buffer): number {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    let at = 0;
    let frames = 0;
    for (;;) {
      const taken = Math.min(this.#left, bytes.length - at);
      at += taken;
      this.#left -= taken;
      if (this.#left > 0) return frames;
      if (this.#isText) frames += 1;
      this.#isText = false;
      const length = payloadOf(bytes, at);
      if (length === undefined) {
        this.#rest = bytes.subarray(at);
        return frames;
      }
      this.#isText = bytes[at] === TEXT;
      this.#left = length.payload;
      at += length.head;
    }
  }
}

/** Lengths of the frame that begins at a place; undefined when its head is not whole, or there is none. */
function payloadOf(bytes: Buffer, at: number): { head: number; payload: number } | undefined {
  const short = bytes[at + 1];
  if (short === undefined) return undefined;
  if (short < 126) return { head: 2, payload: short };
  if (short === 126) return bytes.length < at + 4 ? undefined : { head: 4, payload: bytes.readUInt16BE(at + 2) };
  return bytes.length < at + 10 ? undefined : { head: 10, payload: bytes.readUInt32BE(at + 6) };
}
