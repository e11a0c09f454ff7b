// Owns: messages of Topics with batchWindowMilliseconds, which wait at most that long so that they reach gateways, and
// there every subscriber, in one batch. A topic's order holds: the first message opens the window, the others join it,
// and all go together. A change of who listens ends the window early, so that nobody gets what was spoken before.

import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { TopicEntry } from "../interest.ts";
import type { QueuedRecord } from "../record.ts";

export interface RecordTaker {
  /** False once it has ended; its interest may still be there for a moment. */
  readonly open: boolean;
  /** False when the record went nowhere. */
  push(record: QueuedRecord): boolean;
}

/** Bytes that one topic may hold: more goes at once, since a batch of this size gains nothing by waiting. */
const HELD_BYTES_MAX = 256 * 1024;

/** Bytes that all topics may hold together: beyond, the windows that were opened first end early. */
export const ALL_HELD_BYTES_MAX = 64 * 1024 * 1024;

interface Window {
  readonly timer: Timer;
  bytes: number;
}

export class BatchWindows<Link extends RecordTaker> {
  readonly #clock: Clock;
  readonly #windows = new Map<TopicEntry<Link>, Window>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(clock: Clock, bytesMax = ALL_HELD_BYTES_MAX) {
    this.#clock = clock;
    this.#bytesMax = bytesMax;
  }

  /** Bytes that wait, of all topics. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Topic ids whose messages wait. */
  get size(): number {
    return this.#windows.size;
  }

  hold(entry: TopicEntry<Link>, record: QueuedRecord, windowMs: number): void {
    let window = this.#windows.get(entry);
    if (window === undefined) {
      window = { timer: this.#clock.after(windowMs, () => this.flush(entry)), bytes: 0 };
      this.#windows.set(entry, window);
      entry.held = [];
    }
    entry.held?.push(record);
    window.bytes += record.framed.length;
    this.#bytes += record.framed.length;
    if (window.bytes >= HELD_BYTES_MAX) this.flush(entry);
    for (const oldest of this.#windows.keys()) {
      if (this.#bytes <= this.#bytesMax) break;
      this.flush(oldest);
    }
  }

  flush(entry: TopicEntry<Link>): void {
    const window = this.#windows.get(entry);
    if (window === undefined) return;
    window.timer.cancel();
    this.#bytes -= window.bytes;
    this.#windows.delete(entry);
    const held = entry.held ?? [];
    entry.held = undefined;
    for (const record of held) for (const link of entry.links) link.push(record);
  }

  flushAll(): void {
    for (const entry of this.#windows.keys()) this.flush(entry);
  }
}
