import { expect, test } from "vitest";
import { SHARD_COUNT } from "#core/domain/limits.ts";
import { parseTopicId, type TopicId } from "#core/domain/topic-id.ts";
import { createLog } from "#core/runtime/log.ts";
import { ChannelCensus, ChannelRegister } from "../../router/channels.ts";
import { waitsFor } from "../../router/drain.ts";
import { TopicEntry } from "../../router/interest.ts";
import { grantable } from "../../router/links/interest-intake.ts";
import { Receipts, RECEIPTS_MAX, type ReceiptTotals } from "../../router/links/receipts.ts";
import { Placement } from "../../router/placement.ts";
import { Drops, DROPS_PER_TOPIC } from "../../router/sequencer/drops.ts";
import { HotTopics } from "../../router/sequencer/hot-topics.ts";
import { RateLimits } from "../../router/sequencer/rate-limits.ts";
import { SpokenMemory } from "../../router/spoken-memory.ts";
import { RouterStats } from "../../router/stats.ts";
import { GIVE_UP_MS, Warmth, WARMTH_TICK_MS } from "../../router/warmth.ts";
import { mapOf, routerAt } from "../harness/hand-map.ts";

function idOf(text: string): TopicId {
  const result = parseTopicId(text);
  if (!result.ok) throw new Error(result.reason);
  return result.value;
}

function entryOf(text: string, total = 0): TopicEntry<unknown> {
  const entry = new TopicEntry<unknown>(idOf(text), 0, undefined);
  entry.total = total;
  return entry;
}

function placementAs(part: "primary" | "standby" | "none"): Placement {
  const placement = new Placement("me");
  const [me, other] = [routerAt("me"), routerAt("other")];
  placement.apply(mapOf(1, { primary: [me, other], standby: [other, me], none: [other] }[part]));
  return placement;
}

test("a router's part of every shard is what the map says, and none before there is one", () => {
  expect(new Placement("me").part("shop.chat")).toBe("none");
  for (const part of ["primary", "standby", "none"] as const) {
    const placement = placementAs(part);
    for (let shard = 0; shard < SHARD_COUNT; shard++) expect(placement.partOfShard(shard)).toBe(part);
  }
});

test("a limit lets in as many as there is room for, and never takes back what is held", () => {
  expect(grantable({ asked: 5, held: 0, total: 0, max: 0 })).toBe(5);
  expect(grantable({ asked: 3, held: 0, total: 0, max: 3 })).toBe(3);
  expect(grantable({ asked: 4, held: 0, total: 0, max: 3 })).toBe(3);
  expect(grantable({ asked: 2, held: 1, total: 3, max: 3 })).toBe(1);
  expect(grantable({ asked: 2, held: 1, total: 3, max: 4 })).toBe(2);
  expect(grantable({ asked: 1, held: 5, total: 9, max: 3 })).toBe(1);
  expect(grantable({ asked: 6, held: 5, total: 9, max: 3 })).toBe(5);
  expect(grantable({ asked: 1, held: 0, total: 9, max: 3 })).toBe(0);
});

test("a draining router waits for its release, then for publishes, then for links", () => {
  const view = { released: false, operatorConnected: true, publishesIdleMs: 0, drained: false };
  expect(waitsFor(view, 0)).toBe("release");
  expect(waitsFor({ ...view, released: true }, 0)).toBe("publishes");
  expect(waitsFor({ ...view, released: true, publishesIdleMs: 500 }, 0)).toBe("links");
  expect(waitsFor({ ...view, released: true, publishesIdleMs: 500, drained: true }, 0)).toBeUndefined();
});

test("an operator that has been gone for a second is not waited for; one that just went is", () => {
  const view = { released: false, operatorConnected: false, publishesIdleMs: 500, drained: true };
  expect(waitsFor(view, 999)).toBe("release");
  expect(waitsFor(view, 1_000)).toBeUndefined();
});

