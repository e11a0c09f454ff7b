// Owns: what one link still has to send, in order, and what gives way when that is too much: Low messages first, then
// the oldest; evictions last of all, since somebody was told that they happen. Records are shared by all links and only
// referred to. Pure but for the time that is passed in. Called by link.ts for every message: push does no more than
// append while there is room.

import type { QueuedRecord } from "../record.ts";
import { batchHeadSize, writeBatchHead } from "./wire.ts";

export interface OutboxLimits {
  /** Bytes queued and in flight together. */
  readonly bytesMax: number;
  readonly ageMsMax: number;
}

/** Slots at the front that are sent or dropped before the array is moved together. */
const COMPACT_AT = 1_024;

export class Outbox {
  readonly #limits: OutboxLimits;
  readonly #dropped: (record: QueuedRecord) => void;
  /** `undefined`: dropped from the middle. Nothing before `#head` is left. */
  readonly #queue: (QueuedRecord | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  #size = 0;
  #lows = 0;
  /** No Low record stands before this place. */
  #lowFrom = 0;

  constructor(limits: OutboxLimits, dropped: (record: QueuedRecord) => void) {
    this.#limits = limits;
    this.#dropped = dropped;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#size;
  }

  /** When the first of what is queued was sequenced; undefined when nothing is. */
  get oldestAtMs(): number | undefined {
    return this.#queue[this.#head]?.atMs;
  }

  /** Appends a record; `inFlightBytes` are sent and not confirmed. False when that very record had to give way. */
  push(record: QueuedRecord, inFlightBytes: number): boolean {
    this.#queue.push(record);
    this.#bytes += record.framed.length;
    this.#size += 1;
    if (record.low) this.#lows += 1;
    return this.#bytes + inFlightBytes <= this.#limits.bytesMax || this.#makeRoom(record, inFlightBytes);
  }

  /** Drops what has waited too long to be live. */
  dropOld(nowMs: number): void {
    const tooOld = nowMs - this.#limits.ageMsMax;
    for (let at = this.#head; at < this.#queue.length; at++) {
      const record = this.#queue[at];
      if (record === undefined) continue;
      if (record.atMs >= tooOld) break;
      if (record.kind !== "evict") this.#drop(at);
    }
    this.#tidy();
  }

  /** The frame of the next batch: records in order, up to `bytesMax` but at least one; undefined when there is none. */
  takeFrame(number: number, bytesMax: number): { frame: Buffer; records: number } | undefined {
    if (this.#size === 0) return undefined;
    let end = this.#head;
    let bytes = 0;
    let records = 0;
    for (; end < this.#queue.length; end++) {
      const record = this.#queue[end];
      if (record === undefined) continue;
      if (records > 0 && bytes + record.framed.length > bytesMax) break;
      bytes += record.framed.length;
      records += 1;
    }
    const frame = Buffer.allocUnsafe(batchHeadSize(number, bytes) + bytes);
    let at = writeBatchHead(frame, number, bytes);
    for (let index = this.#head; index < end; index++) {
      const record = this.#queue[index];
      if (record === undefined) continue;
      frame.set(record.framed, at);
      at += record.framed.length;
      if (record.low) this.#lows -= 1;
    }
    this.#bytes -= bytes;
    this.#size -= records;
    this.#moveHead(end);
    return { frame, records };
  }

  clear(): void {
    this.#bytes = 0;
    this.#size = 0;
    this.#lows = 0;
    this.#moveHead(this.#queue.length);
  }

  #makeRoom(pushed: QueuedRecord, inFlightBytes: number): boolean {
    let kept = true;
    while (this.#size > 0 && this.#bytes + inFlightBytes > this.#limits.bytesMax) {
      const at = this.#firstToGo();
      if (this.#queue[at] === pushed) kept = false;
      this.#drop(at);
      if (at === this.#head) this.#moveHead(at + 1);
    }
    this.#tidy();
    return kept;
  }

  #firstToGo(): number {
    if (this.#lows > 0) {
      let at = Math.max(this.#lowFrom, this.#head);
      while (this.#queue[at]?.low !== true) at += 1;
      this.#lowFrom = at;
      return at;
    }
    let oldest: number | undefined;
    for (let at = this.#head; at < this.#queue.length; at++) {
      const record = this.#queue[at];
      if (record === undefined) continue;
      if (record.kind !== "evict") return at;
      oldest ??= at;
    }
    return oldest ?? this.#head;
  }

  #drop(at: number): void {
    const record = this.#queue[at];
    if (record === undefined) return;
    this.#queue[at] = undefined;
    this.#bytes -= record.framed.length;
    this.#size -= 1;
    if (record.low) this.#lows -= 1;
    this.#dropped(record);
  }

  /** Keeps holes from piling up behind a head that stays. */
  #tidy(): void {
    this.#moveHead(this.#head);
    if (this.#queue.length - this.#head < 2 * this.#size + COMPACT_AT) return;
    const left = this.#queue.filter((record) => record !== undefined);
    this.#queue.splice(0, this.#queue.length, ...left);
    this.#head = 0;
    this.#lowFrom = 0;
  }

  #moveHead(to: number): void {
    let head = to;
    while (head < this.#queue.length && this.#queue[head] === undefined) head += 1;
    if (head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
      this.#lowFrom = 0;
      return;
    }
    this.#head = head;
    if (head < COMPACT_AT || head * 2 < this.#queue.length) return;
    this.#queue.splice(0, head);
    this.#head = 0;
    this.#lowFrom = Math.max(0, this.#lowFrom - head);
  }
}
