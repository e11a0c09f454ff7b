// Owns: flights between the caller and the streams: where each goes, waiting while its shard moves, what an answer does.
// Used by the placer alone. Order: a publish that comes back (refused unhandled, never written) is older than whatever
// waits in its lane, so it goes at once; new ones go behind.

import assert from "node:assert/strict";
import { PUBLISHER_MOVE_WAIT_MS } from "../domain/limits.ts";
import type { Router, ShardMap } from "../domain/shard-map.ts";
import type { Clock } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import { type Choice, chooseOwner } from "./choose-owner.ts";
import type { Flight } from "./flight.ts";
import type { Answer } from "./publish-codec.ts";
import { UNANSWERED_BYTES_MAX, UNANSWERED_MAX } from "./publish-limits.ts";
import type { PublishMetrics } from "./publish-metrics.ts";
import type { PublishOrder, PublishResult } from "./publish-order.ts";
import type { Availability } from "./publish-stream.ts";
import type { RouterStreams } from "./router-streams.ts";
import { ShardLane } from "./shard-lane.ts";

/** A router that does its own shards without a stream to itself. */
export interface LocalSequencer {
  readonly incarnation: string;
  /** It is leaving: others of the list come first. */
  readonly draining?: boolean;
  sequence(order: PublishOrder): Promise<PublishResult> | PublishResult | "wrong_router";
}

/** Milliseconds a publish waits for a router that is being dialled for the first time, where no other is there. */
const FIRST_DIAL_MS = 1_000;

/** Milliseconds for which a router that refused a publish of a shard comes last for that shard. */
const AVOID_MS = 250;

/**
 * Milliseconds for which a router is new in a shard's list: gateways that got the map a moment later, or are slow to
 * register, have done so by then. Meanwhile draining routers, which have the interest, come first.
 */
const NEW_MS = 1_000;

export interface DispatcherOptions {
  readonly clock: Clock;
  readonly metrics: PublishMetrics;
  readonly streams: RouterStreams;
  readonly local: LocalSequencer | undefined;
  readonly map: () => ShardMap;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #lanes = new Map<number, ShardLane>();
  readonly #waitingLanes = new Set<ShardLane>();
  #waiting = 0;
  #waitingBytes = 0;
  #closed = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Flights that wait in lanes. */
  get waiting(): number {
    return this.#waiting;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Shards that the map gives to somebody, and none of whose routers can be reached now. */
  get unreachableShards(): number {
    let shards = 0;
    for (const owners of this.#options.map().shards) {
      if (owners.every((router) => ["dead", "pending"].includes(this.availabilityOf(router)))) shards += 1;
    }
    return shards;
  }

  /** From now on nothing is placed: what waits, and what comes back, fails as draining. */
  close(): void {
    this.#closed = true;
    this.flushAll();
  }

  /** Another map is in force. */
  mapChanged(map: ShardMap, before: ShardMap): void {
    const untilMs = this.#options.clock.monotonic() + NEW_MS;
    for (const [shard, owners] of map.shards.entries()) {
      const listed = before.shards[shard] ?? [];
      const newcomers = owners.filter(({ incarnation }) => listed.every((other) => other.incarnation !== incarnation));
      if (listed.length === 0 || newcomers.length === 0) continue;
      this.#lane(shard).listed(
        newcomers.map(({ incarnation }) => incarnation),
        untilMs,
      );
    }
    this.flushAll();
  }

