// Owns: a clock that tests move by hand. `advance` runs every timer at its time; `freeze` lets time pass with no timer
// run, as for a stopped process, and then runs what is overdue once, as Node does.

import type { Clock, Timer } from "#core/runtime/clock.ts";

interface Waiting {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly action: () => void;
}

export class HandClock implements Clock {
  #nowMs = 1_000_000;
  readonly #waiting = new Set<Waiting>();

  now(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(delayMs: number, action: () => void): Timer {
    return this.#wait({ atMs: this.#nowMs + delayMs, everyMs: undefined, action });
  }

  every(intervalMs: number, action: () => void): Timer {
    return this.#wait({ atMs: this.#nowMs + intervalMs, everyMs: intervalMs, action });
  }

  /** Timers that would still run. */
  get pending(): number {
    return this.#waiting.size;
  }

  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (let due = this.#earliest(endMs); due !== undefined; due = this.#earliest(endMs)) {
      this.#nowMs = due.atMs;
      this.#run(due);
    }
    this.#nowMs = endMs;
  }

  freeze(ms: number): void {
    this.#nowMs += ms;
    const overdue = [...this.#waiting].filter((waiting) => waiting.atMs <= this.#nowMs);
    for (const waiting of overdue.sort((a, b) => a.atMs - b.atMs)) {
      if (this.#waiting.has(waiting)) this.#run(waiting);
    }
  }

  #wait(waiting: Waiting): Timer {
    this.#waiting.add(waiting);
    return { cancel: () => this.#waiting.delete(waiting) };
  }

  #run(waiting: Waiting): void {
    if (waiting.everyMs === undefined) this.#waiting.delete(waiting);
    else waiting.atMs = this.#nowMs + waiting.everyMs;
    waiting.action();
  }

  #earliest(untilMs: number): Waiting | undefined {
    let earliest: Waiting | undefined;
    for (const waiting of this.#waiting) {
      if (waiting.atMs <= untilMs && (earliest === undefined || waiting.atMs < earliest.atMs)) earliest = waiting;
    }
    return earliest;
  }
}
