// Owns: the log files of the processes. Each start of the supervisor empties them; the processes append by themselves,
// and a file beyond its limit is copied to `<name>.log.1` and emptied. Elsewhere: what stands in a log.

import { closeSync, copyFileSync, fstatSync, ftruncateSync, mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SYSTEM_CLOCK, type Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";

/** Bytes of one log before it is turned over: a day of ordinary life, and readable in any editor. */
const LOG_BYTES_MAX = 10 * 1024 * 1024;
const CHECK_INTERVAL_MS = 5_000;

export class Logs implements Component {
  readonly #folder: string;
  readonly #bytesMax: number;
  readonly #descriptors = new Map<string, number>();
  readonly #timer: Timer;

  /** Makes the folder. Throws where it cannot. */
  constructor(folder: string, bytesMax = LOG_BYTES_MAX) {
    mkdirSync(folder, { recursive: true });
    this.#folder = folder;
    this.#bytesMax = bytesMax;
    this.#timer = SYSTEM_CLOCK.every(CHECK_INTERVAL_MS, () => this.turnOver());
  }

  pathOf(name: string): string {
    return join(this.#folder, `${name}.log`);
  }

  /** An open file that appends, emptied when first asked for. It stays this object's. */
  descriptorOf(name: string): number {
    const known = this.#descriptors.get(name);
    if (known !== undefined) return known;
    const descriptor = openSync(this.pathOf(name), "a", 0o600);
    ftruncateSync(descriptor);
    this.#descriptors.set(name, descriptor);
    return descriptor;
  }

  /** Turns over what is too long. Whoever appends goes on at the new start of the file. */
  turnOver(): void {
    for (const [name, descriptor] of this.#descriptors) {
      if (fstatSync(descriptor).size <= this.#bytesMax) continue;
      this.#keepOne(name);
      ftruncateSync(descriptor);
    }
  }

  /** What cannot be kept (a full disk, a folder that is gone) is let go of: the limit holds, the processes run on. */
  #keepOne(name: string): void {
    try {
      copyFileSync(this.pathOf(name), `${this.pathOf(name)}.1`);
    } catch {
      rmSync(`${this.pathOf(name)}.1`, { force: true });
    }
  }

  async close(): Promise<void> {
    this.#timer.cancel();
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
    this.#descriptors.clear();
  }
}
