// Owns: that somebody listens, for ever: opens a stream, another one when it ends, and a second one beside it before it must
// end (a gateway that leaves, a new token), so that nothing is missed by our own doing. Invariant: one stream serves, at
// most one more is being opened. A message may then come over both: whoever counts takes it once.

import { Backoff } from "#core/runtime/backoff.ts";
import type { Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import { Ear, type EarOptions } from "./ear.ts";

interface EarsOptions extends EarOptions {
  readonly log: Log;
  readonly heard: (payload: string) => void;
}

export class Ears implements Component {
  readonly #options: EarsOptions;
  readonly #backoff = new Backoff({ firstMs: 200, maxMs: 5_000 });
  #serving: Ear | undefined;
  #opening: Ear | undefined;
  #timer: Timer | undefined;
  #isClosed = false;
  /** What is said once, until it listens again. */
  #told = false;

  constructor(options: EarsOptions) {
    this.#options = options;
  }

  get listening(): boolean {
    return this.#serving !== undefined;
  }

  start(): void {
    this.#openAfter(0);
  }

  /** Opens a stream that takes the place of the one that serves. */
  move(): void {
    if (this.#opening === undefined) this.#openAfter(0);
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#serving?.close();
    this.#opening?.close();
    this.#serving = undefined;
    this.#opening = undefined;
    return Promise.resolve();
  }

  #openAfter(delayMs: number): void {
    this.#timer?.cancel();
    if (!this.#isClosed) this.#timer = this.#options.clock.after(delayMs, () => this.#open());
  }

  #open(): void {
    this.#opening?.close();
    const ear: Ear = new Ear(this.#options, {
      subscribed: () => this.#serve(ear),
      heard: (payload) => this.#options.heard(payload),
      move: (delayMs) => this.#openAfter(delayMs),
      ended: (cause) => this.#ended(ear, cause),
    });
    this.#opening = ear;
  }

  #serve(ear: Ear): void {
    if (ear !== this.#opening) return;
    this.#opening = undefined;
    this.#serving?.close();
    this.#serving = ear;
    this.#backoff.reset();
    this.#told = false;
    this.#options.log.info("canary listens");
  }

  #ended(ear: Ear, cause: string): void {
    if (ear === this.#serving) this.#serving = undefined;
    if (ear === this.#opening) this.#opening = undefined;
    if (!this.#told) this.#options.log.warn({ cause, listening: this.listening }, "stream of the canary ended");
    this.#told = true;
    if (this.#opening === undefined) this.#openAfter(this.#backoff.next());
  }
}
