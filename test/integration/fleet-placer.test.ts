import { afterEach, expect, test } from "vitest";
import type { Router } from "#core/domain/shard-map.ts";
import type { LocalSequencer } from "#core/fleet/dispatcher.ts";
import { Placer } from "#core/fleet/placer.ts";
import { UNANSWERED_BYTES_MAX, UNANSWERED_MAX } from "#core/fleet/publish-limits.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { HandMap, routerAt } from "../harness/hand-map.ts";
import { ScriptedRouter } from "../harness/scripted-router.ts";
import { until } from "../harness/until.ts";

const SECRET = "a secret of the fleet";
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function router(incarnation: string): Promise<ScriptedRouter> {
  const scripted = await ScriptedRouter.listen(incarnation, SECRET);
  closers.push(() => scripted.kill());
  return scripted;
}

interface Placed {
  readonly fleet: HandMap;
  readonly placer: Placer;
}

/** A placer whose streams to the routers of the first map are up. */
async function placerFor(scripted: readonly ScriptedRouter[], owners?: readonly Router[]): Promise<Placed> {
  const placed = placerOn(owners ?? scripted.map((one) => one.router));
  await until(() => scripted.every((one) => one.streams === 1), "streams to all routers");
  for (const one of scripted) await until(() => placed.placer.streamState(one.router.incarnation) === "live", "live");
  return placed;
}

function placerOn(owners: readonly Router[], local?: LocalSequencer): Placed {
  const fleet = new HandMap();
  fleet.set(owners);
  const placer = new Placer({
    fleet,
    log: createLog("silent", {}),
    clock: SYSTEM_CLOCK,
    incarnation: "publisher",
    name: "gateway-0",
    identity: secretIdentity(SECRET),
    registry: new Registry(),
    ...(local === undefined ? {} : { local }),
  });
  closers.push(() => placer.close());
  return { fleet, placer };
}

function message(topicId: string, payload = '"hi"'): PublishOrder {
  return {
    kind: "message",
    topicId,
    payload: Buffer.from(payload),
    binary: false,
    publisherId: "alice",
    priority: undefined,
    receipt: "router",
    originConnectionId: "",
    excludeConnectionId: "",
  };
}

function codeOf(promise: Promise<PublishResult>): Promise<string> {
  return promise.then(
    () => "answered",
    (error: { code: string }) => error.code,
  );
}

test("a publish goes to the primary and comes back with the router's message id", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  const { placer } = await placerFor([first, second]);
  const result = await placer.place(message("shop.chat"));
  expect(result).toEqual({
    messageId: "aaa-1",
    deliveredTo: 1,
    exact: false,
    dropped: false,
    reason: undefined,
    notDelivered: {},
  });
  expect(second.received).toEqual([]);
  const [publish] = first.received;
  expect(publish).toMatchObject({ topicId: "shop.chat", publisherId: "alice", epoch: 1n, binary: false });
  expect(Buffer.from(publish?.payload ?? []).toString()).toBe('"hi"');
});

test("publishes made while a write is in flight share the next one", async () => {
  const first = await router("aaa");
  const { placer } = await placerFor([first]);
  const results = await Promise.all(Array.from({ length: 5_000 }, (_, n) => placer.place(message(`shop.t${n}`))));
  expect(new Set(results.map((result) => result.messageId)).size).toBe(5_000);
  expect(first.received.length).toBe(5_000);
  expect(first.batches.length).toBeLessThan(50);
});

test("a publish before the first stream is up waits for it, and is sent once", async () => {
  const first = await router("aaa");
  const { placer } = placerOn([first.router]);
  expect((await placer.place(message("shop.chat"))).messageId).toBe("aaa-1");
  expect(first.received.length).toBe(1);
});

test("with no router in the map a publish is shard_unavailable at once", async () => {
  const { placer } = placerOn([]);
  expect(await codeOf(placer.place(message("shop.chat")))).toBe("shard_unavailable");
});

test("with no router of the list reachable a publish is shard_unavailable", async () => {
  const { placer } = placerOn([routerAt("aaa", "127.0.0.1:1")]);
  expect(await codeOf(placer.place(message("shop.chat")))).toBe("shard_unavailable");
});

test("a killed primary costs only what it was sent: the next publish goes to the standby", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  first.deed = () => "hold";
  const { placer } = await placerFor([first, second]);
  const lost = [codeOf(placer.place(message("shop.a"))), codeOf(placer.place(message("shop.b")))];
  await until(() => first.received.length === 2, "both received");
  first.kill();
  expect(await Promise.all(lost)).toEqual(["publish_unknown", "publish_unknown"]);
  expect((await placer.place(message("shop.a"))).messageId).toBe("bbb-1");
  expect(second.topics).toEqual(["shop.a"]);
});

