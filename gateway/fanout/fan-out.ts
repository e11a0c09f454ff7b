// Owns: handing what came to everybody subscribed here, in slices of 2 ms, so that one hot topic never holds the event
// loop. Topics take turns: each is served to its end or to the end of the slice, and then queues again behind the
// others. Invariants: strict order within a topic; one write a recipient and flight, nothing else per recipient.
// What waits here is capped by the routers: each sends at most 2 MiB that were not confirmed as handed on.
// Elsewhere: what is in a flight (deliver.ts), what a slow connection does (sessions/outbox.ts).

import type { Clock } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { GRPC, SSE, WEBSOCKET } from "./encoding.ts";
import type { Flight } from "./flight.ts";
import type { Item, LocalTopic } from "./local-topic.ts";
import type { Notice } from "./notice.ts";
import type { Subscription } from "./subscription.ts";

/** Milliseconds of fan-out between two looks at everything else: design, "Hot topics". */
const SLICE_MS = 2;

/** Recipients between two looks at the clock: about 0.2 ms of writes. */
const RECIPIENTS_BETWEEN_LOOKS = 32;

export interface FanOutMetrics {
  /** Messages handed to connections. */
  delivered(count: number): void;
  slice(seconds: number): void;
  /** A flight of messages was given to the last of its recipients. */
  handedOn(flight: Flight, nowMs: number): void;
}

export class FanOut implements Component {
  readonly #clock: Clock;
  readonly #metrics: FanOutMetrics;
  #round: LocalTopic[] = [];
  #head = 0;
  #scheduled: NodeJS.Immediate | undefined;
  #running = false;
  #endsAtMs = 0;
  #delivered = 0;
  /** Bytes of envelopes that wait for their turn. */
  queuedBytes = 0;

