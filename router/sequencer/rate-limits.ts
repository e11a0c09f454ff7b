// Owns: maxPublishesPerSecond of each topic id: a token bucket that holds one second's worth. A topic with listeners has
// its bucket on its entry; the others share a bounded table, where at the cap the bucket made longest ago is forgotten.

import { TokenBucket } from "#core/runtime/token-bucket.ts";
import type { TopicEntry } from "../interest.ts";

/** Buckets of topics that nobody listens to: 10 MB. */
const UNHEARD_MAX = 50_000;

type Limited = NonNullable<TopicEntry<unknown>["bucket"]>;

export class RateLimits {
  readonly #unheard = new Map<string, Limited>();

  /** Whether one more message may pass. `perSecond` 0 is no limit. */
  take(id: string, entry: TopicEntry<unknown> | undefined, perSecond: number, nowMs: number): boolean {
    if (perSecond === 0) return true;
    if (entry === undefined) return this.#ofUnheard(id, perSecond, nowMs).bucket.take(nowMs);
    let limited = entry.bucket;
    if (limited === undefined || limited.perSecond !== perSecond) {
      limited = this.#unheard.get(id) ?? newBucket(perSecond, nowMs);
      if (limited.perSecond !== perSecond) limited = newBucket(perSecond, nowMs);
      this.#unheard.delete(id);
      entry.bucket = limited;
    }
    return limited.bucket.take(nowMs);
  }

  #ofUnheard(id: string, perSecond: number, nowMs: number): Limited {
    const known = this.#unheard.get(id);
    if (known?.perSecond === perSecond) return known;
    if (this.#unheard.size >= UNHEARD_MAX) {
      for (const oldest of this.#unheard.keys()) {
        this.#unheard.delete(oldest);
        break;
      }
    }
    const limited = newBucket(perSecond, nowMs);
    this.#unheard.set(id, limited);
    return limited;
  }
}

function newBucket(perSecond: number, nowMs: number): Limited {
  return { perSecond, bucket: new TokenBucket(perSecond, perSecond, nowMs) };
}
