import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Flight } from "#core/fleet/flight.ts";
import { Placer } from "#core/fleet/placer.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import type { Availability, SequencerStream, StreamEvents } from "#core/fleet/publish-stream.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { HandMap, routerAt } from "../harness/hand-map.ts";

/** A router as the model sees it: it handles what it is handed at once, and says so when the schedule lets it. */
class ModelStream implements SequencerStream {
  readonly incarnation: string;
  availability: Availability = "live";
  refuses = false;
  readonly #events: StreamEvents;
  readonly #world: World;
  #unwritten: Flight[] = [];
  #written: { readonly flight: Flight; readonly refused: boolean }[] = [];

  constructor(incarnation: string, events: StreamEvents, world: World) {
    this.incarnation = incarnation;
    this.#events = events;
    this.#world = world;
  }

  get unanswered(): number {
    return this.#unwritten.length + this.#written.length;
  }

  get unansweredBytes(): number {
    return 0;
  }

  enqueue(flight: Flight): void {
    this.#unwritten.push(flight);
  }

  write(): void {
    if (this.availability === "dead" || this.availability === "pending") return;
    for (const flight of this.#unwritten.splice(0)) {
      this.#written.push({ flight, refused: this.refuses });
      this.#world.offered.push(`${publishOf(flight.order)} at ${this.incarnation}`);
      if (!this.refuses) this.#world.handled.push({ publish: publishOf(flight.order), router: this.incarnation });
    }
  }

  answer(): void {
    const sequence = this.#world.handled.length;
    for (const { flight, refused } of this.#written.splice(0)) {
      if (refused) this.#events.answered(this, flight, { kind: "wrong_router" });
      else this.#events.answered(this, flight, { kind: "done", result: resultOf(`${this.incarnation}-${sequence}`) });
    }
  }

