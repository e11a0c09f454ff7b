// Owns: what became of each message that the canary spoke. Pure but for the clock's time, which is given. Invariant: a
// message is counted once, as heard, missed or refused; sent is their sum and what is still open. What is open is bounded
// by time: as many as are spoken within LATE_MS.

/** Milliseconds after which a message counts as missed, or refused: a hundred times what is promised. */
export const LATE_MS = 5_000;

export interface LedgerCounts {
  sent: number;
  heard: number;
  missed: number;
  refused: number;
}

interface Open {
  readonly sentAtMs: number;
  /** Whether somebody said that it was taken. */
  accepted: boolean;
}

export class Ledger {
  readonly counts: LedgerCounts = { sent: 0, heard: 0, missed: 0, refused: 0 };
  readonly #open = new Map<number, Open>();
  readonly #heardAfterMs: (ms: number) => void;

  constructor(heardAfterMs: (ms: number) => void) {
    this.#heardAfterMs = heardAfterMs;
  }

  get open(): number {
    return this.#open.size;
  }

  /** A message is about to be spoken; answers its number. */
  speak(nowMs: number): number {
    this.counts.sent += 1;
    const number = this.counts.sent;
    this.#open.set(number, { sentAtMs: nowMs, accepted: false });
    return number;
  }

  accepted(number: number): void {
    const message = this.#open.get(number);
    if (message !== undefined) message.accepted = true;
  }

  /** It came. The second time, and after it counted as missed, this is nothing. */
  heard(number: number, nowMs: number): void {
    const message = this.#open.get(number);
    if (message === undefined) return;
    this.#open.delete(number);
    this.counts.heard += 1;
    this.#heardAfterMs(nowMs - message.sentAtMs);
  }

  /** Counts what is late by now. What nobody took may still have been heard: it is judged only here too. */
  sweep(nowMs: number): void {
    for (const [number, { sentAtMs, accepted }] of this.#open) {
      // The others were spoken later.
      if (nowMs - sentAtMs < LATE_MS) return;
      this.#open.delete(number);
      if (accepted) this.counts.missed += 1;
      else this.counts.refused += 1;
    }
  }
}
