// Owns: the signs of life of clients: a ping each interval, and an end for who answers none for too long. One timer for
// all: connections stand in as many slots as the interval has seconds, one of which is pinged each second. WebSockets end
// where pings stay without an answer. Nobody answers on a stream (SSE, gRPC): it ends where something waits for its client
// and the client takes none of it, for as long (TCP finds out after a quarter of an hour, or never).

import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";

export interface Pinged {
  ping(): void;
  /** It did not answer in time. */
  silent(): void;
}

const SLOT_MS = 1_000;

interface PingsOptions {
  /** Counted in whole seconds. */
  readonly intervalMs: number;
  /** Pings in a row without an answer that a connection outlives. */
  readonly unansweredMax: number;
}

export class Ping {
  readonly slot: Set<Ping>;
  readonly target: Pinged;
  unanswered = 0;

  constructor(slot: Set<Ping>, target: Pinged) {
    this.slot = slot;
    this.target = target;
  }

  /** Anything came from the client. */
  heard(): void {
    this.unanswered = 0;
  }

  stop(): void {
    this.slot.delete(this);
  }
}

/** What of a stream's bytes its client has taken, as a sign of life. */
export class Taking {
  #taken = 0;

  /** Whether nothing waits, or some was taken since it was last asked. `waiting` and `taken` are bytes. */
  isAlive(waiting: number, taken: number): boolean {
    const isMore = taken > this.#taken;
    this.#taken = taken;
    return waiting === 0 || isMore;
  }
}

export class Pings implements Component {
  readonly intervalMs: number;
  readonly #slots: readonly Set<Ping>[];
  readonly #unansweredMax: number;
  readonly #ticking: Timer;
  #at = 0;

  constructor(clock: Clock, { intervalMs, unansweredMax }: PingsOptions) {
    this.#slots = Array.from({ length: Math.floor(intervalMs / SLOT_MS) }, () => new Set());
    this.intervalMs = this.#slots.length * SLOT_MS;
    this.#unansweredMax = unansweredMax;
    this.#ticking = clock.every(SLOT_MS, () => this.#tick());
  }

  /** The first ping comes one interval from now. */
  add(target: Pinged): Ping {
    const slot = this.#slots[this.#at] ?? new Set();
    const ping = new Ping(slot, target);
    slot.add(ping);
    return ping;
  }

  close(): Promise<void> {
    this.#ticking.cancel();
    return Promise.resolve();
  }

  #tick(): void {
    this.#at = (this.#at + 1) % this.#slots.length;
    for (const ping of this.#slots[this.#at] ?? []) {
      if (ping.unanswered >= this.#unansweredMax) {
        ping.stop();
        ping.target.silent();
        continue;
      }
      ping.unanswered += 1;
      ping.target.ping();
    }
  }
}
