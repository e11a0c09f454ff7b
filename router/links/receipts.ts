// Owns: publishes that wait for gateways' counts (`receipt: "gateway"`, evictions): what each gateway wrote, what it did
// not and why, until all have answered, died, or the deadline is over. Pure but for the time that is passed in.
// At the cap a publish does not wait: it is answered from interest, not exact.

import type { RouterStats } from "../stats.ts";

export interface ReceiptTotals {
  readonly written: number;
  readonly notWritten: Readonly<Record<string, number>>;
  /** Every gateway's count is in it. */
  readonly exact: boolean;
}

interface Pending<Link> {
  /** Links that have not answered, each with the subscriptions it had. */
  readonly due: Map<Link, number>;
  readonly deadlineMs: number;
  readonly settle: (totals: ReceiptTotals) => void;
  readonly notWritten: Record<string, number>;
  written: number;
  exact: boolean;
}

/** Publishes that wait at once: 10,000 a second, each for a whole second. */
export const RECEIPTS_MAX = 10_000;

/** Reasons kept of one publish: gateways have a handful. */
const REASONS_MAX = 16;

export class Receipts<Link> {
  readonly #stats: RouterStats;
  readonly #pending = new Map<number, Pending<Link>>();
  #last = 0;

  constructor(stats: RouterStats) {
    this.#stats = stats;
  }

  get size(): number {
    return this.#pending.size;
  }

  get full(): boolean {
    return this.#pending.size >= RECEIPTS_MAX;
  }

  /** Opens a receipt before its record is handed to `links`; answers its id. There must be room, and a link. */
  open(due: Map<Link, number>, deadlineMs: number, settle: (totals: ReceiptTotals) => void): number {
    this.#last += 1;
    this.#pending.set(this.#last, { due, deadlineMs, settle, notWritten: {}, written: 0, exact: true });
    return this.#last;
  }

  /** A gateway's count. What is not waited for (any more) is nothing. */
  answer(link: Link, id: number, written: number, notWritten: Readonly<Record<string, number>>): void {
    const pending = this.#pending.get(id);
    if (pending === undefined || !pending.due.delete(link)) return;
    pending.written += written;
    for (const [reason, count] of Object.entries(notWritten)) addReason(pending.notWritten, reason, count);
    this.#settleIfDone(id, pending);
  }

  /** The link's copy was dropped before it was sent: known exactly, without the gateway. */
  dropped(link: Link, id: number): void {
    const pending = this.#pending.get(id);
    const count = pending?.due.get(link);
    if (pending === undefined || count === undefined) return;
    pending.due.delete(link);
    addReason(pending.notWritten, "link_overflow", count);
    this.#settleIfDone(id, pending);
  }

  /** Nobody knows any more what this gateway wrote. */
  linkGone(link: Link): void {
    for (const [id, pending] of this.#pending) {
      if (!pending.due.delete(link)) continue;
      pending.exact = false;
      this.#settleIfDone(id, pending);
    }
  }

  /** Answers what has waited long enough with what there is. */
  sweep(nowMs: number): void {
    for (const [id, pending] of this.#pending) {
      if (nowMs < pending.deadlineMs) continue;
      this.#stats.receiptsLate += 1;
      pending.exact = false;
      pending.due.clear();
      this.#settleIfDone(id, pending);
    }
  }

  #settleIfDone(id: number, { due, written, notWritten, exact, settle }: Pending<Link>): void {
    if (due.size > 0) return;
    this.#pending.delete(id);
    settle({ written, notWritten, exact });
  }
}

function addReason(into: Record<string, number>, reason: string, count: number): void {
  if (!Object.hasOwn(into, reason) && Object.keys(into).length >= REASONS_MAX) return;
  into[reason] = (into[reason] ?? 0) + count;
}
