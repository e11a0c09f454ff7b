// Owns: rate limiting by token bucket: one bucket, and a bounded table of buckets by key. Pure but for the time that is
// passed in. At the cap of the table the bucket that was used longest ago is forgotten (its key starts full again).

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
    if (this.#buckets.size > this.#keysMax) this.#forgetOldest();
    return bucket.take(nowMs, count);
  }

  /** Whether a take would succeed now; makes no bucket and counts as no use. */
  has(key: string, nowMs: number, count = 1): boolean {
    return this.#buckets.get(key)?.has(nowMs, count) ?? count <= this.#burst;
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}
