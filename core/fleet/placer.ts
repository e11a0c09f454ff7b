// Owns: where a publish goes. Every edge (gateway, router) hands its publishes to one Placer, which gives each to the
// router that is first alive in its shard's list, by this process's own streams. A router's own shards are done in
// place (LocalSequencer).
// Invariants: no publish is given to a second router unless the first refused it unhandled or never got a byte of it;
// the publishes of a shard reach its routers in the order they came in, across planned moves too.
// Elsewhere: a publish's way (dispatcher.ts), one stream (publish-stream.ts), the choice of a router (choose-owner.ts).

import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { ownersOf, type Router, type ShardMap } from "../domain/shard-map.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import type { Registry } from "../runtime/metrics.ts";
import type { PeerIdentity } from "../runtime/peer-identity.ts";
import type { DescribeTopicResponse } from "#proto/earshot/internal/v1/router_pb.ts";
import { chooseOwner, type Standing } from "./choose-owner.ts";
import { Dispatcher, type LocalSequencer } from "./dispatcher.ts";
import type { Fleet } from "./fleet.ts";
import { OWN_FREEZE_MS } from "./heartbeat.ts";
import { Flight } from "./flight.ts";
import { PublishMetrics } from "./publish-metrics.ts";
import type { PublishOrder, PublishResult } from "./publish-order.ts";
import { type Availability, PublishStream, type SequencerStream, type StreamEvents } from "./publish-stream.ts";
import { RouterCalls, type UnaryMethod } from "./router-calls.ts";
import { RouterStreams } from "./router-streams.ts";

export type { LocalSequencer } from "./dispatcher.ts";

export interface PlacerOptions {
  readonly fleet: Pick<Fleet, "map" | "onMap">;
  readonly log: Log;
  readonly clock: Clock;
  /** Of this process. */
  readonly incarnation: string;
  readonly name: string;
  readonly identity: PeerIdentity;
  readonly registry: Registry;
  readonly local?: LocalSequencer;
  /** How routers are reached; absent: over gRPC. */
  readonly openStream?: (router: Router, events: StreamEvents) => SequencerStream;
}

/** Milliseconds between looks for publishes past their deadline. */
const SWEEP_MS = 500;

export class Placer implements Component {
  readonly #options: PlacerOptions;
  readonly #metrics: PublishMetrics;
  readonly #calls: RouterCalls;
  readonly #streams: RouterStreams;
  readonly #dispatcher: Dispatcher;
  readonly #idleWaiters = new Set<() => void>();
  readonly #stopTimers: () => void;
  #map: ShardMap;
  /** Publishes that are not settled. */
  #flights = 0;
  #number = 0;
  #sweptAtMs: number;
  #closed = false;

  constructor(options: PlacerOptions) {
    this.#options = options;
    const { fleet, clock, registry, identity } = options;
    this.#metrics = new PublishMetrics(registry, {
      unanswered: () => this.#flights - this.#dispatcher.waiting,
      unansweredBytes: () => this.#streams.unansweredBytes,
      waiting: () => this.#dispatcher.waiting,
      waitingBytes: () => this.#dispatcher.waitingBytes,
      streams: () => this.#streams.counts,
      silenceMs: () => {
        const { heardAtMs } = this.#streams;
        return heardAtMs === undefined ? 0 : clock.monotonic() - heardAtMs;
      },
      unreachableShards: () => this.#dispatcher.unreachableShards,
    });
    const events = this.#streamEvents();
    const openStream = options.openStream ?? ((router) => new PublishStream({ ...options, router, events }));
    this.#streams = new RouterStreams({ identity, open: (router) => openStream(router, events) });
    this.#dispatcher = new Dispatcher({
      clock,
      metrics: this.#metrics,
      streams: this.#streams,
      local: options.local,
      map: () => this.#map,
    });
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
      else this.#dispatcher.admit(flight);
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
    this.#dispatcher.close();
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
      answered: (stream, flight, answer) => this.#dispatcher.answered(flight, stream.incarnation, answer),
      unwritten: (flights) => {
        for (const flight of flights) this.#dispatcher.reroute(flight, "stream_lost");
      },
      availabilityChanged: () => this.#dispatcher.flushAll(),
      wrote: (publishes) => {
        this.#metrics.frames.inc();
        this.#metrics.orders.inc(publishes);
      },
      hopped: (tookMs) => this.#metrics.hop.observeMs(tookMs),
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
    const before = this.#map;
    this.#map = map;
    this.#streams.follow(map, this.#options.local?.incarnation);
    this.#dispatcher.mapChanged(map, before);
  }

  #firstAlive(topicId: string): Router | undefined {
    const choice = chooseOwner(ownersOf(this.#map, topicId), this.#dispatcher.availabilityOf, usual);
    return choice.kind === "router" ? choice.router : undefined;
  }
}

function usual(): Standing {
  return "usual";
}
