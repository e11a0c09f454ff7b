// Owns: noticing that the wall clock has moved against the monotonic one: somebody set it, or the machine slept (Linux and
// macOS stop the monotonic clock then, so an hour of sleep is no time at all to any timer). Who planned a timer for a
// wall-clock time plans it anew then. Invariant: after a plan, the clocks never differ by more than LEAD_MS unnoticed for
// longer than LOOK_MS.

import type { Clock, Timer } from "./clock.ts";
import type { Component } from "./lifecycle.ts";

/** Milliseconds between looks. */
const LOOK_MS = 1_000;

/** Milliseconds by which a plan may be wrong: slewing (NTP: 0.5 ms a second at most) takes half an hour for that. */
const LEAD_MS = 1_000;

export class ClockJumps implements Component {
  readonly #clock: Clock;
  readonly #jumped: () => void;
  readonly #timer: Timer;
  #lead: number;

  constructor(clock: Clock, jumped: () => void) {
    this.#clock = clock;
    this.#jumped = jumped;
    this.#lead = this.#wallLead();
    this.#timer = clock.every(LOOK_MS, () => this.#look());
  }

  close(): Promise<void> {
    this.#timer.cancel();
    return Promise.resolve();
  }

  #look(): void {
    const lead = this.#wallLead();
    if (Math.abs(lead - this.#lead) <= LEAD_MS) return;
    this.#lead = lead;
    this.#jumped();
  }

  #wallLead(): number {
    return this.#clock.now() - this.#clock.monotonic();
  }
}