test("wrong_router sends a publish to the next in the list, once", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  first.deed = () => "wrong_router";
  const { placer } = await placerFor([first, second]);
  expect((await placer.place(message("shop.a"))).messageId).toBe("bbb-1");
  expect([first.received.length, second.received.length]).toEqual([1, 1]);
});

test("a publish that every router of the list refuses is shard_unavailable after one try at each", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  first.deed = () => "wrong_router";
  second.deed = () => "wrong_router";
  const { placer } = await placerFor([first, second]);
  expect(await codeOf(placer.place(message("shop.a")))).toBe("shard_unavailable");
  expect([first.received.length, second.received.length]).toEqual([1, 1]);
});

test("a draining router is left at once, and used when nothing else is there", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  const { placer } = await placerFor([first, second]);
  first.drain();
  await until(() => placer.streamState("aaa") === "draining", "draining");
  expect((await placer.place(message("shop.a"))).messageId).toBe("bbb-1");
  second.kill();
  await until(() => placer.streamState("bbb") === "dead", "dead");
  expect((await placer.place(message("shop.a"))).messageId).toBe("aaa-1");
});

test("a planned move waits for the answers still due, so the order of a topic holds", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  first.deed = () => "hold";
  const { placer } = await placerFor([first, second]);
  const before = placer.place(message("shop.a", "1"));
  await until(() => first.held.length === 1, "held");
  first.drain();
  await until(() => placer.streamState("aaa") === "draining", "draining");
  const after = placer.place(message("shop.a", "2"));
  await new Promise((resolve) => setImmediate(resolve));
  expect(second.received.length).toBe(0);
  first.answerHeld();
  expect((await before).messageId).toBe("aaa-1");
  expect((await after).messageId).toBe("bbb-1");
});

test("a planned move waits no longer than 100 ms", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  first.deed = () => "hold";
  const { placer } = await placerFor([first, second]);
  const before = placer.place(message("shop.a", "1"));
  await until(() => first.held.length === 1, "held");
  first.drain();
  await until(() => placer.streamState("aaa") === "draining", "draining");
  const startedAt = performance.now();
  expect((await placer.place(message("shop.a", "2"))).messageId).toBe("bbb-1");
  expect(performance.now() - startedAt).toBeGreaterThan(90);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  first.answerHeld();
  expect((await before).messageId).toBe("aaa-1");
});

test("a router that leaves the map still answers what it was sent, then its stream ends", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  first.deed = () => "hold";
  const { fleet, placer } = await placerFor([first, second]);
  const before = placer.place(message("shop.a"));
  await until(() => first.held.length === 1, "held");
  fleet.set([second.router]);
  first.answerHeld();
  expect((await before).messageId).toBe("aaa-1");
  await until(() => first.streams === 0, "stream ended");
});

test("a router that falls silent is dead after 3 s: what it got is unknown, what comes next goes on", async () => {
  const [first, second] = [await router("aaa"), await router("bbb")];
  first.deed = () => "hold";
  const { placer } = await placerFor([first, second]);
  const startedAt = performance.now();
  const lost = codeOf(placer.place(message("shop.a")));
  first.speaks = false;
  expect(await lost).toBe("publish_unknown");
  expect(performance.now() - startedAt).toBeLessThan(4_500);
  expect((await placer.place(message("shop.a"))).messageId).toBe("bbb-1");
  expect(first.received.length).toBe(1);
});

test("a router that speaks but does not answer makes publishes unknown after 5 s", async () => {
  const first = await router("aaa");
  first.deed = () => "hold";
  const { placer } = await placerFor([first]);
  const startedAt = performance.now();
  expect(await codeOf(placer.place(message("shop.a")))).toBe("publish_unknown");
  expect(performance.now() - startedAt).toBeGreaterThan(4_900);
  expect(performance.now() - startedAt).toBeLessThan(7_000);
});

test("another process at the router's address is not the router", async () => {
  const first = await router("aaa");
  first.incarnationTold = "zzz";
  const { placer } = placerOn([first.router]);
  expect(await codeOf(placer.place(message("shop.a")))).toBe("shard_unavailable");
  expect(first.received).toEqual([]);
});

