// Owns: the decision on the next shard map. Pure: no clock, network, log; what it needs to know is in Observed, what it
// must remember in Planned. Called by reconciler.ts whenever something changed. Planning again from its own result, with
// nothing new observed, changes nothing.

import { SHARD_COUNT } from "#core/domain/limits.ts";
import type { Router, ShardMap } from "#core/domain/shard-map.ts";
import { judgeMembership, type Membership } from "./membership.ts";
import type { Observed, Plan, Planned, Target } from "./observed.ts";
import { nextOwners } from "./step.ts";
import { chooseTarget } from "./target.ts";

export function plan(observed: Observed, previous: Planned | undefined): Plan {
  const membership = judgeMembership(observed, previous?.map);
  const { usable, heldBack } = membership;
  // A map without routers is of use to nobody: the last one stays, and whoever comes back is in it.
  if (usable.length === 0) return { next: undefined, target: previous?.target, removed: [], heldBack };
  const current = ownersByShard(previous?.map);
  const usableNow = new Set(usable.map((router) => router.incarnation));
  const target = chooseTarget(usable, {
    primaries: current.map((owners, shard) => wishesFor(previous?.target?.[shard], owners, usableNow)),
    standbys: current.map((owners, shard) => [...(previous?.target?.[shard]?.slice(1) ?? []), ...owners.slice(1)]),
  });
  const kept = new Set(membership.kept.map((router) => router.incarnation));
  const lists = current.map((owners, shard) =>
    nextOwners({
      current: owners,
      target: target[shard] ?? [],
      isAlive: (incarnation) => membership.alive.has(incarnation),
      isWarm: (incarnation) => isWarm(observed, previous, { shard, incarnation }),
      isKept: (incarnation) => kept.has(incarnation),
    }),
  );
  const next = draw(lists, observed, { membership, previous, target });
  const after = next?.map.routers ?? previous?.map.routers ?? [];
  const left = (previous?.map.routers ?? []).filter(
    ({ incarnation }) => !after.some((r) => r.incarnation === incarnation),
  );
  return { next, target, removed: left, heldBack };
}

/** The epoch after everything that is stored or that anybody has seen; a map made from nothing starts at Unix seconds. */
export function nextEpoch(observed: Observed, stored: number | undefined): number {
  return Math.max(stored ?? observed.unixSeconds, observed.reportedEpoch) + 1;
}

/** What a new leader makes of a stored map: all it lists is taken as listed since that very epoch. */
export function adopt(map: ShardMap): Planned {
  return { map, listedSince: map.shards.map((owners) => owners.map(() => map.epoch)), target: undefined };
}

function ownersByShard(map: ShardMap | undefined): readonly (readonly string[])[] {
  return Array.from(
    { length: SHARD_COUNT },
    (_, shard) => map?.shards[shard]?.map((router) => router.incarnation) ?? [],
  );
}

/** Whom a shard's primary is chosen from: whoever it was meant for, then those in its list. */
function wishesFor(
  target: readonly string[] | undefined,
  owners: readonly string[],
  usable: ReadonlySet<string>,
): readonly string[] {
  const meant = target?.[0];
  if (meant !== undefined && usable.has(meant)) return [meant, ...owners];
  // A primary that died before its shard was handed on: who is in the list has the interest already.
  return [...owners, ...(target ?? [])];
}

function isWarm(
  observed: Observed,
  previous: Planned | undefined,
  { shard, incarnation }: { shard: number; incarnation: string },
): boolean {
  const place = previous?.map.shards[shard]?.findIndex((router) => router.incarnation === incarnation) ?? -1;
  const since = previous?.listedSince[shard]?.[place];
  return since !== undefined && since <= observed.ackedEpoch;
}

interface Drawing {
  readonly membership: Membership;
  readonly previous: Planned | undefined;
  readonly target: Target;
}

/** The map of these lists with its epoch; undefined when it would say what the previous one says. */
function draw(
  lists: readonly (readonly string[])[],
  observed: Observed,
  { membership, previous, target }: Drawing,
): Planned | undefined {
  const routers = routersOf(lists, observed, membership);
  const byIncarnation = new Map(routers.map((router) => [router.incarnation, router]));
  const before = previous?.map;
  const overtaken = before !== undefined && observed.reportedEpoch > before.epoch;
  if (before !== undefined && observed.isStored && !overtaken && saysTheSame(before, routers, lists)) return undefined;
  const epoch = nextEpoch(observed, before?.epoch);
  const shards = lists.map((list) => list.flatMap((incarnation) => byIncarnation.get(incarnation) ?? []));
  const listedSince = lists.map((list, shard) =>
    list.map((incarnation) => {
      const place = before?.shards[shard]?.findIndex((router) => router.incarnation === incarnation) ?? -1;
      return previous?.listedSince[shard]?.[place] ?? epoch;
    }),
  );
  return { map: { epoch, routers, shards }, listedSince, target };
}

/** Everybody who carries something or may soon, and those whose removal was held back. */
function routersOf(
  lists: readonly (readonly string[])[],
  observed: Observed,
  { usable, kept }: Membership,
): readonly Router[] {
  const wanted = new Set([...usable, ...kept].map((router) => router.incarnation));
  for (const list of lists) for (const incarnation of list) wanted.add(incarnation);
  return observed.routers
    .map(({ router }) => router)
    .filter((router) => wanted.has(router.incarnation))
    .toSorted((a, b) => (a.incarnation < b.incarnation ? -1 : 1));
}

function saysTheSame(map: ShardMap, routers: readonly Router[], lists: readonly (readonly string[])[]): boolean {
  return (
    routers.length === map.routers.length &&
    routers.every((router, index) => router.incarnation === map.routers[index]?.incarnation) &&
    lists.every((list, shard) => {
      const owners = map.shards[shard] ?? [];
      return list.length === owners.length && list.every((one, place) => one === owners[place]?.incarnation);
    })
  );
}
