import * as fc from "fast-check";
import { expect, test } from "vitest";
import { SHARD_COUNT } from "#core/domain/limits.ts";
import type { Router, ShardMap } from "#core/domain/shard-map.ts";
import type { Observed, ObservedRouter, Planned } from "../../operator/reconcile/observed.ts";
import { adopt, plan } from "../../operator/reconcile/plan.ts";

// A fleet as a test moves it: routers that live, drain and die; an epoch up to which every gateway has acked.
interface Sim {
  readonly routers: Map<string, { router: Router; state: "alive" | "draining" | "dead" }>;
  ackedEpoch: number;
  planned: Planned | undefined;
  next: number;
}

type Step =
  | { readonly kind: "join"; readonly node: number; readonly zone: number }
  | { readonly kind: "kill" | "drain"; readonly which: number }
  | { readonly kind: "ack" | "newLeader" };

const stepOf: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("join" as const), node: fc.nat(4), zone: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("kill" as const, "drain" as const), which: fc.nat(20) }) },
  { weight: 3, arbitrary: fc.constant({ kind: "ack" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "newLeader" as const }) },
);

const UNIX_SECONDS = 1_700_000_000;

function newSim(): Sim {
  return { routers: new Map(), ackedEpoch: 0, planned: undefined, next: 0 };
}

function join(sim: Sim, node: number, zone: number): void {
  const incarnation = `r${String(sim.next++).padStart(3, "0")}`;
  // A node is in one zone.
  const router = {
    incarnation,
    name: incarnation,
    address: `${incarnation}:1`,
    node: `z${zone}n${node}`,
    zone: `z${zone}`,
  };
  sim.routers.set(incarnation, { router, state: "alive" });
}

function observe(sim: Sim): Observed {
  const routers: ObservedRouter[] = [];
  const mapped = new Set(sim.planned?.map.routers.map((router) => router.incarnation));
  for (const { router, state } of sim.routers.values()) {
    if (state === "dead" && !mapped.has(router.incarnation)) continue;
    routers.push({
      router,
      connected: state !== "dead",
      ready: state !== "dead",
      draining: state === "draining",
      endpoint: state === "dead" ? "gone" : "ready",
      cutOff: false,
      linked: state !== "dead",
    });
  }
  return {
    routers,
    ackedEpoch: sim.ackedEpoch,
    reportedEpoch: sim.planned?.map.epoch ?? 0,
    unixSeconds: UNIX_SECONDS,
    mayRemove: true,
    isStored: true,
  };
}

/** Moves the fleet and plans once, checking what must hold of any single plan. */
function move(sim: Sim, step: Step): void {
  const alive = [...sim.routers.values()].filter((one) => one.state === "alive");
  if (step.kind === "join") join(sim, step.node, step.zone);
  else if (step.kind === "kill" || step.kind === "drain") {
    const chosen = alive[step.which % Math.max(1, alive.length)];
    if (chosen !== undefined) chosen.state = step.kind === "kill" ? "dead" : "draining";
  } else if (step.kind === "ack") sim.ackedEpoch = sim.planned?.map.epoch ?? 0;
  else if (sim.planned !== undefined) sim.planned = adopt(sim.planned.map);
  planOnce(sim);
}

function planOnce(sim: Sim): boolean {
  const before = sim.planned;
  const observed = observe(sim);
  const { next, target } = plan(observed, before);
  if (next === undefined) {
    if (before !== undefined) sim.planned = { ...before, target };
    return false;
  }
  checkStep(sim, before, next);
  sim.planned = next;
  return true;
}

function stateOf(sim: Sim, router: Router | undefined): string {
  return router === undefined ? "none" : (sim.routers.get(router.incarnation)?.state ?? "none");
}

