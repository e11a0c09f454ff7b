// Owns: rate limiting by token bucket: one bucket, and a bounded table of buckets by key. Pure but for the time that is
// passed in. A bucket that has filled up says no more than none, and is forgotten; at the cap of the table the one that
// was used longest ago is (its key starts full again).

export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number;

  /** `perSecond` tokens come back each second, up to `burst`. Starts full. */
  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  /** Takes `count` tokens if they are there. `nowMs` is monotonic. */
  take(nowMs: number, count = 1): boolean {
    if (!this.has(nowMs, count)) return false;
    this.#tokens -= count;
    return true;
  }

  /** Whether `count` tokens are there to be taken. */
  has(nowMs: number, count = 1): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    return this.#tokens >= count;
  }
}

/** Buckets looked at by each call that may make one: more than one, so that the full ones are fewer each time. */
const LOOKED_AT = 2;

export class TokenBuckets {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #keysMax: number;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(perSecond: number, burst: number, keysMax: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#keysMax = keysMax;
  }

  get size(): number {
    return this.#buckets.size;
  }

  take(key: string, nowMs: number, count = 1): boolean {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#perSecond, this.#burst, nowMs);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    const taken = bucket.take(nowMs, count);
    this.#forget(nowMs);
    return taken;
  }

  /** Whether a take would succeed now; makes no bucket and counts as no use. */
  has(key: string, nowMs: number, count = 1): boolean {
    return this.#buckets.get(key)?.has(nowMs, count) ?? count <= this.#burst;
  }

  /** The bucket used longest ago stands first: where that one is not full, hardly any is. */
  #forget(nowMs: number): void {
    let looked = 0;
    for (const [key, bucket] of this.#buckets) {
      looked += 1;
      if (looked > LOOKED_AT || (this.#buckets.size <= this.#keysMax && !bucket.has(nowMs, this.#burst))) return;
      this.#buckets.delete(key);
    }
  }
}
