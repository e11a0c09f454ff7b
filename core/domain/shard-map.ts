// Owns: the shape of a shard map and how to read it. Made by operator/reconcile, carried by Sync, read by whoever
// places a publish or an interest. Invariant: the epoch only grows; nobody applies a lower one (isNewer).
// Elsewhere: how a map is planned (operator/reconcile/plan.ts), its wire form (core/fleet/shard-map-codec.ts).

import { SHARD_COUNT } from "./limits.ts";
import { shardOf } from "./shard.ts";

/** One router process in a map. A restarted router is another incarnation, so another router. */
export interface Router {
  readonly incarnation: string;
  /** Where it runs: pod name, or slot name in standalone mode. */
  readonly name: string;
  /** `host:port` of its internal gRPC server. */
  readonly address: string;
  readonly node: string;
  readonly zone: string;
}

/** Ordered: `[primary, standby]`; one entry when there is no standby, none when there is no router at all. */
export type ShardOwners = readonly Router[];

export interface ShardMap {
  readonly epoch: number;
  readonly routers: readonly Router[];
  /** SHARD_COUNT lists. */
  readonly shards: readonly ShardOwners[];
}

/** The map before any was received: no routers, epoch 0. */
export const EMPTY_SHARD_MAP: ShardMap = {
  epoch: 0,
  routers: [],
  shards: Array.from({ length: SHARD_COUNT }, () => []),
};

/** The routers that may carry a topic id, primary first. */
export function ownersOf(map: ShardMap, topicId: string): ShardOwners {
  return map.shards[shardOf(topicId)] ?? [];
}

/** Whether `candidate` may replace `current`: only a higher epoch may. */
export function isNewer(candidate: ShardMap, current: ShardMap): boolean {
  return candidate.epoch > current.epoch;
}
