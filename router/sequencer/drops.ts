// Owns: the last drops of each topic id, for "why did nobody hear it". The same reason within a second is one drop with a
// count. Bounded: a few drops a topic, and topics up to a cap, where the one that dropped longest ago is forgotten.

import type { DropCause } from "../stats.ts";

export interface Drop {
  /** Milliseconds since the epoch: of the first of its second. */
  readonly atMs: number;
  readonly reason: DropCause;
  count: number;
}

/** Drops kept of one topic. */
export const DROPS_PER_TOPIC = 10;

/** Topics with drops: 5 MB. */
const TOPICS_MAX = 10_000;

const SAME_DROP_MS = 1_000;

export class Drops {
  readonly #topicsMax: number;
  readonly #topics = new Map<string, Drop[]>();

  constructor(topicsMax = TOPICS_MAX) {
    this.#topicsMax = topicsMax;
  }

  /** Topic ids of which drops are remembered. */
  get size(): number {
    return this.#topics.size;
  }

  add(id: string, reason: DropCause, nowMs: number): void {
    const known = this.#topics.get(id);
    const last = known?.findLast((drop) => drop.reason === reason);
    // Also where the clock was set back.
    if (last !== undefined && Math.abs(nowMs - last.atMs) < SAME_DROP_MS) {
      last.count += 1;
      return;
    }
    const drops = known ?? [];
    drops.push({ atMs: nowMs, reason, count: 1 });
    if (drops.length > DROPS_PER_TOPIC) drops.shift();
    this.#topics.delete(id);
    this.#topics.set(id, drops);
    if (this.#topics.size <= this.#topicsMax) return;
    for (const oldest of this.#topics.keys()) {
      this.#topics.delete(oldest);
      return;
    }
  }

  /** Oldest first. */
  of(id: string): readonly Drop[] {
    return this.#topics.get(id) ?? [];
  }
}
