// Owns: one gateway's link at the router: Hello, heartbeats, what is queued for it and what is in flight. A batch closes
// itself: the next one is written when the write before it was taken and the gateway has not too much unconfirmed.
// Invariants: queued and in-flight bytes together stay below the cap, whatever the gateway does; what was dropped is told
// (Overflow) before the next batch. Elsewhere: what the gateway's frames mean for interest (interest-intake.ts).

import { LINK_UNDRAINED_AGE_MS_MAX, LINK_UNDRAINED_BYTES_MAX } from "#core/domain/limits.ts";
import { Heartbeat } from "#core/fleet/heartbeat.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { ServerDuplexStream } from "#core/runtime/grpc.ts";
import type { GatewayFrame, LinkHello, RouterFrame } from "#proto/earshot/internal/v1/link_pb.ts";
import type { QueuedRecord } from "../record.ts";
import { Outbox } from "./outbox.ts";
import { frameBytes } from "./wire.ts";

export type LinkCall = ServerDuplexStream<GatewayFrame, RouterFrame | Uint8Array>;

export interface LinkOptions {
  readonly call: LinkCall;
  readonly gateway: LinkHello;
  readonly clock: Clock;
  /** A record had to give way. */
  readonly dropped: (link: Link, record: QueuedRecord) => void;
  /** The gateway was silent for too long. */
  readonly dead: (link: Link) => void;
  /** Asks for `flush` at the end of this turn of the event loop. */
  readonly flushSoon: (link: Link) => void;
  /** A batch was written; its oldest record was sequenced so long ago. */
  readonly batchSent: (records: number, waitedMs: number) => void;
  /** The gateway has handed a batch on; its oldest record was sequenced so long ago. */
  readonly batchHandedOn: (tookMs: number) => void;
}

/** `registering` until the gateway's whole interest was applied. */
export type LinkState = "registering" | "complete";

/**
 * Bytes that are sent and not confirmed before the link waits: a quarter of the cap, so that what can still be chosen
 * from is most of it. A gateway confirms within a turn of its event loop: 2 MiB in flight carry 1 GB/s at 2 ms.
 */
const IN_FLIGHT_BYTES_MAX = LINK_UNDRAINED_BYTES_MAX / 4;

/** Bytes of records in one batch: what a gateway decodes in about a millisecond. */
const BATCH_BYTES_MAX = 256 * 1024;

/** Topics of one Overflow: 1.6 MB at the longest ids, far below what a gRPC message may be. */
const MISSED_PER_FRAME = 4_096;

const HEARTBEAT = frameBytes({ case: "heartbeat", value: { $typeName: "earshot.internal.v1.Heartbeat" } });
const DRAINING = frameBytes({ case: "draining", value: { $typeName: "earshot.internal.v1.Draining" } });

const LIMITS = { bytesMax: LINK_UNDRAINED_BYTES_MAX, ageMsMax: LINK_UNDRAINED_AGE_MS_MAX };

interface InFlight {
  readonly number: number;
  readonly bytes: number;
  /** When the first record in it was sequenced. */
  readonly oldestAtMs: number;
}

