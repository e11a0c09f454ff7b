// Owns: the order of one shard's publishes at this process when their target changes. New publishes wait until the
// answers still due from the old target came, or the move was waited for long enough. Pure bookkeeping: no timer, no
// stream. Publishes that come back (refused unhandled, not written) are older than what waits: they do not ask here.

import type { Timer } from "../runtime/clock.ts";
import type { Standing } from "./choose-owner.ts";
import { FlightQueue } from "./flight-queue.ts";

export class ShardLane {
  /** Publishes that wait. */
  readonly waiting = new FlightQueue();
  /** Runs while somebody waits; it is the dispatcher's. */
  timer: Timer | undefined;
  /** Whether those that wait are being sent right now; it is the dispatcher's. */
  flushing = false;
  #target: string | undefined;
  #moves = 0;
  #givenUpBefore = 0;
  #dueHere = 0;
  #dueElsewhere = 0;
  /** A router that refused a publish of this shard, and until when it comes last. */
  #avoided: string | undefined;
  #avoidedUntilMs = 0;
  /** Routers that came into this shard's list last, and until when they are new there. */
  #newcomers: readonly string[] = [];
  #newUntilMs = 0;

  /** Whether a new publish to `target` would overtake answers due from another one. */
  mustWait(target: string): boolean {
    return this.#dueElsewhere > 0 || (target !== this.#target && this.#dueHere > 0);
  }

  /** A publish goes to `target`; returns what `answered` wants back. */
  sent(target: string): number {
    if (target !== this.#target) {
      this.#target = target;
      this.#moves += 1;
      this.#dueElsewhere += this.#dueHere;
      this.#dueHere = 0;
    }
    this.#dueHere += 1;
    return this.#moves;
  }

  /** The publish that `sent` numbered is no longer due where it went. */
  answered(move: number): void {
    if (move === this.#moves) this.#dueHere -= 1;
    else if (move >= this.#givenUpBefore) this.#dueElsewhere -= 1;
  }

  /** What is due anywhere but at `target` is waited for no longer. */
  giveUpWaiting(target: string): void {
    if (target !== this.#target) {
      this.#target = target;
      this.#moves += 1;
      this.#dueHere = 0;
    }
    this.#givenUpBefore = this.#moves;
    this.#dueElsewhere = 0;
  }

  avoid(incarnation: string, untilMs: number): void {
    this.#avoided = incarnation;
    this.#avoidedUntilMs = untilMs;
  }

  /** These came into the shard's list, which held others before. */
  listed(newcomers: readonly string[], untilMs: number): void {
    this.#newcomers = newcomers;
    this.#newUntilMs = untilMs;
  }

  standingOf(incarnation: string, nowMs: number): Exclude<Standing, "refused"> {
    if (nowMs < this.#newUntilMs && this.#newcomers.includes(incarnation)) return "new";
    return incarnation === this.#avoided && nowMs < this.#avoidedUntilMs ? "avoided" : "usual";
  }
}
