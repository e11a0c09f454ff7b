// Owns: giving Topics that no file names any more a moment to come back: editors save by replacing files, and files are
// renamed. What is still missing then goes, in slices.

import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { Slices } from "#core/runtime/slices.ts";

/** Milliseconds for which a Topic must be missing: editors replace a file within a few. */
const REMOVAL_MS = 300;

/** Milliseconds between looks at what is due. */
const SWEEP_MS = 50;

export class Removals implements Component {
  readonly #clock: Clock;
  readonly #remove: (key: string) => void;
  /** Monotonic milliseconds from which a key may go, in their order. */
  readonly #dueMs = new Map<string, number>();
  #timer: Timer | undefined;

  constructor(clock: Clock, remove: (key: string) => void) {
    this.#clock = clock;
    this.#remove = remove;
  }

  /** The key is missing, from now on unless it is already. */
  missing(key: string): void {
    if (this.#dueMs.has(key)) return;
    this.#dueMs.set(key, this.#clock.monotonic() + REMOVAL_MS);
    this.#timer ??= this.#clock.after(REMOVAL_MS, () => void this.#sweep());
  }

  /** The key is back. */
  found(key: string): void {
    this.#dueMs.delete(key);
  }

  close(): Promise<void> {
    this.#dueMs.clear();
    this.#timer?.cancel();
    return Promise.resolve();
  }

  async #sweep(): Promise<void> {
    const slices = new Slices();
    for (const [key, dueMs] of this.#dueMs) {
      if (dueMs > this.#clock.monotonic()) break;
      this.#dueMs.delete(key);
      this.#remove(key);
      if (slices.isOver) await slices.breathe();
    }
    this.#timer = this.#dueMs.size === 0 ? undefined : this.#clock.after(SWEEP_MS, () => void this.#sweep());
  }
}