function warmth(gateways: () => readonly string[] | undefined, complete: Set<string>): Warmth {
  return new Warmth({ startedAtMs: 0, gateways, complete: (gateway) => complete.has(gateway) });
}

test("a router in no map is cold, whatever time passes", () => {
  const router = warmth(() => [], new Set());
  expect(router.isWarm(500)).toBe(false);
  router.tick(60_000);
  expect(router.everWarm).toBe(false);
  router.listed(60_000);
  expect(router.isWarm(60_001)).toBe(true);
});

test("a listed router is warm when every live gateway has told its interest, or was waited for long enough", () => {
  const complete = new Set<string>();
  const router = warmth(() => ["g0", "g1"], complete);
  router.listed(0);
  complete.add("g0");
  router.tick(WARMTH_TICK_MS);
  expect(router.isWarm(WARMTH_TICK_MS)).toBe(false);
  expect(router.reasons()).toContain("g1");
  complete.add("g1");
  expect(router.isWarm(WARMTH_TICK_MS)).toBe(true);
  complete.delete("g1");
  expect(router.isWarm(WARMTH_TICK_MS)).toBe(true);
});

test("a gateway that never links is given up on; while nobody has said who lives, everybody is waited for", () => {
  for (const gateways of [["g0"], undefined]) {
    const router = warmth(() => gateways, new Set());
    router.listed(0);
    for (let nowMs = 0; nowMs < GIVE_UP_MS; nowMs += WARMTH_TICK_MS) router.tick(nowMs);
    expect(router.everWarm).toBe(false);
    router.tick(GIVE_UP_MS);
    expect(router.everWarm).toBe(true);
  }
});

test("a router that was frozen is cold until links that ended meanwhile are known and all gateways are back", () => {
  const complete = new Set(["g0"]);
  const router = warmth(() => ["g0"], complete);
  router.listed(0);
  router.tick(WARMTH_TICK_MS);
  expect(router.isWarm(WARMTH_TICK_MS + 1_000)).toBe(true);
  const thawedMs = 10_000;
  expect(router.isWarm(thawedMs)).toBe(false);
  router.tick(thawedMs + 1);
  complete.clear();
  for (const afterMs of [250, 500, 750]) router.tick(thawedMs + afterMs);
  expect(router.isWarm(thawedMs + 800)).toBe(false);
  complete.add("g0");
  expect(router.isWarm(thawedMs + 900)).toBe(true);
  expect(router.everWarm).toBe(true);
});

function open(receipts: Receipts<string>, due: Record<string, number>): { id: number; totals: () => ReceiptTotals[] } {
  const totals: ReceiptTotals[] = [];
  const id = receipts.open(new Map(Object.entries(due)), 1_000, (settled) => totals.push(settled));
  return { id, totals: () => totals };
}

test("a receipt settles once, when the last gateway has answered, whatever comes twice or late", () => {
  const receipts = new Receipts<string>(new RouterStats());
  const { id, totals } = open(receipts, { g0: 2, g1: 3 });
  receipts.answer("g0", id, 1, { slow_consumer: 1 });
  receipts.answer("g0", id, 1, { slow_consumer: 1 });
  receipts.answer("g9", id, 7, {});
  expect(totals()).toEqual([]);
  receipts.answer("g1", id, 3, { slow_consumer: 2, closed: 1 });
  receipts.answer("g1", id, 3, {});
  expect(totals()).toEqual([{ written: 4, notWritten: { slow_consumer: 3, closed: 1 }, exact: true }]);
  expect(receipts.size).toBe(0);
});

test("what a link never sent is known without its gateway; what died with it is not", () => {
  const receipts = new Receipts<string>(new RouterStats());
  const { id, totals } = open(receipts, { g0: 2, g1: 3 });
  receipts.dropped("g0", id);
  receipts.linkGone("g1");
  expect(totals()).toEqual([{ written: 0, notWritten: { link_overflow: 2 }, exact: false }]);
});

