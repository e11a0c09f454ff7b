// Owns: what one killed router did to the ticker, seen from its messages alone: which router put each in order is in its
// message id, so the failover is over with the first one of another router. Pure.

import type { TickCounts, TickLedger } from "./tick-ledger.ts";

/** Milliseconds after the next message in which a double may still come: what is spoken again is heard within them. */
const COUNT_FOR_MS = 1_000;

export interface KilledRouter {
  readonly name: string;
  readonly incarnation: string;
  readonly pid: number;
}

/** A message of the ticker, as it was heard. */
export interface Arrival {
  readonly atMs: number;
  /** Of the router that put it in order. */
  readonly incarnation: string;
  /** Milliseconds since it was spoken. */
  readonly tookMs: number;
  /** The number to be spoken next, at that moment. */
  readonly nextNumber: number;
}

export type FailoverState =
  | { readonly kind: "silent" }
  /** The next message came; what became of numbers spoken until then is not all known. */
  | { readonly kind: "counting"; readonly nextAfterMs: number }
  | {
      readonly kind: "over";
      readonly nextAfterMs: number;
      readonly lost: number;
      readonly doubled: number;
      /** Numbers that the ticker spoke again, as nothing was known of them. */
      readonly repeated: number;
    };

/** As things stood when the kill was asked for. */
export interface Before {
  readonly counts: TickCounts;
  readonly lastHeardAtMs: number;
}

export class Failover {
  readonly #killed: KilledRouter;
  readonly #ledger: TickLedger;
  readonly #before: Before;
  #lastHeardAtMs: number;
  /** Numbers below it were spoken before the next message was heard. */
  #endNumber = 0;
  #nextAtMs = 0;
  #state: FailoverState = { kind: "silent" };

  constructor(killed: KilledRouter, ledger: TickLedger, before: Before) {
    this.#killed = killed;
    this.#ledger = ledger;
    this.#before = before;
    this.#lastHeardAtMs = before.lastHeardAtMs;
  }

  get state(): FailoverState {
    return this.#state;
  }

  /** A message of the ticker that was heard since the kill was asked for, in their order. */
  hear({ incarnation, atMs, nextNumber }: Arrival): void {
    if (this.#state.kind !== "silent") return;
    if (incarnation === this.#killed.incarnation) {
      this.#lastHeardAtMs = atMs;
      return;
    }
    this.#endNumber = nextNumber;
    this.#nextAtMs = atMs;
    this.#state = { kind: "counting", nextAfterMs: atMs - this.#lastHeardAtMs };
  }

  /** Whether all that was spoken until the next message came is heard or lost by now. */
  look(nowMs: number): void {
    if (this.#state.kind !== "counting" || nowMs - this.#nextAtMs < COUNT_FOR_MS) return;
    // The ticker does so too, but it may have been stopped.
    this.#ledger.settle(nowMs);
    const { oldestWaiting, counts } = this.#ledger;
    if (oldestWaiting !== undefined && oldestWaiting < this.#endNumber) return;
    const lost = counts.lost - this.#before.counts.lost;
    const doubled = counts.doubled - this.#before.counts.doubled;
    const repeated = counts.repeated - this.#before.counts.repeated;
    this.#state = { kind: "over", nextAfterMs: this.#state.nextAfterMs, lost, doubled, repeated };
  }
}

/** Between a number and what it counts: they stay in one line. */
const NBSP = "\u00a0";

/** What is known so far, in words. */
export function reportOf(state: FailoverState): string {
  switch (state.kind) {
    case "silent":
      return "No message since";
    case "counting":
      return `${nextText(state)} · counting what was lost…`;
    case "over":
      return `${nextText(state)} · ${state.lost}${NBSP}lost · ${state.doubled}${NBSP}doubled`;
  }
}

function nextText({ nextAfterMs }: { readonly nextAfterMs: number }): string {
  return `Next message after ${Math.round(nextAfterMs)}${NBSP}ms`;
}

/** What the ticker did about numbers of which nothing was known; empty where there were none. */
export function repeatedText(state: FailoverState): string {
  if (state.kind !== "over" || state.repeated === 0) return "";
  return `; ${state.repeated} spoken again (publish_unknown)`;
}