  #lane(shard: number): ShardLane {
    const known = this.#lanes.get(shard);
    if (known !== undefined) return known;
    const lane = new ShardLane();
    this.#lanes.set(shard, lane);
    return lane;
  }

  #laneOf(flight: Flight): ShardLane {
    return this.#lane(flight.shard);
  }

  /** How far a router can be counted on, this process itself included. */
  readonly availabilityOf = ({ incarnation }: Router): Availability => {
    const { local } = this.#options;
    if (incarnation !== local?.incarnation) return this.#options.streams.availabilityOf(incarnation);
    return local.draining === true ? "draining" : "live";
  };

  #choose(lane: ShardLane, flight: Flight): Choice {
    if (this.#closed) return { kind: "none" };
    const nowMs = this.#options.clock.monotonic();
    return chooseOwner(this.#options.map().shards[flight.shard] ?? [], this.availabilityOf, ({ incarnation }) =>
      flight.refusedBy(incarnation) ? "refused" : lane.standingOf(incarnation, nowMs),
    );
  }

  /** A new publish: behind those of its shard that wait, and behind answers due from another router. */
  admit(flight: Flight): void {
    const lane = this.#laneOf(flight);
    if (lane.waiting.size > 0) {
      this.#wait(lane, flight);
      return;
    }
    const choice = this.#choose(lane, flight);
    if (choice.kind === "none") this.#fail(flight, unavailable());
    else if (choice.kind === "soon" || lane.mustWait(choice.router.incarnation)) this.#wait(lane, flight);
    else this.#send(lane, flight, choice.router);
  }

  /** A publish that came back: older than what waits, so it goes at once. It is due at its old router until it is sent. */
  reroute(flight: Flight, cause: "wrong_router" | "stream_lost"): void {
    const lane = this.#laneOf(flight);
    const { move } = flight;
    this.#options.metrics.rerouted.inc({ cause });
    const choice = this.#choose(lane, flight);
    if (choice.kind === "none") this.#fail(flight, this.#closed ? new EarshotError("draining") : unavailable());
    else if (choice.kind === "soon") this.#wait(lane, flight);
    else this.#send(lane, flight, choice.router);
    this.#landed(lane, move);
  }

  #send(lane: ShardLane, flight: Flight, { incarnation }: Router): void {
    flight.epoch = this.#options.map().epoch;
    const { local } = this.#options;
    if (local !== undefined && incarnation === local.incarnation) {
      flight.move = lane.sent(incarnation);
      this.#sequenceHere(local, flight);
      return;
    }
    const stream = this.#options.streams.get(incarnation);
    assert(stream !== undefined, `no stream to router ${incarnation}, which was chosen`);
    if (isFull(stream.unanswered, stream.unansweredBytes, flight)) this.#fail(flight, busy());
    else {
      flight.move = lane.sent(incarnation);
      stream.enqueue(flight);
    }
  }

  #sequenceHere(local: LocalSequencer, flight: Flight): void {
    const answered = (answer: Answer): void => this.answered(flight, local.incarnation, answer);
    const failed = (error: unknown): void => answered({ kind: "failed", error: operatingError(error) });
    let result: ReturnType<LocalSequencer["sequence"]>;
    try {
      result = local.sequence(flight.order);
    } catch (error) {
      failed(error);
      return;
    }
    if (result === "wrong_router") answered({ kind: "wrong_router" });
    else if (!(result instanceof Promise)) answered({ kind: "done", result });
    else void result.then((value) => answered({ kind: "done", result: value }), failed);
  }

  /** A router (or its stream) said what became of a publish. */
  answered(flight: Flight, incarnation: string, answer: Answer): void {
    const lane = this.#laneOf(flight);
    switch (answer.kind) {
      case "wrong_router":
        flight.refuse(incarnation);
        lane.avoid(incarnation, this.#options.clock.monotonic() + AVOID_MS);
        this.reroute(flight, "wrong_router");
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
    // An answer that comes while the lane is being flushed (a router's own shards answer at once) needs no flush of its own.
    if (lane.waiting.size > 0 && !lane.flushing) this.#flush(lane);
  }

  #fail(flight: Flight, error: EarshotError): void {
    this.#options.metrics.failures.inc({ code: error.code });
    flight.fail(error);
  }

  #wait(lane: ShardLane, flight: Flight): void {
    if (isFull(this.#waiting, this.#waitingBytes, flight)) {
      this.#fail(flight, busy());
      return;
    }
    this.#waiting += 1;
    this.#waitingBytes += flight.bytes;
    lane.waiting.insert(flight);
    this.#waitingLanes.add(lane);
    this.#arm(lane);
  }

  #arm(lane: ShardLane): void {
    lane.timer ??= this.#options.clock.after(PUBLISHER_MOVE_WAIT_MS, () => {
      lane.timer = undefined;
      this.#flush(lane, true);
    });
  }

  /** The map or a router changed: whoever waits may go now. */
  flushAll(): void {
    for (const lane of this.#waitingLanes) this.#flush(lane);
  }

  /** Sends what waits in a lane, as far as it may go now. `waitedEnough`: answers due elsewhere count no longer. */
  #flush(lane: ShardLane, waitedEnough = false): void {
    lane.flushing = true;
    for (let next = lane.waiting.first; next !== undefined; next = lane.waiting.first) {
      const choice = this.#choose(lane, next);
      if (choice.kind === "soon" && !this.#waitedForDial(next)) break;
      if (choice.kind === "router" && lane.mustWait(choice.router.incarnation)) {
        if (!waitedEnough) break;
        this.#options.metrics.moveWaitsGivenUp.inc();
        lane.giveUpWaiting(choice.router.incarnation);
      }
      lane.waiting.shift();
      this.#waiting -= 1;
      this.#waitingBytes -= next.bytes;
      if (choice.kind === "router") this.#send(lane, next, choice.router);
      else this.#fail(next, this.#closed ? new EarshotError("draining") : unavailable());
    }
    lane.flushing = false;
    if (lane.waiting.size > 0) {
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

function isFull(count: number, bytes: number, flight: Flight): boolean {
  return count >= UNANSWERED_MAX || (count > 0 && bytes + flight.bytes > UNANSWERED_BYTES_MAX);
}

/** What a sequencer may fail with; anything else is a bug, and ends the process. */
function operatingError(error: unknown): EarshotError {
  if (error instanceof EarshotError) return error;
  throw error;
}

function unavailable(): EarshotError {
  return new EarshotError("shard_unavailable");
}

function busy(): EarshotError {
  return new EarshotError("backpressure", "this process has too many publishes without an answer");
}
