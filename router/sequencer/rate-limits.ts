// Owns: maxPublishesPerSecond of each topic id: a token bucket that holds one second's worth. A topic with listeners has
// its bucket on its entry; the others share two generations of a bounded table. A bucket that was not used for a second is
// full, as a new one would be: with each second the older generation is forgotten, and a flood of names leaves nothing.
// At the cap, too, the older generation goes.

import { TokenBucket } from "#core/runtime/token-bucket.ts";
import type { TopicEntry } from "../interest.ts";

/** Buckets in one generation, of topics that nobody listens to: 5 MB. */
const UNHEARD_MAX = 25_000;

/** Milliseconds of a generation: whatever is in the older one was not used for as long at least. */
const GENERATION_MS = 1_000;

type Limited = NonNullable<TopicEntry<unknown>["bucket"]>;

export class RateLimits {
  #young = new Map<string, Limited>();
  #old = new Map<string, Limited>();
  #turnedAtMs = Number.NEGATIVE_INFINITY;

  /** Buckets of topics that nobody listens to. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Whether one more message may pass. `perSecond` 0 is no limit. */
  take(id: string, entry: TopicEntry<unknown> | undefined, perSecond: number, nowMs: number): boolean {
    if (perSecond === 0) return true;
    if (entry === undefined) return this.#ofUnheard(id, perSecond, nowMs).bucket.take(nowMs);
    let limited = entry.bucket;
    if (limited === undefined || limited.perSecond !== perSecond) {
      limited = this.#known(id, perSecond) ?? newBucket(perSecond, nowMs);
      this.#young.delete(id);
      this.#old.delete(id);
      entry.bucket = limited;
    }
    return limited.bucket.take(nowMs);
  }

  /** Forgets buckets that are full again. */
  sweep(nowMs: number): void {
    if (nowMs - this.#turnedAtMs >= GENERATION_MS) this.#turn(nowMs);
  }

  #ofUnheard(id: string, perSecond: number, nowMs: number): Limited {
    this.sweep(nowMs);
    if (this.#young.size >= UNHEARD_MAX && !this.#young.has(id)) this.#turn(nowMs);
    const limited = this.#known(id, perSecond) ?? newBucket(perSecond, nowMs);
    this.#young.set(id, limited);
    return limited;
  }

  #known(id: string, perSecond: number): Limited | undefined {
    const limited = this.#young.get(id) ?? this.#old.get(id);
    return limited?.perSecond === perSecond ? limited : undefined;
  }

  #turn(nowMs: number): void {
    this.#old = this.#young;
    this.#young = new Map();
    this.#turnedAtMs = nowMs;
  }
}

function newBucket(perSecond: number, nowMs: number): Limited {
  return { perSecond, bucket: new TokenBucket(perSecond, perSecond, nowMs) };
}
