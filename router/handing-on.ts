// Owns: who waits until gateways have handed on everything that was sequenced up to a moment. A router that leaves
// answers, and says that it leaves, only then: a publisher that goes on elsewhere never overtakes itself on its way to a
// gateway. Nobody waits longer than a publisher would. Pure but for the time that is passed in.

import { PUBLISHER_MOVE_WAIT_MS } from "#core/domain/limits.ts";

interface Waiter {
  /** Monotonic. */
  readonly sinceMs: number;
  readonly resolve: () => void;
}

export class HandingOn {
  readonly #isHandedOn: (atMs: number) => boolean;
  /** In the order they came. */
  #waiters: Waiter[] = [];

  /** `isHandedOn`: whether every gateway has handed on what was sequenced up to a monotonic time. */
  constructor(isHandedOn: (atMs: number) => boolean) {
    this.#isHandedOn = isHandedOn;
  }

  /** Resolves once what was sequenced up to now is handed on. */
  wait(nowMs: number): Promise<void> {
    if (this.#waiters.length === 0 && this.#isHandedOn(nowMs)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.push({ sinceMs: nowMs, resolve });
    });
  }

  /** Called when a gateway confirmed something, and a few times a second. */
  look(nowMs: number): void {
    if (this.#waiters.length === 0) return;
    const isOver = ({ sinceMs }: Waiter): boolean =>
      nowMs - sinceMs >= PUBLISHER_MOVE_WAIT_MS || this.#isHandedOn(sinceMs);
    const waiting = this.#waiters.findIndex((waiter) => !isOver(waiter));
    const over = waiting < 0 ? this.#waiters : this.#waiters.slice(0, waiting);
    this.#waiters = waiting < 0 ? [] : this.#waiters.slice(waiting);
    for (const { resolve } of over) resolve();
  }

  /** Nobody waits any more. */
  close(): void {
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }
}
