// Owns: a WebSocket client for tests that may do what no library does: send any bytes, leave pings unanswered, read
// nothing. Server frames are taken apart here (RFC 6455, 5.2: unmasked, never fragmented by us).

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Frames } from "./frames.ts";
import { until } from "./until.ts";

const TEXT = 0x1;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;

export interface RawOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether pings are answered. Default: true. */
  readonly answersPings?: boolean;
}

/** One masked frame: `first` is the byte with FIN and opcode. */
export function maskedFrame(first: number, payload: Uint8Array | string): Buffer {
  const bytes = Buffer.from(payload as string);
  const { length } = bytes;
  let head: Buffer;
  if (length < 126) head = Buffer.from([first, 0x80 | length]);
  else if (length < 65_536) {
    head = Buffer.from([first, 0x80 | 126, 0, 0]);
    head.writeUInt16BE(length, 2);
  } else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = 0x80 | 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  // A mask of zeros is a mask.
  return Buffer.concat([head, Buffer.alloc(4), bytes]);
}

export class RawWebSocket {
  readonly frames = new Frames();
  readonly socket: Socket;
  readonly #answersPings: boolean;
  pings = 0;
  pongs = 0;
  lastPong = "";
  /** Head of the answer to the upgrade, once it came. */
  head: string | undefined;
  /** Of the server's close frame; 1005: it had none. */
  closeCode: number | undefined;
  closeReason = "";
  #rest: Buffer = Buffer.alloc(0);

  private constructor(base: string, path: string, { headers = {}, answersPings = true }: RawOptions) {
    const { hostname, port } = new URL(base);
    this.#answersPings = answersPings;
    this.socket = connect(Number(port), hostname);
    this.socket.on("error", () => undefined);
    this.socket.on("data", (chunk: Buffer) => this.#take(chunk));
    const all = {
      host: "localhost",
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      ...headers,
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    this.socket.write(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
  }

  /** Resolves when the upgrade was answered, whatever the answer; `base` is `ws://host:port`. */
  static async open(base: string, path = "/ws/subscribe", options: RawOptions = {}): Promise<RawWebSocket> {
    const client = new RawWebSocket(base, path, options);
    await until(() => client.head !== undefined || client.socket.destroyed, "the upgrade is answered");
    return client;
  }

  /** Status of the answer to the upgrade: 101 when it took place. */
  get status(): number {
    return Number(this.head?.split(" ")[1]);
  }

  /** Sends bytes as they are. */
  write(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** Sends a text frame. */
  send(frame: object | string): void {
    this.write(maskedFrame(0x80 | TEXT, typeof frame === "string" ? frame : JSON.stringify(frame)));
  }

  /** Resolves with the code of the server's close frame, once the server has ended the connection. */
  async closed(): Promise<number | undefined> {
    if (!this.socket.closed) await once(this.socket, "close");
    return this.closeCode;
  }

  destroy(): void {
    this.socket.destroy();
  }

  #take(chunk: Buffer): void {
    // The body of a refusal is no frame.
    if (this.head !== undefined && this.status !== 101) return;
    let buffered = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const used = this.head === undefined ? this.#takeHead(buffered) : this.#takeFrame(buffered);
      if (used === 0 || this.status !== 101) break;
      buffered = buffered.subarray(used);
    }
    this.#rest = buffered;
  }

  #takeHead(buffered: Buffer): number {
    const end = buffered.indexOf("\r\n\r\n");
    if (end < 0) return 0;
    this.head = buffered.toString("latin1", 0, end);
    return end + 4;
  }

  #takeFrame(buffered: Buffer): number {
    if (buffered.length < 2) return 0;
    const opcode = (buffered[0] ?? 0) & 0x0f;
    let length = (buffered[1] ?? 0) & 0x7f;
    let start = 2;
    if (length >= 126) {
      start = length === 126 ? 4 : 10;
      if (buffered.length < start) return 0;
      length = start === 4 ? buffered.readUInt16BE(2) : Number(buffered.readBigUInt64BE(2));
    }
    if (buffered.length < start + length) return 0;
    this.#frame(opcode, buffered.subarray(start, start + length));
    return start + length;
  }

  #frame(opcode: number, payload: Buffer): void {
    switch (opcode) {
      case TEXT:
        this.frames.add(payload.toString("utf8"));
        return;
      case PING:
        this.pings += 1;
        if (this.#answersPings) this.write(maskedFrame(0x80 | PONG, payload));
        return;
      case PONG:
        this.pongs += 1;
        this.lastPong = payload.toString("utf8");
        return;
      case CLOSE:
        this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
        this.closeReason = payload.toString("utf8", 2);
        this.write(maskedFrame(0x80 | CLOSE, payload));
        return;
      default:
        throw new Error(`a frame of opcode ${opcode} came`);
    }
  }
}