  constructor(clock: Clock, metrics: FanOutMetrics) {
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /** Puts a flight in order at its topic. Call `run` once everything of a batch was put. */
  put(topic: LocalTopic, flight: Flight): void {
    this.queuedBytes += flight.bytes;
    for (const subscription of topic.introducing) {
      if (subscription.kept === undefined || !hears(subscription, flight)) continue;
      subscription.kept.push(flight);
      if (flight.receipt !== undefined) flight.receipt.written += flight.count;
    }
    this.#enqueue(topic, { kind: "flight", flight });
  }

  /** Tells everybody subscribed to a topic, in its turn. */
  notice(topic: LocalTopic, notice: Notice): void {
    for (const { outbox, kept } of topic.introducing) if (kept !== undefined) sendNotice(outbox, notice);
    this.#enqueue(topic, { kind: "notice", notice });
    this.#schedule();
  }

  /** Runs `action` once everything that came for the topic before was handed on: now, when there is nothing. */
  inTurn(topic: LocalTopic, action: () => void): void {
    if (topic.items.length === 0) {
      action();
      return;
    }
    this.#enqueue(topic, { kind: "turn", run: action });
    this.#schedule();
  }

  /** Nothing that comes later is joined to what waits now. */
  barrier(topic: LocalTopic): void {
    if (topic.items.length > 0) topic.items.push({ kind: "turn", run: () => undefined });
  }

  /** Serves for one slice; the rest follows by itself. */
  run(): void {
    if (this.#scheduled !== undefined || this.#running) return;
    this.#slice();
  }

  close(): Promise<void> {
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    this.#round = [];
    this.#head = 0;
    return Promise.resolve();
  }

  #enqueue(topic: LocalTopic, item: Item): void {
    topic.items.push(item);
    if (topic.queued) return;
    topic.queued = true;
    this.#round.push(topic);
  }

  #schedule(): void {
    if (this.#running) return;
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#slice();
    });
  }

  #slice(): void {
    const startedAtMs = this.#clock.monotonic();
    this.#endsAtMs = startedAtMs + SLICE_MS;
    this.#running = true;
    this.#delivered = 0;
    while (this.#head < this.#round.length) {
      const topic = this.#round[this.#head];
      this.#head += 1;
      if (topic === undefined) continue;
      this.#serve(topic);
      if (this.#over()) break;
    }
    if (this.#head >= this.#round.length) {
      this.#round = [];
      this.#head = 0;
    } else if (this.#head > 1_024) {
      this.#round = this.#round.slice(this.#head);
      this.#head = 0;
    }
    this.#running = false;
    this.#metrics.delivered(this.#delivered);
    this.#metrics.slice((this.#clock.monotonic() - startedAtMs) / 1000);
    if (this.#round.length > 0) this.#schedule();
  }

  /** Serves a topic until it has nothing more or the slice is over; then it queues again. */
  #serve(topic: LocalTopic): void {
    let served = 0;
    for (;;) {
      const item = topic.items[served];
      if (item === undefined) break;
      if (!this.#hand(topic, item)) break;
      topic.cursor = 0;
      served += 1;
      if (this.#over()) break;
    }
    topic.items.splice(0, served);
    topic.queued = topic.items.length > 0;
    if (topic.queued) this.#round.push(topic);
  }

  /** Whether the item is done. */
  #hand(topic: LocalTopic, item: Item): boolean {
    switch (item.kind) {
      case "turn":
        item.run();
        return true;
      case "notice":
        return this.#tell(topic, item.notice);
      case "flight": {
        const { flight } = item;
        const everybody = flight.audience === "all" && flight.skipped === undefined;
        if (!(everybody ? this.#walk(topic, flight) : this.#pick(topic, flight))) return false;
        this.queuedBytes -= flight.bytes;
        if (flight.arrivedAtMs > 0) this.#metrics.handedOn(flight, this.#clock.monotonic());
        for (const told of flight.done) told();
        return true;
      }
    }
  }

  /** The hot path: everybody, one write each. False when the slice is over before the audience is. */
  #walk(topic: LocalTopic, flight: Flight): boolean {
    const { audience } = topic;
    let webSocket: Buffer | undefined;
    let sse: Buffer | undefined;
    let dropped = 0;
    const startedAt = topic.cursor;
    let at = startedAt;
    let lookAt = at + RECIPIENTS_BETWEEN_LOOKS;
    for (; at < audience.length; at++) {
      if (at === lookAt) {
        if (this.#over()) break;
        lookAt += RECIPIENTS_BETWEEN_LOOKS;
      }
      const { outbox } = audience[at] as Subscription;
      if (outbox.clear && outbox.encoding !== GRPC && outbox.socket.writableLength === 0) {
        outbox.socket.write(
          outbox.encoding === WEBSOCKET ? (webSocket ??= flight.joined(WEBSOCKET)) : (sse ??= flight.joined(SSE)),
        );
      } else dropped += offer(topic, outbox, flight);
    }
    topic.cursor = at;
    this.#count(flight, (at - startedAt) * flight.count, dropped);
    return at >= audience.length;
  }

  /** The same for flights that are not for everybody. */
  #pick(topic: LocalTopic, flight: Flight): boolean {
    const { audience } = topic;
    let recipients = 0;
    let dropped = 0;
    let at = topic.cursor;
    let lookAt = at + RECIPIENTS_BETWEEN_LOOKS;
    for (; at < audience.length; at++) {
      if (at === lookAt) {
        if (this.#over()) break;
        lookAt += RECIPIENTS_BETWEEN_LOOKS;
      }
      const subscription = audience[at] as Subscription;
      if (!hears(subscription, flight)) continue;
      recipients += 1;
      dropped += offer(topic, subscription.outbox, flight);
    }
    topic.cursor = at;
    this.#count(flight, recipients * flight.count, dropped);
    return at >= audience.length;
  }

  #tell(topic: LocalTopic, notice: Notice): boolean {
    const { audience } = topic;
    let at = topic.cursor;
    let lookAt = at + RECIPIENTS_BETWEEN_LOOKS;
    for (; at < audience.length; at++) {
      if (at === lookAt) {
        if (this.#over()) break;
        lookAt += RECIPIENTS_BETWEEN_LOOKS;
      }
      sendNotice((audience[at] as Subscription).outbox, notice);
    }
    topic.cursor = at;
    return at >= audience.length;
  }

  #over(): boolean {
    return this.#clock.monotonic() >= this.#endsAtMs;
  }

  #count(flight: Flight, offered: number, dropped: number): void {
    this.#delivered += offered - dropped;
    if (flight.receipt === undefined) return;
    flight.receipt.written += offered - dropped;
    if (dropped > 0) flight.receipt.missed("slow_consumer", dropped);
  }
}

/** Whether a flight is for a subscription at all. */
function hears(subscription: Subscription, flight: Flight): boolean {
  if (flight.audience === "presence" && !subscription.presence) return false;
  return flight.skipped === undefined || !flight.skipped.includes(subscription);
}

/**
 * Offers each message of a flight to a connection by itself; returns how many it dropped. Presence frames are no
 * messages: one that was left out would make every later one wrong, and a `gap` would count it.
 */
export function offer(topic: LocalTopic, outbox: Subscription["outbox"], flight: Flight): number {
  let dropped = 0;
  for (let index = 0; index < flight.count; index++) {
    if (flight.audience === "presence") outbox.control(flight.part(outbox.encoding, index));
    else if (!outbox.message(topic, flight.part(outbox.encoding, index))) dropped += 1;
  }
  return dropped;
}

function sendNotice(outbox: Subscription["outbox"], notice: Notice): void {
  const bytes = notice.bytes(outbox.encoding);
  if (bytes !== undefined) outbox.control(bytes);
}
