// Owns: who shall carry which shard in the end: primaries balanced within one shard a router, standbys on another zone,
// node, process (in this order, as far as there are any) and balanced as far as that allows, and as few shards moved from
// where they are as that takes. Pure; indices instead of routers inside. How a map gets there safely is step.ts.

import type { Router } from "#core/domain/shard-map.ts";
import type { Target } from "./observed.ts";

export interface Wishes {
  /** For every shard, whom it may best be given to, by incarnation; who is not usable is passed over. */
  readonly primaries: readonly (readonly string[])[];
  readonly standbys: readonly (readonly string[])[];
}

const NOBODY = -1;

/** Chooses for every shard among `routers` (in a fixed order). */
export function chooseTarget(routers: readonly Router[], wishes: Wishes): Target {
  if (routers.length === 0) return wishes.primaries.map(() => []);
  const indexOf = new Map(routers.map((router, index) => [router.incarnation, index]));
  const indices = (list: readonly string[]): number[] => list.flatMap((incarnation) => indexOf.get(incarnation) ?? []);
  const primaryWishes = wishes.primaries.map(indices);
  const standbyWishes = wishes.standbys.map(indices);
  const primaries = choosePrimaries(routers.length, primaryWishes, standbyWishes);
  const moved = primaries.map((primary, shard) => primaryWishes[shard]?.[0] !== primary);
  const standbys = chooseStandbys(routers, primaries, (shard) => {
    const before = primaryWishes[shard] ?? [];
    const listed = standbyWishes[shard] ?? [];
    // Who hands a shard over has its interest already: the best standby there is.
    return moved[shard] === true ? [...before, ...listed] : [...listed, ...before];
  });
  return primaries.map((primary, shard) =>
    [primary, standbys[shard] ?? NOBODY].flatMap((index) => routers[index]?.incarnation ?? []),
  );
}

function choosePrimaries(count: number, wishes: readonly number[][], listed: readonly number[][]): number[] {
  const primaries = wishes.map((wish) => wish[0] ?? NOBODY);
  const load = new Load(count, primaries);
  for (const [shard, primary] of primaries.entries()) {
    if (primary === NOBODY) load.put(primaries, shard, load.lowest());
  }
  for (;;) {
    const from = load.highest();
    const to = load.lowest();
    if (load.of(from) - load.of(to) < 2) return primaries;
    // A shard whose list holds the receiver already moves without anybody registering interest anew.
    const ready = primaries.findIndex((primary, shard) => primary === from && listed[shard]?.includes(to) === true);
    load.put(primaries, ready >= 0 ? ready : primaries.indexOf(from), to);
  }
}

function chooseStandbys(
  routers: readonly Router[],
  primaries: readonly number[],
  wishesOf: (shard: number) => readonly number[],
): number[] {
  const allowed = allFarthest(routers);
  const mayStandBy = (shard: number, router: number): boolean =>
    allowed[primaries[shard] ?? NOBODY]?.has(router) === true;
  const standbys = primaries.map((_, shard) => wishesOf(shard).find((wish) => mayStandBy(shard, wish)) ?? NOBODY);
  const load = new Load(routers.length, standbys);
  const pairs = new Pairs(primaries, standbys);
  for (const [shard, standby] of standbys.entries()) {
    const primary = primaries[shard] ?? NOBODY;
    if (standby !== NOBODY) continue;
    const choice = load.lowestOf(allowed[primary] ?? new Set(), (router) => pairs.of(primary, router));
    if (choice === NOBODY) continue;
    load.put(standbys, shard, choice);
    pairs.add(primary, choice, 1);
  }
  evenOut(standbys, load, (shard, router) => mayStandBy(shard, router));
  return standbys;
}

/** For each router those that are as far away from it as any is: in another zone, else on another node, else any other. */
function allFarthest(routers: readonly Router[]): readonly ReadonlySet<number>[] {
  const byPlace = new Map<string, ReadonlySet<number>>();
  return routers.map((router, primary) => {
    const place = JSON.stringify([router.node, router.zone]);
    const known = byPlace.get(place);
    if (known !== undefined) return known;
    const distances = routers.map((other, index) => (index === primary ? 0 : distance(other, router)));
    const farthest = Math.max(...distances);
    const set = new Set(distances.flatMap((far, index) => (far === farthest && index !== primary ? [index] : [])));
    // Whoever shares a place is as far from all other nodes; only on one and the same node does "not itself" matter.
    if (farthest > SAME_NODE) byPlace.set(place, set);
    return set;
  });
}

const SAME_NODE = 1;

