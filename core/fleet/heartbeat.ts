// Owns: the sign of life of a long stream (links and publish streams, both ends): a beat each second, dead after three
// seconds without any frame. A process that was frozen itself sees its timers come late; it has not listened, so it
// gives the peer another second before it judges. Purely timers: what is sent and what death means is the owner's.

import { HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT_MS } from "../domain/limits.ts";
import type { Clock, Timer } from "../runtime/clock.ts";

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Sends one heartbeat frame. */
  readonly send: () => void;
  /** The peer is silent: called once at most, after which the heartbeat has stopped. */
  readonly dead: () => void;
}

/** Milliseconds a timer may be late before the silence is blamed on this process, and the second chance it then gives. */
export const OWN_FREEZE_MS = 1_000;

/** Milliseconds between looks at the clock: what a death may be told too late by, and a beat too early or late. */
const TICK_MS = 250;

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #timer: Timer;
  #heardAtMs: number;
  #lastTickMs: number;
  #judgeAtMs: number;
  #beatAtMs: number;
  #stopped = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#lastTickMs = options.clock.monotonic();
    this.#heardAtMs = this.#lastTickMs;
    this.#judgeAtMs = this.#lastTickMs + HEARTBEAT_TIMEOUT_MS;
    this.#beatAtMs = this.#lastTickMs + HEARTBEAT_INTERVAL_MS;
    this.#timer = options.clock.every(TICK_MS, () => this.#tick());
  }

  /** Monotonic: when the last frame came; before the first, when it began. */
  get heardAtMs(): number {
    return this.#heardAtMs;
  }

  /** Any frame came from the peer. */
  heard(): void {
    this.#heardAtMs = this.#options.clock.monotonic();
    this.#judgeAtMs = this.#heardAtMs + HEARTBEAT_TIMEOUT_MS;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer.cancel();
  }

  #tick(): void {
    if (this.#stopped) return;
    const nowMs = this.#options.clock.monotonic();
    const lateMs = nowMs - this.#lastTickMs - TICK_MS;
    this.#lastTickMs = nowMs;
    if (lateMs > OWN_FREEZE_MS) this.#judgeAtMs = Math.max(this.#judgeAtMs, nowMs + OWN_FREEZE_MS);
    if (nowMs >= this.#judgeAtMs) {
      this.stop();
      this.#options.dead();
      return;
    }
    if (nowMs + TICK_MS / 2 < this.#beatAtMs) return;
    this.#beatAtMs = nowMs + HEARTBEAT_INTERVAL_MS;
    this.#options.send();
  }
}
