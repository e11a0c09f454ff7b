// Owns: the ticker's books: which of its numbers were spoken, heard, lost, heard twice. Judged from the numbers in payloads
// alone, so that what it says does not rest on what Earshot says of itself. Pure: times come from the caller.
// Invariant: every number spoken is waited for, heard or lost; a lost one that comes after all is heard.

/** Milliseconds after which a number is lost: longer than a slow network takes, and than an answer is waited for. */
const LOST_AFTER_MS = 6_000;

/** The same once its speaker was told `publish_unknown`: were it to come, it would be here about now. */
const UNKNOWN_LOST_AFTER_MS = 1_000;

/** Lost numbers that are remembered in case they come after all. */
const LOST_REMEMBERED_MAX = 1_000;

export interface TickCounts {
  readonly heard: number;
  readonly lost: number;
  /** Lost ones whose speaker was told that nothing is known of them. */
  readonly told: number;
  readonly doubled: number;
  readonly waiting: number;
}

export class TickLedger {
  /** Numbers not heard yet, the oldest first, and when they were spoken. */
  readonly #waiting = new Map<number, number>();
  /** Those of them that its speaker was told nothing is known of, and when. */
  readonly #unknown = new Map<number, number>();
  /** And whether that had been told. */
  readonly #lostNumbers = new Map<number, boolean>();
  #heard = 0;
  #lost = 0;
  #told = 0;
  #doubled = 0;

  get counts(): TickCounts {
    return {
      heard: this.#heard,
      lost: this.#lost,
      told: this.#told,
      doubled: this.#doubled,
      waiting: this.#waiting.size,
    };
  }

  /** The oldest number that is waited for; undefined: every number was heard or is lost. */
  get oldestWaiting(): number | undefined {
    return this.#waiting.keys().next().value;
  }

  spoken(number: number, atMs: number): void {
    this.#waiting.set(number, atMs);
  }

  /** Its speaker was told `publish_unknown`. */
  unknown(number: number, atMs: number): void {
    if (this.#waiting.has(number)) this.#unknown.set(number, atMs);
  }

  /** Milliseconds since it was spoken; undefined: it had been heard before. */
  hear(number: number, atMs: number): number | undefined {
    const spokenAtMs = this.#waiting.get(number);
    if (spokenAtMs !== undefined) {
      this.#waiting.delete(number);
      this.#unknown.delete(number);
      this.#heard += 1;
      return atMs - spokenAtMs;
    }
    const told = this.#lostNumbers.get(number);
    if (told !== undefined) {
      this.#lostNumbers.delete(number);
      this.#lost -= 1;
      if (told) this.#told -= 1;
      this.#heard += 1;
      return LOST_AFTER_MS;
    }
    this.#doubled += 1;
    return undefined;
  }

  /** Gives up what has been waited for too long. */
  settle(nowMs: number): void {
    for (const [number, atMs] of this.#unknown) if (nowMs - atMs >= UNKNOWN_LOST_AFTER_MS) this.#lose(number);
    for (const [number, atMs] of this.#waiting) {
      if (nowMs - atMs < LOST_AFTER_MS) break;
      this.#lose(number);
    }
  }

  #lose(number: number): void {
    const told = this.#unknown.delete(number);
    this.#waiting.delete(number);
    this.#lost += 1;
    if (told) this.#told += 1;
    this.#lostNumbers.set(number, told);
    if (this.#lostNumbers.size > LOST_REMEMBERED_MAX) {
      const [oldest] = this.#lostNumbers.keys();
      if (oldest !== undefined) this.#lostNumbers.delete(oldest);
    }
  }
}