test("a router that comes back at its address is dialled again", async () => {
  const first = await router("aaa");
  const { placer } = await placerFor([first]);
  first.kill();
  await until(() => placer.streamState("aaa") === "dead", "dead");
  expect(await codeOf(placer.place(message("shop.a")))).toBe("shard_unavailable");
  const again = await ScriptedRouter.listen("aaa", SECRET, Number(first.router.address.split(":")[1]));
  closers.push(() => again.kill());
  await until(() => placer.streamState("aaa") === "live", "live again");
  expect((await placer.place(message("shop.a"))).messageId).toBe("aaa-1");
});

test("the caps on unanswered publishes hold: at the cap it goes, one past it is backpressure", async () => {
  const first = await router("aaa");
  first.deed = () => (first.received.length > UNANSWERED_MAX ? "answer" : "hold");
  const { placer } = await placerFor([first]);
  const kept = Array.from({ length: UNANSWERED_MAX }, () => codeOf(placer.place(message("a.b", "1"))));
  expect(await codeOf(placer.place(message("a.b", "1")))).toBe("backpressure");
  await until(() => first.received.length === UNANSWERED_MAX, "all received");
  first.answerHeld();
  // On a machine that is busy some answers come too late; none of these publishes was refused.
  expect(await Promise.all(kept)).not.toContain("backpressure");
  expect(await codeOf(placer.place(message("a.b", "1")))).not.toBe("backpressure");
});

test("the caps on unanswered bytes hold", async () => {
  const first = await router("aaa");
  first.deed = () => "hold";
  const { placer } = await placerFor([first]);
  const big = "1".repeat(1024 * 1024);
  const outcomes = Array.from({ length: UNANSWERED_BYTES_MAX / big.length + 1 }, () =>
    codeOf(placer.place(message("a.b", big))),
  );
  expect(await outcomes.at(-1)).toBe("backpressure");
  await until(() => first.received.length === 15, "the others received");
  first.answerHeld();
  expect(await Promise.all(outcomes.slice(0, 15))).toEqual(Array.from({ length: 15 }, () => "answered"));
});

test("a router does its own shards in place, and forwards when it refuses itself", async () => {
  const second = await router("bbb");
  const local = {
    incarnation: "aaa",
    draining: false,
    answer: "done",
    sequence(): PublishResult | "wrong_router" {
      if (this.answer === "wrong_router") return "wrong_router";
      return {
        messageId: "aaa-1",
        deliveredTo: 0,
        exact: false,
        dropped: true,
        reason: "no_subscribers",
        notDelivered: {},
      };
    },
  };
  const { placer } = placerOn([routerAt("aaa"), second.router], local);
  await until(() => placer.streamState("bbb") === "live", "live");
  expect((await placer.place(message("shop.a"))).messageId).toBe("aaa-1");
  local.answer = "wrong_router";
  expect((await placer.place(message("shop.a"))).messageId).toBe("bbb-1");
  local.answer = "done";
  local.draining = true;
  expect((await placer.place(message("shop.b"))).messageId).toBe("bbb-2");
  expect(placer.isFirstAlive("shop.b", "bbb")).toBe(true);
});

test("drain waits for the answers due; a closed placer takes nothing more", async () => {
  const first = await router("aaa");
  first.deed = () => "hold";
  const { placer } = await placerFor([first]);
  const before = placer.place(message("shop.a"));
  await until(() => first.held.length === 1, "held");
  let drained = false;
  const draining = placer.drain(5_000).then(() => (drained = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(drained).toBe(false);
  first.answerHeld();
  await draining;
  expect((await before).messageId).toBe("aaa-1");
  await placer.close();
  await placer.close();
  expect(await codeOf(placer.place(message("shop.a")))).toBe("draining");
});

test("counts and descriptions come from the first alive router, and are undefined or an error when none is", async () => {
  const first = await router("aaa");
  const { placer } = await placerFor([first]);
  expect(await placer.countSubscriptions(["shop.a", "shop.bcd"])).toEqual([6, 8]);
  expect(await placer.describe("shop.a")).toMatchObject({ shard: 7, seq: 3n });
  expect(placer.isFirstAlive("shop.a", "aaa")).toBe(true);
  first.kill();
  await until(() => placer.streamState("aaa") === "dead", "dead");
  expect(placer.isFirstAlive("shop.a", "aaa")).toBe(false);
  expect(await placer.countSubscriptions(["shop.a"])).toEqual([undefined]);
  await expect(placer.describe("shop.a")).rejects.toMatchObject({ code: "shard_unavailable" });
});
