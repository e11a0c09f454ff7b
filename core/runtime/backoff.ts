// Owns: how long to wait before trying again. Jittered ("equal jitter", AWS Architecture Blog on exponential backoff):
// a fleet that lost the same peer at the same moment does not come back at the same moment.

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** For tests; 0 <= random() < 1. */
  readonly random?: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Milliseconds to wait before the next try: between half and all of firstMs * 2^attempts, at most maxMs. */
  next(): number {
    const { firstMs, maxMs, random = Math.random } = this.#options;
    const ceiling = Math.min(maxMs, firstMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    return ceiling / 2 + (random() * ceiling) / 2;
  }

  /** It worked: the next failure starts from firstMs again. */
  reset(): void {
    this.#attempts = 0;
  }
}
