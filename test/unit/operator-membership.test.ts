import { expect, test } from "vitest";
import { EMPTY_SHARD_MAP, type Router, type ShardMap } from "#core/domain/shard-map.ts";
import { judgeMembership } from "../../operator/reconcile/membership.ts";
import type { Observed, ObservedRouter } from "../../operator/reconcile/observed.ts";
import { adopt, nextEpoch, plan } from "../../operator/reconcile/plan.ts";

function router(incarnation: string): Router {
  return { incarnation, name: incarnation, address: `${incarnation}:1`, node: `node-${incarnation}`, zone: "" };
}

function seen(incarnation: string, change: Partial<ObservedRouter> = {}): ObservedRouter {
  return {
    router: router(incarnation),
    connected: true,
    ready: true,
    draining: false,
    endpoint: "ready",
    cutOff: false,
    linked: true,
    ...change,
  };
}

function observed(routers: readonly ObservedRouter[], change: Partial<Observed> = {}): Observed {
  return { routers, ackedEpoch: 1_000, reportedEpoch: 0, unixSeconds: 100, mayRemove: true, isStored: true, ...change };
}

function mapOf(...incarnations: string[]): ShardMap {
  const routers = incarnations.map(router);
  return { epoch: 500, routers, shards: EMPTY_SHARD_MAP.shards.map(() => routers.slice(0, 2)) };
}

function namesOf(routers: readonly Router[]): string {
  return routers.map(({ incarnation }) => incarnation).join();
}

const NOT_SEEN = { connected: false, ready: false, endpoint: "notReady", linked: false } as const;
const GONE = { ...NOT_SEEN, endpoint: "gone" } as const;

test("a router leaves when its stream is gone and its endpoint is not ready, never for one of the two", () => {
  const map = mapOf("a", "b", "c");
  const judge = (b: Partial<ObservedRouter>): string =>
    namesOf(judgeMembership(observed([seen("a"), seen("b", b), seen("c")]), map).removed);
  expect(judge(NOT_SEEN)).toBe("b");
  expect(judge(GONE)).toBe("b");
  expect(judge({ connected: false })).toBe("");
  expect(judge({ endpoint: "notReady" })).toBe("");
  expect(judge({ ready: false })).toBe("");
});

test("a router leaves when most gateways cannot reach it, though its stream lives", () => {
  const verdict = judgeMembership(observed([seen("a"), seen("b", { cutOff: true })]), mapOf("a", "b"));
  expect(namesOf(verdict.removed)).toBe("b");
  expect(namesOf(verdict.usable)).toBe("a");
});

test("a router comes in when it is connected and says that it is ready, and not while it drains", () => {
  const judge = (b: Partial<ObservedRouter>): string =>
    namesOf(judgeMembership(observed([seen("a"), seen("b", b)]), mapOf("a")).usable);
  expect(judge({})).toBe("a,b");
  expect(judge({ ready: false })).toBe("a");
  expect(judge({ connected: false })).toBe("a");
  expect(judge({ draining: true })).toBe("a");
});

test("a new leader removes nobody whom it merely cannot see, but those that are known to be no more", () => {
  const young = { mayRemove: false };
  const unseen = judgeMembership(observed([seen("a"), seen("b", NOT_SEEN)], young), mapOf("a", "b"));
  expect(namesOf(unseen.removed)).toBe("");
  expect(unseen.heldBack.map(({ why }) => why)).toEqual(["new leader"]);
  expect(namesOf(unseen.kept)).toBe("b");
  const gone = judgeMembership(observed([seen("a"), seen("b", GONE)], young), mapOf("a", "b"));
  expect(namesOf(gone.removed)).toBe("b");
  const draining = judgeMembership(
    observed([seen("a"), seen("b", { ...NOT_SEEN, draining: true })], young),
    mapOf("a", "b"),
  );
  expect(namesOf(draining.removed)).toBe("b");
});

test("more than half of the routers never leave at once while gateways still report their links alive", () => {
  const map = mapOf("a", "b", "c", "d");
  const dying = (count: number, change: Partial<ObservedRouter>) =>
    judgeMembership(observed(["a", "b", "c", "d"].map((name, index) => seen(name, index < count ? change : {}))), map);
  const linked = { ...NOT_SEEN, linked: true };
  expect(namesOf(dying(2, linked).removed)).toBe("a,b");
  const three = dying(3, linked);
  expect(namesOf(three.removed)).toBe("");
  expect(three.heldBack.map(({ why }) => why)).toEqual(Array.from({ length: 3 }, () => "too many at once"));
  // Gateways still talk to them, so they go on carrying their shards.
  expect(namesOf(three.usable)).toBe("a,b,c,d");
  expect(namesOf(dying(3, NOT_SEEN).removed)).toBe("a,b,c");
  expect(namesOf(dying(3, { ...linked, draining: true }).removed)).toBe("a,b,c");
});

test("where all routers drain they go on, and where one comes it takes over", () => {
  const map = mapOf("a", "b");
  const all = judgeMembership(observed([seen("a", { draining: true }), seen("b", { draining: true })]), map);
  expect(namesOf(all.usable)).toBe("a,b");
  const one = judgeMembership(observed([seen("a", { draining: true }), seen("b", { draining: true }), seen("c")]), map);
  expect(namesOf(one.usable)).toBe("c");
  expect([...one.alive].sort()).toEqual(["a", "b", "c"]);
});

test("a shard whose owners look dead but must be kept gets a live owner in front of them", () => {
  const previous = adopt(mapOf("a", "b"));
  const young = { mayRemove: false };
  const { next } = plan(observed([seen("a", NOT_SEEN), seen("b", NOT_SEEN), seen("c")], young), previous);
  for (const owners of next?.map.shards ?? []) {
    expect(owners[0]?.incarnation).toBe("c");
    expect(owners).toHaveLength(2);
  }
  expect(namesOf(next?.map.routers ?? [])).toBe("a,b,c");
  // When the time is over they leave.
  const later = plan(observed([seen("a", NOT_SEEN), seen("b", NOT_SEEN), seen("c")]), next);
  expect(namesOf(later.next?.map.routers ?? [])).toBe("c");
});

test("without any live router the last map stays", () => {
  const { next, removed } = plan(observed([seen("a", GONE), seen("b", GONE)]), adopt(mapOf("a", "b")));
  expect(next).toBeUndefined();
  expect(removed).toEqual([]);
});

test("an epoch is above all that is stored or was seen, and starts at Unix seconds", () => {
  expect(nextEpoch(observed([], { unixSeconds: 1_700_000_000 }), undefined)).toBe(1_700_000_001);
  expect(nextEpoch(observed([], { reportedEpoch: 1_900_000_000 }), undefined)).toBe(1_900_000_001);
  expect(nextEpoch(observed([], { reportedEpoch: 7 }), 500)).toBe(501);
  expect(nextEpoch(observed([], { reportedEpoch: 900 }), 500)).toBe(901);
});

test("a process that has seen a higher epoch than is stored makes the same map go out above it, once", () => {
  const routers = [seen("a"), seen("b")];
  const first = plan(observed(routers), undefined).next;
  expect(plan(observed(routers), first).next).toBeUndefined();
  const again = plan(observed(routers, { reportedEpoch: 9_000 }), first).next;
  expect(again?.map.epoch).toBe(9_001);
  expect(again?.map.shards).toEqual(first?.map.shards);
  expect(plan(observed(routers, { reportedEpoch: 9_001 }), again).next).toBeUndefined();
});
