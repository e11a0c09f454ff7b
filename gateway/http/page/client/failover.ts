// Owns: what one killed router did to the ticker, seen from its messages alone: which router put each in order is in its
// message id, so the failover is over with the first one of another router. Pure.

import type { TickCounts, TickLedger } from "./tick-ledger.ts";

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
      /** Lost ones whose speaker was told that nothing is known of them. */
      readonly told: number;
      readonly doubled: number;
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
    this.#state = { kind: "counting", nextAfterMs: atMs - this.#lastHeardAtMs };
  }

  /** Whether all that was spoken until the next message came is heard or lost by now. */
  look(nowMs: number): void {
    if (this.#state.kind !== "counting") return;
    // The ticker does so too, but it may have been stopped.
    this.#ledger.settle(nowMs);
    const { oldestWaiting, counts } = this.#ledger;
    if (oldestWaiting !== undefined && oldestWaiting < this.#endNumber) return;
    const lost = counts.lost - this.#before.counts.lost;
    const doubled = counts.doubled - this.#before.counts.doubled;
    const told = counts.told - this.#before.counts.told;
    this.#state = { kind: "over", nextAfterMs: this.#state.nextAfterMs, lost, told, doubled };
  }
}

/** Between a number and what it counts: they stay in one line. */
const NBSP = "\u00a0";

/** Earshot never repeats what may have been heard: it tells the speaker (`publish_unknown`), who knows whether to. */
function lostText({ lost, told }: { readonly lost: number; readonly told: number }): string {
  if (lost === 0) return `0${NBSP}lost`;
  const known = Math.min(lost, told);
  return `${lost}${NBSP}lost (${known === lost ? "" : `${known} of them `}told to the speaker)`;
}

/** What is known so far, in words. */
export function reportOf(state: FailoverState): string {
  switch (state.kind) {
    case "silent":
      return "No message since";
    case "counting":
      return `${nextText(state)} · counting what was lost…`;
    case "over":
      return `${nextText(state)} · ${lostText(state)} · ${state.doubled}${NBSP}doubled`;
  }
}

function nextText({ nextAfterMs }: { readonly nextAfterMs: number }): string {
  return `Next message after ${Math.round(nextAfterMs)}${NBSP}ms`;
}