test("a deadline settles with what there is, and counts it as late", () => {
  const stats = new RouterStats();
  const receipts = new Receipts<string>(stats);
  const { id, totals } = open(receipts, { g0: 2, g1: 3 });
  receipts.answer("g0", id, 2, {});
  receipts.sweep(999);
  expect(totals()).toEqual([]);
  receipts.sweep(1_000);
  expect(totals()).toEqual([{ written: 2, notWritten: {}, exact: false }]);
  expect(stats.receiptsLate).toBe(1);
});

test("receipts have a cap", () => {
  const receipts = new Receipts<string>(new RouterStats());
  for (let index = 0; index < RECEIPTS_MAX - 1; index++) open(receipts, { g0: 1 });
  expect(receipts.full).toBe(false);
  open(receipts, { g0: 1 });
  expect(receipts.full).toBe(true);
});

test("when a topic spoke is remembered for ten seconds, and not for ever", () => {
  const memory = new SpokenMemory(0);
  memory.remember("shop.chat", 100);
  memory.sweep(10_050);
  expect(memory.get("shop.chat")).toBe(100);
  expect(memory.get("shop.other")).toBeUndefined();
  memory.sweep(20_200);
  expect(memory.get("shop.chat")).toBeUndefined();
});

test("past its cap the memory says of every topic that it may have spoken, and keeps no more names", () => {
  const memory = new SpokenMemory(0, 2);
  for (const id of ["a.a", "a.b"]) memory.remember(id, 100);
  expect(memory.get("a.c")).toBeUndefined();
  memory.remember("a.c", 200);
  expect(memory.get("a.d")).toBe(200);
  expect(memory.size).toBe(2);
});

test("drops of one reason and second are one with a count; the oldest go, of a topic and of topics", () => {
  const drops = new Drops(2);
  for (const atMs of [0, 500, 999, 1_000]) drops.add("a.a", "no_subscribers", atMs);
  drops.add("a.a", "rate_limited", 1_001);
  expect(drops.of("a.a")).toEqual([
    { atMs: 0, reason: "no_subscribers", count: 3 },
    { atMs: 1_000, reason: "no_subscribers", count: 1 },
    { atMs: 1_001, reason: "rate_limited", count: 1 },
  ]);
  for (let second = 2; second < 30; second++) drops.add("a.a", "no_subscribers", second * 1_000);
  expect(drops.of("a.a")).toHaveLength(DROPS_PER_TOPIC);
  drops.add("a.b", "backpressure", 0);
  drops.add("a.c", "backpressure", 0);
  expect(drops.of("a.a")).toEqual([]);
  expect(drops.of("a.c")).toHaveLength(1);
});

test("a drop after the clock was set back is one of its own time", () => {
  const drops = new Drops();
  for (const atMs of [3_600_000, 1_000, 1_500]) drops.add("a.a", "no_subscribers", atMs);
  expect(drops.of("a.a")).toEqual([
    { atMs: 3_600_000, reason: "no_subscribers", count: 1 },
    { atMs: 1_000, reason: "no_subscribers", count: 2 },
  ]);
});

test("a topic id's rate is its own, holds a second's worth, and survives that somebody begins to listen", () => {
  const limits = new RateLimits();
  const taken = (times: number, entry: TopicEntry<unknown> | undefined, nowMs: number): number =>
    Array.from({ length: times }, () => limits.take("a.a", entry, 10, nowMs)).filter(Boolean).length;
  expect(taken(8, undefined, 0)).toBe(8);
  const entry = entryOf("a.a");
  expect(taken(8, entry, 0)).toBe(2);
  expect(taken(20, entry, 500)).toBe(5);
  expect(limits.take("a.b", undefined, 10, 500)).toBe(true);
  expect(limits.take("a.a", entry, 0, 500)).toBe(true);
  expect(limits.take("a.a", entry, 20, 500)).toBe(true);
});