export class Link {
  readonly gateway: LinkHello;
  readonly #options: LinkOptions;
  readonly #outbox: Outbox;
  readonly #heartbeat: Heartbeat;
  readonly #inFlight: InFlight[] = [];
  #inFlightBytes = 0;
  readonly #missed = new Map<string, number>();
  /** Frames for behind the next batch. */
  readonly #behind: Uint8Array[] = [];
  #batchNumber = 0;
  #state: "open" | "closed" = "open";
  #writing = false;
  #flushDue = false;
  #draining = false;
  /** The gateway's whole interest was applied. */
  initialComplete = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.gateway = options.gateway;
    this.#outbox = new Outbox(LIMITS, (record) => this.#onDropped(record));
    this.#heartbeat = new Heartbeat({
      clock: options.clock,
      send: () => this.send(HEARTBEAT),
      dead: () => options.dead(this),
    });
    options.call.on("drain", () => this.flush());
  }

  get open(): boolean {
    return this.#state === "open";
  }

  /** Monotonic: when the gateway was last heard. */
  get heardAtMs(): number {
    return this.#heartbeat.heardAtMs;
  }

  /** Bytes queued and in flight. */
  get undrainedBytes(): number {
    return this.#outbox.bytes + this.#inFlightBytes;
  }

  /** The gateway has handed on everything that it was given. */
  get drained(): boolean {
    return this.#outbox.size === 0 && this.#inFlight.length === 0;
  }

  /** Whether the gateway has handed on what was sequenced up to a monotonic time. */
  isHandedOn(atMs: number): boolean {
    const oldestAtMs = this.#inFlight[0]?.oldestAtMs ?? this.#outbox.oldestAtMs;
    return oldestAtMs === undefined || oldestAtMs > atMs;
  }

  /** Queues a record. False when it had to give way at once. */
  push(record: QueuedRecord): boolean {
    if (this.#state !== "open") return false;
    if (!this.#flushDue && !this.#writing) {
      this.#flushDue = true;
      this.#options.flushSoon(this);
    }
    return this.#outbox.push(record, this.#inFlightBytes);
  }

  /** Writes the next batch, if the link can take one, and what was to be sent behind it. */
  flush(): void {
    this.#flushDue = false;
    if (this.#state !== "open" || this.#writing) return;
    this.#writeBatch();
    for (const frame of this.#behind.splice(0)) this.send(frame);
  }

  #writeBatch(): void {
    const { call, clock } = this.#options;
    if (call.writableNeedDrain) return;
    this.#tellMissed();
    if (this.#inFlightBytes >= IN_FLIGHT_BYTES_MAX) return;
    const oldestAtMs = this.#outbox.oldestAtMs ?? 0;
    const batch = this.#outbox.takeFrame(this.#batchNumber + 1, BATCH_BYTES_MAX);
    if (batch === undefined) return;
    this.#batchNumber += 1;
    this.#inFlight.push({ number: this.#batchNumber, bytes: batch.frame.length, oldestAtMs });
    this.#inFlightBytes += batch.frame.length;
    this.#writing = true;
    this.#options.batchSent(batch.records, clock.monotonic() - oldestAtMs);
    call.write(batch.frame, () => {
      this.#writing = false;
      this.flush();
    });
  }

  /** Any frame came. */
  heard(): void {
    this.#heartbeat.heard();
  }

  /** The gateway has handed on every batch up to this one. */
  confirmed(number: number): void {
    let confirmed = 0;
    const nowMs = this.#options.clock.monotonic();
    for (const batch of this.#inFlight) {
      if (batch.number > number) break;
      this.#options.batchHandedOn(nowMs - batch.oldestAtMs);
      this.#inFlightBytes -= batch.bytes;
      confirmed += 1;
    }
    if (confirmed === 0) return;
    this.#inFlight.splice(0, confirmed);
    this.flush();
  }

  /** Lets go of what waits too long. */
  sweep(nowMs: number): void {
    if (this.#outbox.size > 0) this.#outbox.dropOld(nowMs);
    if (this.#missed.size > 0) this.flush();
  }

  /** Sends a frame at once, ahead of what is queued. */
  send(frame: Uint8Array): void {
    if (this.#state === "open") this.#options.call.write(frame);
  }

  /**
   * Sends a frame behind the batch that is open, so that it speaks of what the gateway has heard; ahead of it where the
   * gateway does not keep up, since the frame must not be late.
   */
  sendBehind(frame: Uint8Array): void {
    if (this.#state !== "open") return;
    this.#behind.push(frame);
    this.flush();
  }

  announceDraining(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.send(DRAINING);
  }

  /** Ends the stream: the gateway sees it end well. What is queued is forgotten. */
  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#heartbeat.stop();
    this.#outbox.clear();
    this.#inFlight.length = 0;
    this.#inFlightBytes = 0;
    this.#missed.clear();
    this.#behind.length = 0;
    this.#options.call.end();
  }

  #onDropped(record: QueuedRecord): void {
    if (record.kind === "message") this.#missed.set(record.topicId, (this.#missed.get(record.topicId) ?? 0) + 1);
    this.#options.dropped(this, record);
  }

  #tellMissed(): void {
    if (this.#missed.size === 0) return;
    const missed = [...this.#missed].map(([topicId, count]) => ({ $typeName: MISSED, topicId, count }) as const);
    this.#missed.clear();
    for (let from = 0; from < missed.length; from += MISSED_PER_FRAME) {
      const value = { $typeName: OVERFLOW, missed: missed.slice(from, from + MISSED_PER_FRAME) } as const;
      this.send(frameBytes({ case: "overflow", value }));
    }
  }
}

const OVERFLOW = "earshot.internal.v1.Overflow";
const MISSED = "earshot.internal.v1.MissedRecords";
