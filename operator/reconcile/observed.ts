// Owns: the words of planning: what is seen of routers and acks, what was planned before, what comes out. Values only.
// Made by gather.ts, decided on by plan.ts, carried out by reconciler.ts.

import type { Router, ShardMap } from "#core/domain/shard-map.ts";

export interface ObservedRouter {
  readonly router: Router;
  /** It has a Sync stream to this operator. */
  readonly connected: boolean;
  /** It says that it listens and has the Topics. */
  readonly ready: boolean;
  readonly draining: boolean;
  /**
   * What the machine says: its process or pod is ready, is not, or is known to be no more. `gone` is knowledge, not a
   * missing view: no hold-off protects it.
   */
  readonly endpoint: "ready" | "notReady" | "gone";
  /** Most gateways have for a while reported their link to it dead. */
  readonly cutOff: boolean;
  /** Some gateway reports its link to it alive. */
  readonly linked: boolean;
}

export interface Observed {
  /** Every router of the previous map, and every connected one. */
  readonly routers: readonly ObservedRouter[];
  /** Lowest epoch that every gateway has acked, or was given up on; Infinity where there is no gateway. */
  readonly ackedEpoch: number;
  /** Highest epoch that any process has seen. */
  readonly reportedEpoch: number;
  readonly unixSeconds: number;
  /** This operator has led long enough to remove a router because it cannot see it. */
  readonly mayRemove: boolean;
  /** The store holds the previous map. False when somebody deleted it or put an older one in its place: it is written anew. */
  readonly isStored: boolean;
}

/** Who shall carry a shard in the end, by incarnation: `[primary, standby]`, shorter where there are not enough. */
export type Target = readonly (readonly string[])[];

export interface Planned {
  readonly map: ShardMap;
  /** For every shard and place of its list: the epoch since which that router has been in that list without a break. */
  readonly listedSince: readonly (readonly number[])[];
  /** What the map is on its way to; undefined: not known (a new leader), so where it is. */
  readonly target: Target | undefined;
}

/** A router that should leave the map and may not yet. */
export interface HeldBack {
  readonly router: Router;
  readonly why: "new leader" | "too many at once";
}

export interface Plan {
  /** What to store and publish; undefined: the previous map stays. */
  readonly next: Planned | undefined;
  /** The target to remember when the map stays. */
  readonly target: Target | undefined;
  readonly removed: readonly Router[];
  readonly heldBack: readonly HeldBack[];
}
