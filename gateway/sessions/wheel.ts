// Owns: many deadlines and one timer. Connections wait for tokens to expire, for their age, for a close: exact to a tick,
// never early. A timer of its own for each of 15,000 connections would cost memory and wake-ups for nothing.

import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";

/** Milliseconds between two looks. */
const TICK_MS = 100;

/** Milliseconds after which a deadline is placed anew: a clock that was wrong, or a token for ever, fills no table. */
const FAR_MS = 24 * 3_600_000;

interface Slot {
  readonly entries: Set<Entry>;
  /** Forgets the slot: nobody waits in it any more. */
  readonly forget: () => void;
}

class Entry implements Timer {
  readonly action: () => void;
  readonly atMs: number;
  slot: Slot | undefined;

  constructor(atMs: number, action: () => void) {
    this.atMs = atMs;
    this.action = action;
  }

  cancel(): void {
    const { slot } = this;
    this.slot = undefined;
    slot?.entries.delete(this);
    if (slot?.entries.size === 0) slot.forget();
  }
}

export class Wheel implements Component {
  readonly #clock: Clock;
  readonly #slots = new Map<number, Slot>();
  readonly #ticking: Timer;
  #tick: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#tick = Math.floor(clock.monotonic() / TICK_MS);
    this.#ticking = clock.every(TICK_MS, () => this.#turn());
  }

  /** Deadlines that are still to come. */
  get size(): number {
    let size = 0;
    for (const slot of this.#slots.values()) size += slot.entries.size;
    return size;
  }

  /** Ticks that somebody waits for. */
  get slots(): number {
    return this.#slots.size;
  }

  after(delayMs: number, action: () => void): Timer {
    const entry = new Entry(this.#clock.monotonic() + Math.max(0, delayMs), action);
    this.#place(entry);
    return entry;
  }

  close(): Promise<void> {
    this.#ticking.cancel();
    this.#slots.clear();
    return Promise.resolve();
  }

  #place(entry: Entry): void {
    const horizon = Math.min(entry.atMs, this.#clock.monotonic() + FAR_MS);
    const tick = Math.max(this.#tick + 1, Math.ceil(horizon / TICK_MS));
    let slot = this.#slots.get(tick);
    if (slot === undefined) {
      slot = { entries: new Set(), forget: () => this.#slots.delete(tick) };
      this.#slots.set(tick, slot);
    }
    slot.entries.add(entry);
    entry.slot = slot;
  }

  #turn(): void {
    const now = Math.floor(this.#clock.monotonic() / TICK_MS);
    while (this.#tick < now) {
      this.#tick += 1;
      const slot = this.#slots.get(this.#tick);
      if (slot === undefined) continue;
      this.#slots.delete(this.#tick);
      for (const entry of slot.entries) this.#due(entry);
    }
  }

  #due(entry: Entry): void {
    entry.slot = undefined;
    if (entry.atMs > this.#clock.monotonic()) this.#place(entry);
    else entry.action();
  }
}
