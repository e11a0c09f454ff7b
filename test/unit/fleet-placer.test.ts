import { expect, test } from "vitest";
import type { Router } from "#core/domain/shard-map.ts";
import type { Flight } from "#core/fleet/flight.ts";
import { type LocalSequencer, Placer } from "#core/fleet/placer.ts";
import type { PublishResult } from "#core/fleet/publish-order.ts";
import type { Availability, SequencerStream, StreamEvents } from "#core/fleet/publish-stream.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { HandMap, routerAt } from "../harness/hand-map.ts";
import { messageOrder } from "../harness/router-publisher.ts";

const DONE: PublishResult = {
  messageId: "",
  deliveredTo: 1,
  exact: false,
  dropped: false,
  reason: undefined,
  notDelivered: {},
};

/** A way to a router that answers when it is told to, and ends at once when it is retired with nothing due. */
class HandStream implements SequencerStream {
  readonly incarnation: string;
  readonly flights: Flight[] = [];
  readonly unansweredBytes = 0;
  availability: Availability;
  readonly #events: StreamEvents;

  constructor(incarnation: string, availability: Availability, events: StreamEvents) {
    this.incarnation = incarnation;
    this.availability = availability;
    this.#events = events;
  }

  get unanswered(): number {
    return this.flights.length;
  }

  enqueue(flight: Flight): void {
    this.flights.push(flight);
  }

  answerAll(): void {
    for (const flight of this.flights.splice(0)) this.#events.answered(this, flight, { kind: "done", result: DONE });
  }

  become(availability: Availability): void {
    this.availability = availability;
    this.#events.availabilityChanged();
  }

  sweep(): void {
    // Nothing here grows old.
  }

  retire(): void {
    if (this.unanswered === 0) this.become("dead");
  }

  close(): void {
    this.become("dead");
  }
}

class Desk {
  readonly clock = new HandClock();
  readonly fleet = new HandMap();
  readonly streams = new Map<string, HandStream>();
  readonly placer: Placer;

  constructor(first: Availability, local?: LocalSequencer) {
    this.placer = new Placer({
      fleet: this.fleet,
      clock: this.clock,
      log: createLog("silent", {}),
      incarnation: "me",
      name: "me",
      identity: secretIdentity(""),
      registry: new Registry(),
      ...(local === undefined ? {} : { local }),
      openStream: ({ incarnation }: Router, events) => {
        const stream = new HandStream(incarnation, first, events);
        this.streams.set(incarnation, stream);
        return stream;
      },
    });
  }

  stream(incarnation: string): HandStream {
    const stream = this.streams.get(incarnation);
    if (stream === undefined) throw new Error(`no stream to ${incarnation} was opened`);
    return stream;
  }
}

test("a shard that moves to this very router brings all that waited, in order, however many they are", async () => {
  const done: number[] = [];
  const desk = new Desk("live", {
    incarnation: "me",
    sequence: (order) => {
      if (order.kind === "message") done.push(Number(Buffer.from(order.payload).toString()));
      return DONE;
    },
  });
  desk.fleet.set([routerAt("other"), routerAt("me")]);
  const first = desk.placer.place(messageOrder("shop.chat", -1));
  desk.stream("other").become("draining");
  const waiting = Array.from({ length: 40_000 }, (_, n) => desk.placer.place(messageOrder("shop.chat", n)));
  expect(done).toEqual([]);
  desk.stream("other").answerAll();
  await Promise.all([first, ...waiting]);
  expect(done).toEqual(Array.from({ length: 40_000 }, (_, n) => n));
  await desk.placer.close();
});

test("what waits for a router that is being dialled goes to the one that a map puts in its place", async () => {
  const desk = new Desk("pending");
  desk.fleet.set([routerAt("old")]);
  const answer = desk.placer.place(messageOrder("shop.chat", 1));
  desk.fleet.set([routerAt("new")]);
  desk.stream("new").become("live");
  desk.stream("new").answerAll();
  expect(await answer).toEqual(DONE);
  await desk.placer.close();
});
