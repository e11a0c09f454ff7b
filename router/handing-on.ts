// Owns: who waits until gateways have handed on everything that was sequenced up to a moment. A router that leaves
// answers, and says that it leaves, only then: a publisher that goes on elsewhere never overtakes itself on its way to a
// gateway. Nobody waits so long that a publisher would go on without its answer.

import { PUBLISHER_MOVE_WAIT_MS } from "#core/domain/limits.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";

/** Milliseconds that anybody waits: the answer must still be at its publisher before that gives it up. */
export const HANDING_ON_MS_MAX = PUBLISHER_MOVE_WAIT_MS / 2;

interface Waiter {
  /** Monotonic. */
  readonly sinceMs: number;
  readonly resolve: () => void;
}

export class HandingOn {
  readonly #clock: Clock;
  readonly #isHandedOn: (atMs: number) => boolean;
  /** In the order they came. */
  #waiters: Waiter[] = [];
  /** Runs while somebody waits. */
  #timer: Timer | undefined;

  /** `isHandedOn`: whether every gateway has handed on what was sequenced up to a monotonic time. */
  constructor(clock: Clock, isHandedOn: (atMs: number) => boolean) {
    this.#clock = clock;
    this.#isHandedOn = isHandedOn;
  }

  /** How many wait. */
  get size(): number {
    return this.#waiters.length;
  }

  /** Resolves once what was sequenced up to now is handed on. */
  wait(): Promise<void> {
    const nowMs = this.#clock.monotonic();
    if (this.#waiters.length === 0 && this.#isHandedOn(nowMs)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.push({ sinceMs: nowMs, resolve });
      this.#arm();
    });
  }

  /** Called when a gateway confirmed something, or is gone. */
  look(): void {
    const nowMs = this.#clock.monotonic();
    let over = 0;
    for (const { sinceMs, resolve } of this.#waiters) {
      if (nowMs - sinceMs < HANDING_ON_MS_MAX && !this.#isHandedOn(sinceMs)) break;
      resolve();
      over += 1;
    }
    if (over > 0) this.#waiters = this.#waiters.slice(over);
  }

  /** Nobody waits any more. */
  close(): void {
    this.#timer?.cancel();
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }

  #arm(): void {
    const [first] = this.#waiters;
    if (first === undefined || this.#timer !== undefined) return;
    const leftMs = first.sinceMs + HANDING_ON_MS_MAX - this.#clock.monotonic();
    this.#timer = this.#clock.after(Math.max(0, leftMs), () => {
      this.#timer = undefined;
      this.look();
      this.#arm();
    });
  }
}
