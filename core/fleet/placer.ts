// Owns: where a publish goes. Every edge (gateway, router) hands its publishes to one Placer, which gives each to the
// router that is first alive in its shard's list, by this process's own streams. A router's own shards are done in
// place (LocalSequencer).
// Invariants: no publish is given to a second router unless the first refused it unhandled or never got a byte of it;
// the publishes of a shard reach its routers in the order they came in, across planned moves too.
// Elsewhere: one stream (publish-stream.ts), the choice (choose-owner.ts), order while a shard moves (shard-lane.ts).

import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { PUBLISHER_MOVE_WAIT_MS } from "../domain/limits.ts";
import { ownersOf, type Router, type ShardMap } from "../domain/shard-map.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import type { Registry } from "../runtime/metrics.ts";
import type { DescribeTopicResponse } from "#proto/earshot/internal/v1/router_pb.ts";
import { type Choice, chooseOwner } from "./choose-owner.ts";
import type { Fleet } from "./fleet.ts";
import { OWN_FREEZE_MS } from "./heartbeat.ts";
import { Flight } from "./flight.ts";
import type { Answer } from "./publish-codec.ts";
import { PublishMetrics } from "./publish-metrics.ts";
import type { PublishOrder, PublishResult } from "./publish-order.ts";
import { type Availability, PublishStream, type SequencerStream, type StreamEvents } from "./publish-stream.ts";
import { RouterCalls, type UnaryMethod } from "./router-calls.ts";
import { RouterStreams } from "./router-streams.ts";
import { ShardLane } from "./shard-lane.ts";

/** A router that does its own shards without a stream to itself. */
export interface LocalSequencer {
  readonly incarnation: string;
  /** It is leaving: others of the list come first. */
  readonly draining?: boolean;
  sequence(order: PublishOrder): Promise<PublishResult> | PublishResult | "wrong_router";
}

export interface PlacerOptions {
  readonly fleet: Pick<Fleet, "map" | "onMap">;
  readonly log: Log;
  readonly clock: Clock;
  /** Of this process. */
  readonly incarnation: string;
  readonly name: string;
  readonly peerSecret: string;
  readonly registry: Registry;
  readonly local?: LocalSequencer;
  /** How routers are reached; absent: over gRPC. */
  readonly openStream?: (router: Router, events: StreamEvents) => SequencerStream;
}

/** Publishes and bytes without an answer at one router: a second of one at full speed; more is backpressure. */
export const UNANSWERED_MAX = 65_536;
export const UNANSWERED_BYTES_MAX = 16 * 1024 * 1024;

/** Milliseconds a publish waits for a router that is being dialled for the first time, where no other is there. */
const FIRST_DIAL_MS = 1_000;

/** Milliseconds for which a router that refused a publish of a shard comes last for that shard. */
const AVOID_MS = 250;

/** Milliseconds between looks for publishes past their deadline. */
const SWEEP_MS = 500;

export class Placer implements Component {
  readonly #options: PlacerOptions;
  readonly #metrics: PublishMetrics;
  readonly #calls: RouterCalls;
  readonly #streams: RouterStreams;
  readonly #lanes = new Map<number, ShardLane>();
  readonly #waitingLanes = new Set<ShardLane>();
  readonly #idleWaiters = new Set<() => void>();
  readonly #stopTimers: () => void;
  #map: ShardMap;
  /** Publishes that are not settled, and those of them that wait in lanes. */
  #flights = 0;
  #waiting = 0;
  #waitingBytes = 0;
  #number = 0;
  #sweptAtMs: number;
  #closed = false;