function checkStep(sim: Sim, before: Planned | undefined, after: Planned): void {
  expect(after.map.epoch).toBeGreaterThan(before?.map.epoch ?? UNIX_SECONDS - 1);
  expect(after.map.shards).toHaveLength(SHARD_COUNT);
  const isLive = (router: Router): boolean => ["alive", "draining"].includes(stateOf(sim, router));
  const anyLive = [...sim.routers.values()].some((one) => one.state === "alive");
  for (const [shard, owners] of after.map.shards.entries()) {
    const [primary, standby] = owners;
    const old = before?.map.shards[shard] ?? [];
    if (anyLive && (primary === undefined || !isLive(primary))) throw new Error(`shard ${shard} has no live primary`);
    if (primary !== undefined && primary === standby) throw new Error(`shard ${shard} has one router twice`);
    if (owners.some((owner) => !after.map.routers.includes(owner))) throw new Error(`shard ${shard} names a stranger`);
    if (primary === undefined || primary.incarnation === old[0]?.incarnation) continue;
    // A new primary: every gateway has its interest there, or nobody else of the list lives.
    const place = old.findIndex((router) => router.incarnation === primary.incarnation);
    const since = place < 0 ? undefined : before?.listedSince[shard]?.[place];
    const isAcked = since !== undefined && since <= sim.ackedEpoch;
    const others = old.filter((router) => isLive(router) && router.incarnation !== primary.incarnation);
    if (!isAcked && others.length > 0) throw new Error(`shard ${shard} goes to a router that was not acked`);
  }
}

/** Lets every gateway ack until nothing changes any more. */
function settle(sim: Sim): number {
  for (let maps = 0; maps < 50; maps++) {
    sim.ackedEpoch = sim.planned?.map.epoch ?? 0;
    if (!planOnce(sim)) return maps;
  }
  throw new Error("plans never come to rest");
}

function usable(sim: Sim): readonly Router[] {
  const of = (state: string): Router[] =>
    [...sim.routers.values()].filter((one) => one.state === state).map((one) => one.router);
  return of("alive");
}

function loads(map: ShardMap, place: number, routers: readonly Router[]): number[] {
  const counts = new Map(routers.map((router) => [router.incarnation, 0]));
  for (const owners of map.shards) {
    const owner = owners[place];
    if (owner !== undefined) counts.set(owner.incarnation, (counts.get(owner.incarnation) ?? 0) + 1);
  }
  return [...counts.values()];
}

function spread(counts: readonly number[]): number {
  return counts.length === 0 ? 0 : Math.max(...counts) - Math.min(...counts);
}

function mapOf(sim: Sim): ShardMap {
  const map = sim.planned?.map;
  if (map === undefined) throw new Error("there is no map");
  return map;
}

test("whatever happens to routers, every single map is safe and its epoch only grows", () => {
  fc.assert(
    fc.property(fc.array(stepOf, { minLength: 1, maxLength: 25 }), (steps) => {
      const sim = newSim();
      for (const step of steps) move(sim, step);
    }),
    { numRuns: 200 },
  );
});

test("when acks come in, plans come to rest at balanced primaries and the farthest standbys there are", () => {
  fc.assert(
    fc.property(fc.array(stepOf, { minLength: 1, maxLength: 20 }), (steps) => {
      const sim = newSim();
      for (const step of steps) move(sim, step);
      settle(sim);
      const routers = usable(sim);
      if (routers.length === 0) return;
      const map = mapOf(sim);
      expect(map.routers.map((router) => router.incarnation).sort()).toEqual(routers.map((r) => r.incarnation).sort());
      expect(spread(loads(map, 0, routers))).toBeLessThanOrEqual(1);
      for (const [primary, standby] of map.shards) {
        if (primary === undefined) throw new Error("a shard has no primary");
        if ((standby === undefined) !== (routers.length === 1)) throw new Error("a shard lacks a standby");
        const differs = (what: "node" | "zone"): boolean =>
          standby?.[what] !== primary[what] || routers.every((router) => router[what] === primary[what]);
        if (!differs("node") || !differs("zone")) throw new Error("a standby is nearer to its primary than it need be");
      }
    }),
    { numRuns: 150 },
  );
});

