// Owns: the ticker's books: which of its numbers were spoken, heard, lost, heard twice. Judged from the numbers in payloads
// alone, so that what it says does not rest on what Earshot says of itself. Pure: times come from the caller.
// Invariant: every number spoken is waited for, heard or lost; a lost one that comes after all is heard.

/** Milliseconds after which a number is lost: longer than a slow network takes, and than an answer is waited for. */
const LOST_AFTER_MS = 6_000;

/** Lost numbers that are remembered in case they come after all. */
const LOST_REMEMBERED_MAX = 1_000;

export interface TickCounts {
  readonly heard: number;
  readonly lost: number;
  readonly doubled: number;
  /** Times that a number was spoken again because nothing was known of it. */
  readonly repeated: number;
  readonly waiting: number;
}

export class TickLedger {
  /** Numbers not heard yet, the oldest first, and when they were spoken. */
  readonly #waiting = new Map<number, number>();
  readonly #lostNumbers = new Set<number>();
  #heard = 0;
  #lost = 0;
  #doubled = 0;
  #repeated = 0;

  get counts(): TickCounts {
    return {
      heard: this.#heard,
      lost: this.#lost,
      doubled: this.#doubled,
      repeated: this.#repeated,
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

  /** It is spoken again: it counts as one number, and as doubled should it be heard twice. */
  repeat(): void {
    this.#repeated += 1;
  }

  /** Milliseconds since it was spoken; undefined: it had been heard before. */
  hear(number: number, atMs: number): number | undefined {
    const spokenAtMs = this.#waiting.get(number);
    if (spokenAtMs !== undefined) {
      this.#waiting.delete(number);
      this.#heard += 1;
      return atMs - spokenAtMs;
    }
    if (this.#lostNumbers.delete(number)) {
      this.#lost -= 1;
      this.#heard += 1;
      return LOST_AFTER_MS;
    }
    this.#doubled += 1;
    return undefined;
  }

  /** Gives up what has been waited for too long. */
  settle(nowMs: number): void {
    for (const [number, atMs] of this.#waiting) {
      if (nowMs - atMs < LOST_AFTER_MS) break;
      this.#waiting.delete(number);
      this.#lost += 1;
      this.#lostNumbers.add(number);
      if (this.#lostNumbers.size > LOST_REMEMBERED_MAX) {
        const [oldest] = this.#lostNumbers;
        if (oldest !== undefined) this.#lostNumbers.delete(oldest);
      }
    }
  }
}
