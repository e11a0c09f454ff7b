// Owns: which record batches of a link may be confirmed. Batches end out of order, since topics take turns; a confirm
// says "everything up to this one". Pure.

export class BatchConfirms {
  /** Everything up to this one was handed on. */
  #upTo: bigint | undefined;
  #told: bigint | undefined;
  /** Ended before one that came earlier. */
  readonly #early = new Set<bigint>();

  /** A batch was handed on. Numbers grow by one; the first may be any. */
  done(number: bigint): void {
    this.#early.add(number);
  }

  /** The first batch of a link came: nothing before it is waited for. */
  began(number: bigint): void {
    if (this.#upTo !== undefined) return;
    this.#upTo = number - 1n;
    this.#told = this.#upTo;
  }

  /** The highest number that may be confirmed and was not yet, or undefined. */
  take(): bigint | undefined {
    if (this.#upTo === undefined) return undefined;
    while (this.#early.delete(this.#upTo + 1n)) this.#upTo += 1n;
    if (this.#upTo === this.#told) return undefined;
    this.#told = this.#upTo;
    return this.#upTo;
  }
}