test("a flood of topic ids that nobody hears leaves no bucket behind, and resets none that is in use", () => {
  const limits = new RateLimits();
  for (let count = 0; count < 10; count++) expect(limits.take("a.a", undefined, 10, count)).toBe(true);
  for (let count = 0; count < 20_000; count++) limits.take(`a.b:${count}`, undefined, 10, 500);
  expect(limits.size).toBe(20_001);
  expect(limits.take("a.a", undefined, 10, 50)).toBe(false);
  for (let nowMs = 1_000; nowMs <= 3_000; nowMs += 1_000) limits.sweep(nowMs);
  expect(limits.size).toBe(0);
  for (let count = 0; count < 1_000_000; count++) limits.take(`a.c:${count}`, undefined, 10, 4_000);
  expect(limits.size).toBeLessThanOrEqual(50_000);
});

function hotTopics(part: "primary" | "standby"): { hot: HotTopics; changes: () => number } {
  let changes = 0;
  const hot = new HotTopics({
    onSubscriptions: 1_000,
    placement: placementAs(part),
    log: createLog("silent", {}),
    changed: () => (changes += 1),
  });
  return { hot, changes: () => changes };
}

test("a topic is hot from the threshold on, and no more after a whole minute below 80 % of it", () => {
  const { hot, changes } = hotTopics("primary");
  const entry = entryOf("shop.chat:a", 999);
  hot.changed(entry, 0);
  expect(hot.size).toBe(0);
  entry.total = 1_000;
  hot.changed(entry, 0);
  expect([hot.size, changes()]).toEqual([1, 1]);
  entry.total = 800;
  hot.changed(entry, 1_000);
  hot.sweep(100_000);
  expect(hot.size).toBe(1);
  entry.total = 799;
  hot.changed(entry, 100_000);
  hot.sweep(159_999);
  expect(hot.size).toBe(1);
  entry.total = 800;
  hot.changed(entry, 159_999);
  hot.sweep(200_000);
  expect(hot.size).toBe(1);
  entry.total = 10;
  hot.changed(entry, 200_000);
  hot.sweep(260_000);
  expect([hot.size, changes()]).toEqual([0, 2]);
});

test("a report names Topics, each once with its largest topic id, and only those this router is primary of", () => {
  for (const part of ["primary", "standby"] as const) {
    const { hot } = hotTopics(part);
    hot.changed(entryOf("shop.chat:a", 1_500), 0);
    hot.changed(entryOf("shop.chat:b", 2_500), 0);
    const expected = part === "primary" ? [{ topic: "shop.chat", subscriptions: 2_500 }] : [];
    expect(hot.report()).toEqual(expected);
  }
});

test("channels are counted where this router is primary, by the map in force", () => {
  const placement = placementAs("primary");
  const census = new ChannelCensus(placement);
  const [one, two, own] = [entryOf("shop.few:a", 1), entryOf("shop.few:b", 2), entryOf("shop.few", 1)];
  for (const entry of [one, two, two, own]) census.changed(entry);
  expect(census.primariesOf("shop.few")).toBe(2);
  placement.apply(mapOf(2, [routerAt("other"), routerAt("me")]));
  expect(census.primariesOf("shop.few")).toBe(0);
  placement.apply(mapOf(3, [routerAt("me")]));
  one.total = 0;
  census.changed(one);
  expect(census.primariesOf("shop.few")).toBe(1);
  two.total = 0;
  census.changed(two);
  expect([census.primariesOf("shop.few"), [...census.topics()]]).toEqual([0, []]);
});

test("what routers said of their channels counts while a map names them", () => {
  const register = new ChannelRegister();
  register.set("shop.few", "r1", 3);
  register.set("shop.few", "r2", 4);
  expect(register.othersOf("shop.few", () => true)).toBe(7);
  register.set("shop.few", "r2", 1);
  expect(register.othersOf("shop.few", () => true)).toBe(4);
  expect(register.othersOf("shop.few", (incarnation) => incarnation === "r2")).toBe(1);
  expect(register.othersOf("shop.few", () => true)).toBe(1);
  register.set("shop.few", "r2", 0);
  expect(register.othersOf("shop.few", () => true)).toBe(0);
});