function distance(a: Router, b: Router): number {
  if (a.node === b.node) return SAME_NODE;
  return a.zone === b.zone ? SAME_NODE + 1 : SAME_NODE + 2;
}

/** Moves standbys along chains from loaded routers to idle ones until no chain helps any more. */
function evenOut(standbys: number[], load: Load, mayStandBy: (shard: number, router: number) => boolean): void {
  const shardsOf = Array.from({ length: load.count }, () => new Set<number>());
  for (const [shard, standby] of standbys.entries()) shardsOf[standby]?.add(shard);
  const settled = new Set<number>();
  for (;;) {
    const from = load.highest(settled);
    if (from === NOBODY || load.of(from) - load.of(load.lowest()) < 2) return;
    const chain = findChain(from, load, (router, next) =>
      firstOf(shardsOf[router], (shard) => mayStandBy(shard, next)),
    );
    if (chain === undefined) settled.add(from);
    else settled.clear();
    for (const { shard, to } of chain ?? []) {
      shardsOf[standbys[shard] ?? NOBODY]?.delete(shard);
      shardsOf[to]?.add(shard);
      load.put(standbys, shard, to);
    }
  }
}

interface Hop {
  readonly shard: number;
  readonly to: number;
}

/** The shortest chain of moves from a router to one with at least two fewer; breadth first. */
function findChain(
  start: number,
  load: Load,
  movable: (from: number, to: number) => number | undefined,
): readonly Hop[] | undefined {
  const cameBy = new Map<number, { from: number; hop: Hop }>();
  const queue = [start];
  for (const router of queue) {
    for (let next = 0; next < load.count; next++) {
      if (next === start || cameBy.has(next)) continue;
      const shard = movable(router, next);
      if (shard === undefined) continue;
      cameBy.set(next, { from: router, hop: { shard, to: next } });
      if (load.of(start) - load.of(next) >= 2) return walkBack(next, start, cameBy);
      queue.push(next);
    }
  }
  return undefined;
}

function walkBack(end: number, start: number, cameBy: ReadonlyMap<number, { from: number; hop: Hop }>): readonly Hop[] {
  const hops: Hop[] = [];
  for (let router = end; router !== start; ) {
    const step = cameBy.get(router);
    if (step === undefined) break;
    hops.push(step.hop);
    router = step.from;
  }
  return hops;
}

function firstOf(shards: ReadonlySet<number> | undefined, test: (shard: number) => boolean): number | undefined {
  for (const shard of shards ?? []) if (test(shard)) return shard;
  return undefined;
}

/** How many shards each router has. */
class Load {
  readonly count: number;
  readonly #shards: number[];

  constructor(count: number, assigned: readonly number[]) {
    this.count = count;
    this.#shards = Array.from({ length: count }, () => 0);
    for (const router of assigned) if (router !== NOBODY) this.#add(router, 1);
  }

  of(router: number): number {
    return this.#shards[router] ?? 0;
  }

  put(assigned: number[], shard: number, router: number): void {
    const before = assigned[shard] ?? NOBODY;
    if (before !== NOBODY) this.#add(before, -1);
    assigned[shard] = router;
    this.#add(router, 1);
  }

  lowest(): number {
    let best = 0;
    for (let router = 1; router < this.count; router++) if (this.of(router) < this.of(best)) best = router;
    return best;
  }

  highest(except: ReadonlySet<number> = new Set()): number {
    let best = NOBODY;
    for (let router = 0; router < this.count; router++) {
      if (!except.has(router) && (best === NOBODY || this.of(router) > this.of(best))) best = router;
    }
    return best;
  }

  lowestOf(routers: ReadonlySet<number>, tieBreak: (router: number) => number): number {
    let best = NOBODY;
    for (const router of routers) {
      const less = this.of(router) - this.of(best) || tieBreak(router) - tieBreak(best);
      if (best === NOBODY || less < 0) best = router;
    }
    return best;
  }

  #add(router: number, count: number): void {
    this.#shards[router] = this.of(router) + count;
  }
}

/** How many shards each pair of primary and standby shares: spread, so that a death loads all others alike. */
class Pairs {
  readonly #counts = new Map<string, number>();

  constructor(primaries: readonly number[], standbys: readonly number[]) {
    for (const [shard, primary] of primaries.entries()) this.add(primary, standbys[shard] ?? NOBODY, 1);
  }

  of(primary: number, standby: number): number {
    return this.#counts.get(`${primary}/${standby}`) ?? 0;
  }

  add(primary: number, standby: number, count: number): void {
    this.#counts.set(`${primary}/${standby}`, this.of(primary, standby) + count);
  }
}