test("standbys are balanced within one shard a router where every router has its own node and all are in one zone", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 40 }), fc.array(fc.nat(39), { maxLength: 5 }), (count, deaths) => {
      const sim = newSim();
      for (let node = 0; node < count; node++) join(sim, node, 0);
      planOnce(sim);
      settle(sim);
      for (const which of deaths) move(sim, { kind: "kill", which });
      settle(sim);
      const routers = usable(sim);
      if (routers.length === 0) return;
      expect(spread(loads(mapOf(sim), 0, routers))).toBeLessThanOrEqual(1);
      expect(spread(loads(mapOf(sim), 1, routers))).toBeLessThanOrEqual(routers.length === 1 ? SHARD_COUNT : 1);
    }),
    { numRuns: 40 },
  );
});

test("no single standby could move to a less loaded router without coming nearer to its primary", () => {
  const far = (a: Router, b: Router): number => (a.node === b.node ? 1 : a.zone === b.zone ? 2 : 3);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(4), fc.nat(2)), { minLength: 2, maxLength: 12 }), (places) => {
      const sim = newSim();
      for (const [node, zone] of places) join(sim, node, zone);
      planOnce(sim);
      settle(sim);
      const map = mapOf(sim);
      const routers = usable(sim);
      const counts = new Map(routers.map((router) => [router.incarnation, 0]));
      const countOf = (router: Router): number => counts.get(router.incarnation) ?? 0;
      for (const [, standby] of map.shards)
        if (standby !== undefined) counts.set(standby.incarnation, countOf(standby) + 1);
      for (const [primary, standby] of map.shards) {
        if (primary === undefined || standby === undefined) throw new Error("a shard lacks an owner");
        for (const other of routers) {
          if (other === primary || far(primary, other) < far(primary, standby)) continue;
          if (countOf(standby) - countOf(other) > 1) throw new Error("a standby stands where there are more already");
        }
      }
    }),
    { numRuns: 60 },
  );
});

test("a router that comes takes its share of primaries and nothing else moves between the others", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), (count) => {
      const sim = newSim();
      for (let node = 0; node < count; node++) join(sim, node, 0);
      planOnce(sim);
      settle(sim);
      const before = mapOf(sim);
      move(sim, { kind: "join", node: count, zone: 0 });
      settle(sim);
      const moved = mapOf(sim).shards.filter((owners, shard) => owners[0] !== before.shards[shard]?.[0]);
      const newcomer = `r${String(count).padStart(3, "0")}`;
      expect(moved).toHaveLength(Math.floor(SHARD_COUNT / (count + 1)));
      expect(moved.every((owners) => owners[0]?.incarnation === newcomer)).toBe(true);
    }),
    { numRuns: 20 },
  );
});

test("when a router dies its standbys lead at once, and other shards move only to a standby of theirs that is warm", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 20 }), fc.nat(19), (count, which) => {
      const sim = newSim();
      for (let node = 0; node < count; node++) join(sim, node, 0);
      planOnce(sim);
      settle(sim);
      const before = mapOf(sim);
      const dead = usable(sim)[which % count];
      move(sim, { kind: "kill", which });
      for (const [shard, [primary]] of mapOf(sim).shards.entries()) {
        const [old, standby] = before.shards[shard] ?? [];
        const right = old === dead ? [standby?.incarnation] : [old?.incarnation, standby?.incarnation];
        if (!right.includes(primary?.incarnation)) throw new Error(`shard ${shard} went elsewhere`);
      }
    }),
    { numRuns: 20 },
  );
});

test("planning again with nothing new seen changes nothing", () => {
  fc.assert(
    fc.property(fc.array(stepOf, { minLength: 1, maxLength: 20 }), (steps) => {
      const sim = newSim();
      for (const step of steps) {
        move(sim, step);
        expect(planOnce(sim)).toBe(false);
      }
    }),
    { numRuns: 100 },
  );
});