  become(availability: Availability): void {
    this.availability = availability;
    if (availability === "dead") {
      const [unwritten, written] = [this.#unwritten.splice(0), this.#written.splice(0)];
      this.#events.unwritten(unwritten);
      const error = new EarshotError("publish_unknown");
      for (const { flight } of written) this.#events.answered(this, flight, { kind: "failed", error });
    }
    this.#events.availabilityChanged();
  }

  sweep(): void {
    // Deadlines are the real stream's own.
  }

  retire(): void {
    // The model goes on answering what it was sent.
  }

  close(): void {
    this.availability = "dead";
  }
}

interface World {
  readonly handled: { readonly publish: number; readonly router: string }[];
  /** What reached a router, handled or refused: `<publish> at <router>`. */
  readonly offered: string[];
}

type Event =
  | { readonly kind: "publish"; readonly topic: number }
  | { readonly kind: "write" | "answer" | "die" | "drain" | "revive" | "refuse" | "accept"; readonly router: number }
  | { readonly kind: "map"; readonly primary: number; readonly standby: number }
  | { readonly kind: "wait"; readonly ms: number }
  /** Every router writes and answers. */
  | { readonly kind: "turn" };

const ROUTERS = 3;
const TOPICS = ["shop.a", "shop.b"];
const routerIndex = fc.nat({ max: ROUTERS - 1 });
const publishing = fc.record({ kind: fc.constant("publish" as const), topic: fc.nat({ max: 1 }) });
const moving = fc.record({ kind: fc.constant("map" as const), primary: routerIndex, standby: routerIndex });
const turning = fc.constant({ kind: "turn" as const });
const waiting = fc.record({ kind: fc.constant("wait" as const), ms: fc.nat({ max: 200 }) });
const doing = (...kinds: ("write" | "answer" | "die" | "drain" | "revive" | "refuse" | "accept")[]) =>
  fc.record({ kind: fc.constantFrom(...kinds), router: routerIndex });

interface Outcome {
  readonly publish: number;
  readonly code: string;
}

/** Runs a schedule, then lets everything finish. */
async function run(
  schedule: readonly Event[],
  first: Availability = "live",
): Promise<World & { outcomes: readonly Outcome[]; publishes: number }> {
  const world: World = { handled: [], offered: [] };
  const clock = new HandClock();
  const fleet = new HandMap();
  const routers = Array.from({ length: ROUTERS }, (_, n) => routerAt(`r${n}`));
  const streams: ModelStream[] = [];
  const placer = new Placer({
    fleet,
    clock,
    log: createLog("silent", {}),
    incarnation: "publisher",
    name: "gateway-0",
    identity: secretIdentity(""),
    registry: new Registry(),
    openStream: ({ incarnation }, events) => {
      const stream = new ModelStream(incarnation, events, world);
      stream.availability = first;
      streams.push(stream);
      return stream;
    },
  });
  // Every router stays in the map, so that its stream lives as long as the model.
  const setOwners = (primary: number, standby: number): void => {
    const owners = [...new Set([primary, standby])].flatMap((index) => routers.slice(index, index + 1));
    fleet.set(
      owners,
      routers.filter((router) => !owners.includes(router)),
    );
  };
  setOwners(0, 1);
  const outcomes: Outcome[] = [];
  const pending: Promise<unknown>[] = [];
  let publishes = 0;
  for (const event of schedule) {
    switch (event.kind) {
      case "publish": {
        const publish = publishes++;
        const settled = (code: string) => outcomes.push({ publish, code });
        const order = orderOf(TOPICS[event.topic] ?? "", publish);
        pending.push(
          placer.place(order).then(
            () => settled("done"),
            (error: EarshotError) => settled(error.code),
          ),
        );
        break;
      }
      case "map":
        setOwners(event.primary, event.standby);
        break;
      case "wait":
        clock.advance(event.ms);
        break;
      case "turn":
        for (const stream of streams) {
          stream.write();
          stream.answer();
        }
        break;
      case "write":
      case "answer":
      case "die":
      case "drain":
      case "revive":
      case "refuse":
      case "accept":
        act(streams[event.router], event.kind);
    }
  }
  for (const stream of streams) if (stream.availability !== "dead") stream.become("live");
  for (let round = 0; round < 5; round++) {
    for (const stream of streams) {
      stream.refuses = false;
      stream.write();
      stream.answer();
    }
    clock.advance(1_000);
  }
  await Promise.all(pending);
  await placer.close();
  expect(clock.pending).toBe(0);
  return { ...world, outcomes, publishes };
}

function act(stream: ModelStream | undefined, kind: Extract<Event, { router: number }>["kind"]): void {
  if (stream === undefined) return;
  switch (kind) {
    case "write":
      stream.write();
      break;
    case "answer":
      stream.answer();
      break;
    case "die":
      stream.become("dead");
      break;
    case "drain":
      if (stream.availability === "live") stream.become("draining");
      break;
    case "revive":
      stream.become("live");
      break;
    case "refuse":
      stream.refuses = true;
      break;
    case "accept":
      stream.refuses = false;
      break;
  }
}

function orderOf(topicId: string, publish: number): PublishOrder {
  return {
    kind: "message",
    topicId,
    payload: Buffer.from(String(publish)),
    binary: false,
    publisherId: "alice",
    priority: undefined,
    receipt: "router",
    originConnectionId: "",
    excludeConnectionId: "",
  };
}

function publishOf(order: PublishOrder): number {
  return order.kind === "message" ? Number(Buffer.from(order.payload).toString()) : -1;
}

function resultOf(messageId: string): PublishResult {
  return { messageId, deliveredTo: 1, exact: false, dropped: false, reason: undefined, notDelivered: {} };
}

test("whatever routers do, no publish is handled twice, and every answer is true", async () => {
  const anyEvent = fc.oneof(
    { weight: 4, arbitrary: publishing },
    { weight: 6, arbitrary: doing("write", "answer", "die", "drain", "revive", "refuse", "accept") },
    { weight: 1, arbitrary: moving },
    { weight: 1, arbitrary: waiting },
    { weight: 3, arbitrary: turning },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(anyEvent, { maxLength: 60 }), fc.boolean(), async (schedule, up) => {
      const { handled, offered, outcomes, publishes } = await run(schedule, up ? "live" : "pending");
      expect(new Set(offered).size).toBe(offered.length);
      const times = new Map<number, number>();
      for (const { publish } of handled) times.set(publish, (times.get(publish) ?? 0) + 1);
      expect(Math.max(0, ...times.values())).toBeLessThanOrEqual(1);
      expect(outcomes.map((outcome) => outcome.publish).sort((a, b) => a - b)).toEqual(
        Array.from({ length: publishes }, (_, n) => n),
      );
      for (const { publish, code } of outcomes) {
        if (code === "done") expect(times.get(publish)).toBe(1);
        else if (code !== "publish_unknown")
          expect([code, times.get(publish)]).toEqual(["shard_unavailable", undefined]);
      }
    }),
    { numRuns: 500 },
  );
});

test("while routers answer within the wait, the order of a shard holds over drains, deaths and moves", async () => {
  const anyEvent = fc.oneof(
    { weight: 4, arbitrary: publishing },
    { weight: 6, arbitrary: doing("write", "answer", "die", "drain", "revive") },
    { weight: 2, arbitrary: moving },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(anyEvent, { maxLength: 60 }), fc.boolean(), async (schedule, up) => {
      const { handled } = await run(schedule, up ? "live" : "pending");
      const topicOf = new Map<number, number>();
      let publish = 0;
      for (const event of schedule) if (event.kind === "publish") topicOf.set(publish++, event.topic);
      for (const topic of [0, 1]) {
        const order = handled.map((one) => one.publish).filter((one) => topicOf.get(one) === topic);
        expect(order).toEqual(order.toSorted((a, b) => a - b));
      }
    }),
    { numRuns: 500 },
  );
});

test("a draining primary loses nothing and refuses nothing", async () => {
  const anyEvent = fc.oneof({ weight: 4, arbitrary: publishing }, { weight: 3, arbitrary: doing("write", "answer") });
  await fc.assert(
    fc.asyncProperty(fc.array(anyEvent, { maxLength: 40 }), fc.nat({ max: 40 }), async (events, place) => {
      const schedule: Event[] = [...events.slice(0, place), { kind: "drain", router: 0 }, ...events.slice(place)];
      const { handled, outcomes, publishes } = await run(schedule);
      expect(handled.length).toBe(publishes);
      expect(outcomes.every(({ code }) => code === "done")).toBe(true);
    }),
    { numRuns: 200 },
  );
});
