// Owns: handing presence changes to the topics' routers, as any publish is placed. A change that could not be placed is
// tried again for a while: routers take a change by its version, so that telling it twice does no harm. At the cap the
// newest change is dropped and counted; the next change of that topic brings the right count again.

import type { PublishResult } from "#core/fleet/publish-order.ts";
import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { Counter, type Registry } from "#core/runtime/metrics.ts";
import type { PresenceOrder } from "./changes.ts";

/** Changes on their way or waiting to be tried again: some MB. */
const OUTSTANDING_MAX = 10_000;

/** Milliseconds for which a change is tried: routers fail over within one second; later it is no longer news. */
const TRY_MS = 10_000;

export class Teller {
  readonly #place: (order: PresenceOrder) => Promise<PublishResult>;
  readonly #clock: Clock;
  readonly #dropped: Counter;
  readonly #timers = new Set<Timer>();
  #outstanding = 0;
  #closed = false;

  constructor(place: (order: PresenceOrder) => Promise<PublishResult>, clock: Clock, registry: Registry) {
    this.#place = place;
    this.#clock = clock;
    this.#dropped = new Counter({
      name: "earshot_presence_changes_dropped_total",
      help: "Presence changes that subscribers were not told of, because no router took them or too many waited.",
      registers: [registry],
    });
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  tell(orders: readonly PresenceOrder[]): void {
    for (const order of orders) {
      if (this.#outstanding >= OUTSTANDING_MAX) {
        this.#dropped.inc();
        continue;
      }
      this.#outstanding += 1;
      this.#attempt(order, new Backoff({ firstMs: 100, maxMs: 1_000 }), this.#clock.monotonic() + TRY_MS);
    }
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  #attempt(order: PresenceOrder, backoff: Backoff, untilMs: number): void {
    this.#place(order).then(
      () => {
        this.#outstanding -= 1;
      },
      () => this.#again(order, backoff, untilMs),
    );
  }

  #again(order: PresenceOrder, backoff: Backoff, untilMs: number): void {
    const delayMs = backoff.next();
    if (this.#closed || this.#clock.monotonic() + delayMs > untilMs) {
      this.#outstanding -= 1;
      this.#dropped.inc();
      return;
    }
    const timer = this.#clock.after(delayMs, () => {
      this.#timers.delete(timer);
      this.#attempt(order, backoff, untilMs);
    });
    this.#timers.add(timer);
  }
}