  constructor(options: PlacerOptions) {
    this.#options = options;
    const { fleet, clock, registry, peerSecret } = options;
    this.#metrics = new PublishMetrics(registry, {
      unanswered: () => this.#flights - this.#waiting,
      waiting: () => this.#waiting,
      streamsLive: () => this.#streams.live,
    });
    const events = this.#streamEvents();
    const openStream = options.openStream ?? ((router) => new PublishStream({ ...options, router, events }));
    this.#streams = new RouterStreams({ peerSecret, open: (router) => openStream(router, events) });
    this.#calls = new RouterCalls({
      ownerOf: (topicId) => this.#firstAlive(topicId),
      clientOf: (router) => this.#streams.clientOf(router),
    });
    const unlisten = fleet.onMap((map) => this.#onMap(map));
    const sweeping: Timer = clock.every(SWEEP_MS, () => this.#sweep());
    this.#stopTimers = () => {
      unlisten();
      sweeping.cancel();
    };
    this.#sweptAtMs = clock.monotonic();
    this.#map = fleet.map;
    this.#onMap(fleet.map);
  }

  /**
   * Hands a publish to its router; resolves with what became of it. Rejects with shard_unavailable, backpressure or
   * draining (nothing was sent), publish_unknown (it may have been heard), or what the router refused it with.
   */
  place(order: PublishOrder): Promise<PublishResult> {
    return new Promise((resolve, reject) => {
      this.#flights += 1;
      this.#number += 1;
      const owner = { resolve, reject, settled: this.#settled };
      const flight = new Flight(order, this.#number, this.#options.clock.monotonic(), owner);
      if (this.#closed) flight.fail(new EarshotError("draining"));
      else this.#admit(this.#laneOf(flight), flight);
    });
  }

  /** Whether a router is the one that this process would give a topic id's publishes to. */
  isFirstAlive(topicId: string, routerIncarnation: string): boolean {
    return this.#firstAlive(topicId)?.incarnation === routerIncarnation;
  }

  /** How this process sees a router of the map. */
  streamState(routerIncarnation: string): Availability {
    return this.#streams.availabilityOf(routerIncarnation);
  }

  /** Why did nobody hear it. Throws shard_unavailable. */
  describe(topicId: string): Promise<DescribeTopicResponse> {
    return this.#calls.describe(topicId);
  }

  /** Subscriptions of each id, in the order given; undefined where its router could not be asked. */
  countSubscriptions(topicIds: readonly string[]): Promise<readonly (number | undefined)[]> {
    return this.#calls.count(topicIds);
  }

  /** One unary call to the router a topic id is placed at, with a deadline of 1 s. */
  routerCall<I extends DescMessage, O extends DescMessage>(
    topicId: string,
    method: UnaryMethod<I, O>,
    request: MessageShape<I>,
  ): Promise<MessageShape<O>> {
    return this.#calls.call(topicId, method, request);
  }

  /** Resolves when every publish has its answer, or after `deadlineMs`. */
  drain(deadlineMs: number): Promise<void> {
    if (this.#flights === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(deadlineMs, () => done());
      const done = (): void => {
        timer.cancel();
        this.#idleWaiters.delete(done);
        resolve();
      };
      this.#idleWaiters.add(done);
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#stopTimers();
    for (const lane of this.#waitingLanes) this.#flush(lane);
    this.#streams.close();
    for (const done of this.#idleWaiters) done();
    return Promise.resolve();
  }

  readonly #settled = (): void => {
    this.#flights -= 1;
    if (this.#flights === 0) for (const done of this.#idleWaiters) done();
  };

  #streamEvents(): StreamEvents {
    return {
      answered: (stream, flight, answer) => this.#answered(flight, stream.incarnation, answer),
      unwritten: (flights) => {
        for (const flight of flights) this.#reroute(flight, "stream_lost");
      },
      availabilityChanged: () => this.#flushAll(),
      wrote: (publishes) => {
        this.#metrics.frames.inc();
        this.#metrics.orders.inc(publishes);
      },
    };
  }

  /** A process that was frozen itself has not read the answers yet: it looks again before it gives anything up. */
  #sweep(): void {
    const nowMs = this.#options.clock.monotonic();
    const lateMs = nowMs - this.#sweptAtMs - SWEEP_MS;
    this.#sweptAtMs = nowMs;
    if (lateMs < OWN_FREEZE_MS) this.#streams.sweep(nowMs);
  }

  #onMap(map: ShardMap): void {
    this.#map = map;
    this.#streams.follow(map, this.#options.local?.incarnation);
    this.#flushAll();
  }

  #laneOf(flight: Flight): ShardLane {
    const known = this.#lanes.get(flight.shard);
    if (known !== undefined) return known;
    const lane = new ShardLane();
    this.#lanes.set(flight.shard, lane);
    return lane;
  }

  readonly #availabilityOf = ({ incarnation }: Router): Availability => {
    const { local } = this.#options;
    if (incarnation !== local?.incarnation) return this.#streams.availabilityOf(incarnation);
    return local.draining === true ? "draining" : "live";
  };

  #firstAlive(topicId: string): Router | undefined {
    const choice = chooseOwner(ownersOf(this.#map, topicId), this.#availabilityOf, never, never);
    return choice.kind === "router" ? choice.router : undefined;
  }

  #choose(lane: ShardLane, flight: Flight): Choice {
    if (this.#closed) return { kind: "none" };
    const nowMs = this.#options.clock.monotonic();
    return chooseOwner(
      this.#map.shards[flight.shard] ?? [],
      this.#availabilityOf,
      (router) => flight.refusedBy(router.incarnation),
      (router) => lane.avoids(router.incarnation, nowMs),
    );
  }

  /** A new publish: behind those of its shard that wait, and behind answers due from another router. */
  #admit(lane: ShardLane, flight: Flight): void {
    if (lane.waiting.length > 0) {
      this.#wait(lane, flight);
      return;
    }
    const choice = this.#choose(lane, flight);
    if (choice.kind === "none") this.#fail(flight, unavailable());
    else if (choice.kind === "soon" || lane.mustWait(choice.router.incarnation)) this.#wait(lane, flight);
    else this.#send(lane, flight, choice.router);
  }

  /** A publish that came back: older than what waits, so it goes at once. It is due at its old router until it is sent. */
  #reroute(flight: Flight, cause: "wrong_router" | "stream_lost"): void {
    const lane = this.#laneOf(flight);
    const { move } = flight;
    this.#metrics.rerouted.inc({ cause });
    const choice = this.#choose(lane, flight);
    if (choice.kind === "none") this.#fail(flight, this.#closed ? new EarshotError("draining") : unavailable());
    else if (choice.kind === "soon") this.#wait(lane, flight);
    else this.#send(lane, flight, choice.router);
    this.#landed(lane, move);
  }

  #send(lane: ShardLane, flight: Flight, { incarnation }: Router): void {
    flight.epoch = this.#map.epoch;
    const { local } = this.#options;
    if (local !== undefined && incarnation === local.incarnation) {
      flight.move = lane.sent(incarnation);
      this.#sequenceHere(local, flight);
      return;
    }
    const stream = this.#streams.get(incarnation);
    if (stream === undefined) throw new Error(`no stream to router ${incarnation}, which was chosen`);
    if (isFull(stream.unanswered, stream.unansweredBytes, flight)) this.#fail(flight, busy());
    else {
      flight.move = lane.sent(incarnation);
      stream.enqueue(flight);
    }
  }

  #sequenceHere(local: LocalSequencer, flight: Flight): void {
    const answered = (answer: Answer): void => this.#answered(flight, local.incarnation, answer);
    const failed = (error: unknown): void => {
      if (!(error instanceof EarshotError)) throw error;
      answered({ kind: "failed", error });
    };
    try {
      const result = local.sequence(flight.order);
      if (result === "wrong_router") answered({ kind: "wrong_router" });
      else if (!(result instanceof Promise)) answered({ kind: "done", result });
      else void result.then((value) => answered({ kind: "done", result: value }), failed);
    } catch (error) {
      failed(error);
    }
  }

  #answered(flight: Flight, incarnation: string, answer: Answer): void {
    const lane = this.#laneOf(flight);
    switch (answer.kind) {
      case "wrong_router":
        flight.refuse(incarnation);
        lane.avoid(incarnation, this.#options.clock.monotonic() + AVOID_MS);
        this.#reroute(flight, "wrong_router");
        return;
      case "done":
        flight.succeed(answer.result);
        break;
      case "failed":
        this.#fail(flight, answer.error);
        break;
    }
    this.#landed(lane, flight.move);
  }

  /** What a publish was due for came, or will never come: those behind it may go. */
  #landed(lane: ShardLane, move: number | undefined): void {
    if (move !== undefined) lane.answered(move);
    if (lane.waiting.length > 0) this.#flush(lane);
  }

  #fail(flight: Flight, error: EarshotError): void {
    this.#metrics.failures.inc({ code: error.code });
    flight.fail(error);
  }

  #wait(lane: ShardLane, flight: Flight): void {
    if (isFull(this.#waiting, this.#waitingBytes, flight)) {
      this.#fail(flight, busy());
      return;
    }
    this.#waiting += 1;
    this.#waitingBytes += flight.bytes;
    lane.enqueue(flight);
    this.#waitingLanes.add(lane);
    this.#arm(lane);
  }

  #arm(lane: ShardLane): void {
    lane.timer ??= this.#options.clock.after(PUBLISHER_MOVE_WAIT_MS, () => {
      lane.timer = undefined;
      this.#flush(lane, true);
    });
  }

  #flushAll(): void {
    for (const lane of this.#waitingLanes) this.#flush(lane);
  }

  /** Sends what waits in a lane, as far as it may go now. `waitedEnough`: answers due elsewhere count no longer. */
  #flush(lane: ShardLane, waitedEnough = false): void {
    for (let next = lane.waiting[0]; next !== undefined; next = lane.waiting[0]) {
      const choice = this.#choose(lane, next);
      if (choice.kind === "soon" && !this.#waitedForDial(next)) break;
      if (choice.kind === "router" && lane.mustWait(choice.router.incarnation)) {
        if (!waitedEnough) break;
        this.#metrics.moveWaitsGivenUp.inc();
        lane.giveUpWaiting(choice.router.incarnation);
      }
      lane.waiting.shift();
      this.#waiting -= 1;
      this.#waitingBytes -= next.bytes;
      if (choice.kind === "router") this.#send(lane, next, choice.router);
      else this.#fail(next, this.#closed ? new EarshotError("draining") : unavailable());
    }
    if (lane.waiting.length > 0) {
      this.#arm(lane);
      return;
    }
    lane.timer?.cancel();
    lane.timer = undefined;
    this.#waitingLanes.delete(lane);
  }

  #waitedForDial(flight: Flight): boolean {
    return this.#options.clock.monotonic() - flight.startedAtMs >= FIRST_DIAL_MS;
  }
}

function never(): boolean {
  return false;
}

function isFull(count: number, bytes: number, flight: Flight): boolean {
  return count >= UNANSWERED_MAX || (count > 0 && bytes + flight.bytes > UNANSWERED_BYTES_MAX);
}

function unavailable(): EarshotError {
  return new EarshotError("shard_unavailable");
}

function busy(): EarshotError {
  return new EarshotError("backpressure", "this process has too many publishes without an answer");
}
