// Owns: the ticker: a number spoken every few hundredths of a second on a channel of its own, and heard back over the same
// connection, so that whatever happens in between shows. It runs while somebody asked for it and the page is visible.
// A number that was refused with `retryable: true` was not spoken, and is spoken again. So is one of which nothing is known
// (`publish_unknown`): Earshot leaves that to the speaker, who can do it where a payload has an id of its own, as a number is.
// Elsewhere: the books (tick-ledger.ts), what is shown (failover-view.ts).

import type { Connection, PublishAnswer } from "./connection.ts";
import type { Arrival } from "./failover.ts";
import { type MessageFrame, payloadText } from "./frames.ts";
import { TickLedger } from "./tick-ledger.ts";

/** Milliseconds between numbers: 40 frames a second of the 100 that a connection may send. */
const TICK_MS = 25;

/** Arrivals that are remembered: the last ten seconds. */
const ARRIVALS_MAX = 10_000 / TICK_MS;

/** Bytes unsent from which the network is too slow for a ticker: some hundred frames. */
const UNSENT_BYTES_MAX = 16 * 1024;

export interface TickerEvents {
  /** After every message of it. */
  arrived(arrival: Arrival): void;
  /** It cannot run: a sentence why. */
  failed(why: string): void;
}

export class Ticker {
  readonly #connection: Connection;
  readonly #events: TickerEvents;
  readonly #name = randomName();
  /** To be spoken again; as many as fit into the seconds that an answer takes, since no new one begins meanwhile. */
  readonly #again: number[] = [];
  readonly arrivals: Arrival[] = [];
  ledger = new TickLedger();
  #topicId = "";
  #timer: number | undefined;
  #number = 0;

  constructor(connection: Connection, events: TickerEvents) {
    this.#connection = connection;
    this.#events = events;
  }

  get topicId(): string {
    return this.#topicId;
  }

  get isRunning(): boolean {
    return this.#timer !== undefined;
  }

  get lastHeardAtMs(): number | undefined {
    return this.arrivals.at(-1)?.atMs;
  }

  /** Begins, with new books, on a channel of the Topic of `topicId`. */
  start(topicId: string): void {
    this.stop();
    this.#topicId = `${topicId.split(":", 1)[0]}:ticker-${this.#name}`;
    this.ledger = new TickLedger();
    this.arrivals.length = 0;
    this.#again.length = 0;
    this.#connection.subscribe(this.#topicId, false);
  }

  stop(): void {
    this.pause();
    if (this.#topicId !== "") this.#connection.unsubscribe(this.#topicId);
    this.#topicId = "";
  }

  /** Speaks nothing until `resume`; still hears what is under way. */
  pause(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** From now on somebody hears it: what is spoken counts. Called at each `subscribed`. */
  resume(): void {
    if (this.#topicId !== "") this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
  }

  hear(frame: MessageFrame, text: string): void {
    const number = Number(/^\{"tick":(\d{1,15})\}$/.exec(payloadText(text))?.[1]);
    if (!Number.isSafeInteger(number)) return;
    const atMs = performance.now();
    const tookMs = this.ledger.hear(number, atMs);
    if (tookMs === undefined) return;
    const incarnation = frame.message_id.slice(0, frame.message_id.lastIndexOf("-"));
    const arrival = { atMs, incarnation, tookMs, nextNumber: this.#number + 1 };
    this.arrivals.push(arrival);
    if (this.arrivals.length > ARRIVALS_MAX) this.arrivals.shift();
    this.#events.arrived(arrival);
  }

  #tick(): void {
    this.ledger.settle(performance.now());
    if (this.#connection.unsentBytes > UNSENT_BYTES_MAX) return;
    // Instead of a new number, not beside it: the rate stays what it is.
    const again = this.#again.shift();
    if (again !== undefined) {
      if (!this.#speak(again)) this.#again.unshift(again);
      return;
    }
    const number = this.#number + 1;
    if (this.#speak(number)) {
      this.#number = number;
      this.ledger.spoken(number, performance.now());
    }
  }

  #speak(number: number): boolean {
    return this.#connection.publish(this.#topicId, `{"tick":${number}}`, (answer) => this.#answered(number, answer));
  }

  #answered(number: number, answer: PublishAnswer): void {
    if (answer.type !== "error") return;
    const isUnknown = answer.code === "publish_unknown";
    if (isUnknown) this.ledger.repeat();
    if (isUnknown || answer.retryable) this.#again.push(number);
    else this.#fail(answer.message);
  }

  #fail(why: string): void {
    this.stop();
    this.#events.failed(why);
  }
}

/** Of this page: two tabs do not hear each other's ticker. */
function randomName(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => (byte % 36).toString(36)).join("");
}
