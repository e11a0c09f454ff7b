// Owns: one publish on its way: from the caller who waits, over whatever streams, to its one answer. Made by the placer;
// held by exactly one of: a lane (waiting), a stream's queue (unwritten), a stream's table (written), or nobody (over).
// Invariant: it settles once; once written it is never given to another router, unless that one refused it unhandled.

import { shardOf } from "../domain/shard.ts";
import { weightOf } from "./publish-codec.ts";
import type { PublishOrder, PublishResult } from "./publish-order.ts";

/** Who waits for a publish. */
export interface FlightOwner {
  readonly resolve: (result: PublishResult) => void;
  readonly reject: (error: Error) => void;
  /** Called right before either of the others. */
  readonly settled: (flight: Flight) => void;
}

export class Flight {
  readonly order: PublishOrder;
  readonly shard: number;
  /** Grows with every publish of this process: lower is older. */
  readonly number: number;
  /** What it weighs against caps. */
  readonly bytes: number;
  readonly startedAtMs: number;
  /** Monotonic: when it was last written to a router; 0: never. */
  writtenAtMs = 0;
  /** Epoch of the map that it was last placed by. */
  epoch = 0;
  /** What its lane numbered it with when it was last sent; undefined: it never was. */
  move: number | undefined;
  readonly #owner: FlightOwner;
  /** Incarnations of routers that refused it unhandled; most have none. */
  #refusedBy: string[] | undefined;
  #settled = false;

  constructor(order: PublishOrder, number: number, startedAtMs: number, owner: FlightOwner) {
    this.order = order;
    this.shard = shardOf(order.topicId);
    this.number = number;
    this.bytes = weightOf(order);
    this.startedAtMs = startedAtMs;
    this.#owner = owner;
  }

  refuse(incarnation: string): void {
    this.#refusedBy ??= [];
    this.#refusedBy.push(incarnation);
  }

  refusedBy(incarnation: string): boolean {
    return this.#refusedBy?.includes(incarnation) ?? false;
  }

  succeed(result: PublishResult): void {
    if (this.#settle()) this.#owner.resolve(result);
  }

  fail(error: Error): void {
    if (this.#settle()) this.#owner.reject(error);
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#owner.settled(this);
    return true;
  }
}
