// Owns: handling keys one after the other until it works. A key waits once at most and is handled by one worker at a time;
// added while it is handled, it is handled again afterwards. A failed key waits by itself (its own backoff, with jitter).
// Where the API server is away, the whole queue holds still between single tries: an outage costs one call now and then,
// however many keys wait, and when it is over the rest goes on at once. Bounded by its keys: there are as many as objects.

import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { KubeError } from "./api.ts";
import { type QueueMetrics, queueMetrics } from "./metrics.ts";

export interface WorkQueueOptions {
  /** In logs and metrics. */
  readonly name: string;
  /** Keys in hand at a time. */
  readonly concurrency: number;
  /** Throws where it must be tried again. */
  readonly handle: (key: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  /** For tests; 0 <= random() < 1. */
  readonly random?: () => number;
}

/** Of one key. A conflict is solved by the next try; what a person must mend is looked at once a minute. */
const KEY_BACKOFF = { firstMs: 50, maxMs: 60_000 };

/** Of the queue, while the API server does not answer or cannot. */
const OUTAGE_BACKOFF = { firstMs: 200, maxMs: 10_000 };

/** Milliseconds for which closing waits for what is in hand: below what a component may take to close. */
const CLOSE_MS = 900;

export class WorkQueue implements Component {
  readonly #options: WorkQueueOptions;
  readonly #metrics: QueueMetrics;
  /** Keys that wait for a worker, by when they came, in that order. */
  readonly #waiting = new Map<string, number>();
  readonly #later = new Map<string, { readonly dueMs: number; readonly timer: Timer }>();
  readonly #inHand = new Map<string, number>();
  readonly #again = new Set<string>();
  readonly #backoffs = new Map<string, Backoff>();
  readonly #outage: Backoff;
  #turn: NodeJS.Immediate | undefined;
  #pause: Timer | undefined;
  #away = false;
  #closing: Promise<void> | undefined;
  #idle: (() => void)[] = [];

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#outage = new Backoff({ ...OUTAGE_BACKOFF, ...this.#random });
    this.#metrics = queueMetrics(options.registry, options.name, {
      depth: () => this.#waiting.size,
      unfinishedMs: () => this.#unfinishedMs(),
    });
  }

  /** Keys that wait for a worker now; those that wait for their time are not counted. */
  get depth(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    if (this.#isClosing) return;
    this.#forgetTimer(key);
    if (this.#waiting.has(key)) return;
    if (this.#inHand.has(key)) {
      if (!this.#again.has(key)) this.#metrics.added();
      this.#again.add(key);
      return;
    }
    this.#metrics.added();
    this.#waiting.set(key, this.#options.clock.monotonic());
    this.#pump();
  }

  /** Adds it when the time is over; what comes earlier counts, also an `add` meanwhile. */
  addAfter(key: string, delayMs: number): void {
    if (this.#isClosing || this.#waiting.has(key)) return;
    const { clock } = this.#options;
    const dueMs = clock.monotonic() + delayMs;
    const known = this.#later.get(key);
    if (known !== undefined && known.dueMs <= dueMs) return;
    this.#forgetTimer(key);
    const timer = clock.after(delayMs, () => {
      this.#later.delete(key);
      this.add(key);
    });
    this.#later.set(key, { dueMs, timer });
  }

  /** Takes no more; resolves when what is in hand is done, or after a second. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearImmediate(this.#turn);
    this.#pause?.cancel();
    for (const { timer } of this.#later.values()) timer.cancel();
    this.#later.clear();
    this.#waiting.clear();
    this.#again.clear();
    if (this.#inHand.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(CLOSE_MS, resolve);
      this.#idle.push(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  get #isClosing(): boolean {
    return this.#closing !== undefined;
  }

  get #random(): { readonly random?: () => number } {
    return this.#options.random === undefined ? {} : { random: this.#options.random };
  }

  #forgetTimer(key: string): void {
    this.#later.get(key)?.timer.cancel();
    this.#later.delete(key);
  }

  /** Gives waiting keys to free workers, in the next turn: whoever adds is never held up, nor is everybody else. */
  #pump(): void {
    if (this.#isClosing) return;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#hire();
    });
  }

  #hire(): void {
    // While the API server is away, one try at a time.
    const workers = this.#away ? 1 : this.#options.concurrency;
    for (const [key, sinceMs] of this.#waiting) {
      if (this.#pause !== undefined || this.#inHand.size >= workers) return;
      this.#waiting.delete(key);
      const nowMs = this.#options.clock.monotonic();
      this.#metrics.taken(nowMs - sinceMs);
      this.#inHand.set(key, nowMs);
      void this.#work(key);
    }
  }

  async #work(key: string): Promise<void> {
    const { clock, handle } = this.#options;
    const startedMs = clock.monotonic();
    let failure: { readonly error: unknown } | undefined;
    try {
      await handle(key);
    } catch (error) {
      failure = { error };
    }
    this.#inHand.delete(key);
    this.#metrics.done(clock.monotonic() - startedMs, failure !== undefined);
    if (failure === undefined) this.#succeeded(key);
    else this.#failed(key, failure.error);
    if (this.#again.delete(key)) this.add(key);
    if (this.#inHand.size === 0) for (const tell of this.#idle.splice(0)) tell();
    this.#pump();
  }

  #succeeded(key: string): void {
    this.#backoffs.delete(key);
    this.#answered();
  }

  /** The API server is there. */
  #answered(): void {
    if (this.#away) this.#options.log.info({ queue: this.#options.name }, "work goes on");
    this.#away = false;
    this.#outage.reset();
  }

  #failed(key: string, error: unknown): void {
    const { log, name } = this.#options;
    if (this.#isClosing) return;
    const backoff = this.#backoffs.get(key) ?? new Backoff({ ...KEY_BACKOFF, ...this.#random });
    this.#backoffs.set(key, backoff);
    const askedMs = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0;
    const delayMs = Math.max(backoff.next(), askedMs);
    const refusal = error instanceof KubeError ? error : undefined;
    if (refusal?.unavailable === true) {
      this.#holdStill(refusal, askedMs);
    } else {
      if (refusal !== undefined) this.#answered();
      // A conflict is expected: somebody else wrote first. Anything else is told each time that it is tried.
      const fields = { queue: name, key, error: messageOf(error), delayMs: Math.round(delayMs) };
      if (refusal?.status !== 409) log.warn(fields, "work failed, is tried again");
    }
    this.#metrics.retried();
    if (!this.#again.has(key)) this.addAfter(key, delayMs);
  }

  #holdStill(error: KubeError, askedMs: number): void {
    const { clock, log, name } = this.#options;
    if (!this.#away) log.warn({ queue: name, error: error.message }, "work holds still until the API server answers");
    this.#away = true;
    if (this.#pause !== undefined) return;
    this.#pause = clock.after(Math.max(this.#outage.next(), askedMs), () => {
      this.#pause = undefined;
      this.#pump();
    });
  }

  #unfinishedMs(): number {
    const nowMs = this.#options.clock.monotonic();
    return [...this.#inHand.values()].reduce((sum, sinceMs) => sum + nowMs - sinceMs, 0);
  }
}
