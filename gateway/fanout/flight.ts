// Owns: messages of one topic on their way to its subscriptions, and their bytes for each kind of connection: built once,
// for all recipients, joined so that a recipient gets one write. Made by the fan-out from records of one batch.
// Invariant: a flight's bytes are never changed once they were asked for.

import { SSE_OVERHEAD_BYTES, webSocketHeaderLength, writeSseEvent, writeWebSocketFrame } from "./frames.ts";
import { type Encoding, GRPC, type SSE, WEBSOCKET } from "./encoding.ts";
import type { ReceiptCount } from "./receipts.ts";
import type { Subscription } from "./subscription.ts";

/** Who of a topic's subscriptions hears it. */
export type Audience = "all" | "presence";

/** Makes the gRPC message of an envelope (gateway/grpc/events.ts). */
export type GrpcEncoder = (envelope: Uint8Array) => Buffer;

/**
 * Bytes up to which messages are joined. Beyond it a write costs more in the kernel than it saves in calls, and a slow
 * connection that keeps one message keeps the whole buffer.
 */
export const JOIN_BYTES_MAX = 64 * 1024;

export class Flight {
  readonly audience: Audience;
  readonly envelopes: Uint8Array[] = [];
  /** Who shall not hear it (an echo, an exclusion); undefined for nearly every flight. */
  readonly skipped: readonly Subscription[] | undefined;
  /** Where to count what was written; undefined when nobody asked. */
  readonly receipt: ReceiptCount | undefined;
  /** Told when every recipient was served. */
  readonly done: (() => void)[] = [];
  /** Monotonic, of its first message: when it came here, and when its router sequenced it by its own clock; 0: not measured. */
  arrivedAtMs = 0;
  sequencedAtMs = 0;
  readonly #encodeGrpc: GrpcEncoder;
  #bytes = 0;
  readonly #joined: (Buffer | undefined)[] = [];
  readonly #parts: (readonly Buffer[] | undefined)[] = [];

  constructor(encodeGrpc: GrpcEncoder, audience: Audience, skipped?: readonly Subscription[], receipt?: ReceiptCount) {
    this.#encodeGrpc = encodeGrpc;
    this.audience = audience;
    this.skipped = skipped;
    this.receipt = receipt;
  }

  get count(): number {
    return this.envelopes.length;
  }

  /** Bytes of the envelopes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether one more may be joined: its bytes are not made yet, nothing sets it apart, and it stays small. */
  takes(envelope: Uint8Array): boolean {
    return (
      this.#joined.length === 0 &&
      this.#parts.length === 0 &&
      this.audience === "all" &&
      this.skipped === undefined &&
      this.receipt === undefined &&
      this.#bytes + envelope.length <= JOIN_BYTES_MAX
    );
  }

  add(envelope: Uint8Array): void {
    this.envelopes.push(envelope);
    this.#bytes += envelope.length;
  }

  /** All messages as one buffer for a socket. gRPC messages cannot be joined: those come from `part`. */
  joined(encoding: typeof WEBSOCKET | typeof SSE): Buffer {
    const known = this.#joined[encoding];
    if (known !== undefined) return known;
    const made = encoding === WEBSOCKET ? joinWebSocket(this.envelopes) : joinSse(this.envelopes);
    this.#joined[encoding] = made;
    return made;
  }

  /** One message alone, for connections that do not keep up: a view into the joined bytes. */
  part(encoding: Encoding, index: number): Buffer {
    const parts = (this.#parts[encoding] ??= this.#split(encoding));
    return parts[index] ?? EMPTY;
  }

  #split(encoding: Encoding): readonly Buffer[] {
    if (encoding === GRPC) return this.envelopes.map(this.#encodeGrpc);
    const joined = this.joined(encoding);
    let start = 0;
    return this.envelopes.map(({ length }) => {
      const end = start + length + (encoding === WEBSOCKET ? webSocketHeaderLength(length) : SSE_OVERHEAD_BYTES);
      const part = joined.subarray(start, end);
      start = end;
      return part;
    });
  }
}

const EMPTY = Buffer.alloc(0);

function joinWebSocket(envelopes: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const envelope of envelopes) length += webSocketHeaderLength(envelope.length) + envelope.length;
  const joined = Buffer.allocUnsafe(length);
  let at = 0;
  for (const envelope of envelopes) at = writeWebSocketFrame(joined, at, envelope);
  return joined;
}

function joinSse(envelopes: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const envelope of envelopes) length += SSE_OVERHEAD_BYTES + envelope.length;
  const joined = Buffer.allocUnsafe(length);
  let at = 0;
  for (const envelope of envelopes) at = writeSseEvent(joined, at, envelope);
  return joined;
}
