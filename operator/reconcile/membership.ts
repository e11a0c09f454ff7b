// Owns: which routers may carry shards, which leave the map, and which must not leave it yet. Pure; part of plan.ts.
// Rules (design, "Where control flows"): a router leaves when its stream is gone and its endpoint is not ready, or when
// most gateways report its link dead; a new leader removes nobody it merely cannot see; never more than half of the map
// at once, counting only routers that announced no drain and whose links gateways still report alive.

import type { Router, ShardMap } from "#core/domain/shard-map.ts";
import type { HeldBack, Observed, ObservedRouter } from "./observed.ts";

export interface Membership {
  /** May be primary or standby from now on. Sorted, so that every run decides alike. */
  readonly usable: readonly Router[];
  /** Can serve what it is listed for: usable ones, and draining ones until somebody else has taken over. */
  readonly alive: ReadonlySet<string>;
  /** Stay in the map though they carry nothing now: removal was held back. */
  readonly kept: readonly Router[];
  readonly removed: readonly Router[];
  readonly heldBack: readonly HeldBack[];
}

export function judgeMembership(observed: Observed, map: ShardMap | undefined): Membership {
  const inMap = new Set(map?.routers.map((router) => router.incarnation));
  const lost = observed.routers.filter((router) => inMap.has(router.router.incarnation) && isLost(router));
  const heldBack = holdBack(lost, observed.mayRemove, inMap.size);
  const held = new Set(heldBack.map(({ router }) => router.incarnation));
  const alive: ObservedRouter[] = [];
  const kept: Router[] = [];
  for (const candidate of observed.routers) {
    const { router, linked, connected, ready } = candidate;
    const listed = inMap.has(router.incarnation);
    if (listed && isLost(candidate)) {
      // Gateways still talk to it: whatever this operator sees, it serves.
      if (held.has(router.incarnation) && linked && !candidate.cutOff) alive.push(candidate);
      else if (held.has(router.incarnation)) kept.push(router);
    } else if (listed || (connected && ready)) alive.push(candidate);
  }
  const steady = alive.filter((candidate) => !candidate.draining);
  return {
    // Where all are going, those that are left go on serving.
    usable: sorted(
      (steady.length > 0 ? steady : alive.filter((one) => inMap.has(one.router.incarnation))).map(routerOf),
    ),
    alive: new Set(alive.map((candidate) => candidate.router.incarnation)),
    kept: sorted(kept),
    removed: lost.map(routerOf).filter((router) => !held.has(router.incarnation)),
    heldBack,
  };
}

function isLost(router: ObservedRouter): boolean {
  return router.cutOff || (!router.connected && router.endpoint !== "ready");
}

function holdBack(lost: readonly ObservedRouter[], mayRemove: boolean, mapSize: number): readonly HeldBack[] {
  const unseen = lost.filter(
    (router) => !mayRemove && !router.draining && (router.connected || router.endpoint !== "gone"),
  );
  const others = lost.filter((router) => !unseen.includes(router));
  const counted = others.filter((router) => !router.draining && router.linked);
  const tooMany = counted.length > mapSize / 2 ? counted : [];
  return [
    ...unseen.map((router) => ({ router: router.router, why: "new leader" as const })),
    ...tooMany.map((router) => ({ router: router.router, why: "too many at once" as const })),
  ];
}

function routerOf(candidate: ObservedRouter): Router {
  return candidate.router;
}

function sorted(routers: readonly Router[]): readonly Router[] {
  return routers.toSorted((a, b) => (a.incarnation < b.incarnation ? -1 : a.incarnation > b.incarnation ? 1 : 0));
}
