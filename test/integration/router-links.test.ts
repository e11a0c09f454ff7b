import { afterEach, beforeEach, expect, test } from "vitest";
import { handTopic, type RouterProcess, RouterRig } from "../harness/router-rig.ts";
import { messageOrder, RouterPublisher } from "../harness/router-publisher.ts";
import { ScriptedLink } from "../harness/scripted-link.ts";
import { until } from "../harness/until.ts";

let rig: RouterRig;
let router: RouterProcess;
let publisher: RouterPublisher;
const links: ScriptedLink[] = [];

beforeEach(async () => {
  rig = await RouterRig.start();
  router = await rig.spawn();
  rig.topics([
    handTopic("shop.chat"),
    handTopic("shop.low", { priority: "Low" }),
    handTopic("shop.slow", { batchWindowMilliseconds: 1_000 }),
    handTopic("shop.small", { maxSubscribers: 3 }),
    handTopic("shop.few", { maxChannels: 2 }),
    handTopic("shop.rare", { maxPublishesPerSecond: 5 }),
  ]);
  rig.members([]);
  const owners = await rig.map([router]);
  publisher = new RouterPublisher(owners);
});

afterEach(async () => {
  for (const link of links.splice(0)) link.close();
  await publisher.close();
  await rig.close();
});

function link(incarnation = "g0"): ScriptedLink {
  const made = new ScriptedLink(router.router.address, incarnation);
  links.push(made);
  return made;
}

function payloads(of: ScriptedLink): unknown[] {
  return of.messages.map(({ payload }) => payload);
}

test("a router is ready once it is in a map, and a message reaches every gateway with interest once, in order", async () => {
  expect(await router.notReady()).toEqual([]);
  const [one, two, other] = [link("g0"), link("g1"), link("g2")];
  await one.interest([{ topicId: "shop.chat:a", count: 2 }]);
  await two.interest([{ topicId: "shop.chat:a", count: 1 }]);
  await other.interest([{ topicId: "shop.chat:b", count: 9 }]);
  const numbers = Array.from({ length: 500 }, (_, index) => index);
  const results = await Promise.all(numbers.map((n) => publisher.placer.place(messageOrder("shop.chat:a", n))));
  expect(new Set(results.map(({ deliveredTo }) => deliveredTo))).toEqual(new Set([3]));
  await until(() => one.messages.length === 500 && two.messages.length === 500, "both heard all");
  expect(payloads(one)).toEqual(numbers);
  expect(payloads(two)).toEqual(numbers);
  expect(other.records).toEqual([]);
  const [first] = one.messages;
  expect(Object.keys(first ?? {})).toEqual([
    "type",
    "topic_id",
    "message_id",
    "seq",
    "publisher_id",
    "timestamp",
    "payload",
  ]);
  expect(first?.["message_id"]).toBe(results[0]?.messageId);
  expect(one.helloOf).toBe(router.router.incarnation);
});

test("nobody listening is told as such, and so is where nobody any longer listens", async () => {
  const nobody = await publisher.placer.place(messageOrder("shop.chat:a", 1));
  expect(nobody).toMatchObject({ deliveredTo: 0, dropped: true, reason: "no_subscribers" });
  const gateway = link();
  await gateway.interest([{ topicId: "shop.chat:a", count: 1 }]);
  expect(await publisher.placer.place(messageOrder("shop.chat:a", 2))).toMatchObject({
    deliveredTo: 1,
    dropped: false,
  });
  await gateway.interest([{ topicId: "shop.chat:a", count: 0 }]);
  expect(await publisher.placer.place(messageOrder("shop.chat:a", 3))).toMatchObject({ deliveredTo: 0, dropped: true });
  const described = await publisher.placer.describe("shop.chat:a");
  expect(described.lastDrops.map(({ reason }) => reason)).toContain("no_subscribers");
  expect(payloads(gateway)).toEqual([2]);
});

test("a confirm tells the topic's seq, its total, and how long ago it spoke, also where nobody heard it", async () => {
  const [one, two] = [link("g0"), link("g1")];
  await publisher.placer.place(messageOrder("shop.chat:a", "to nobody"));
  const [first] = await one.interest([
    { topicId: "shop.chat:a", count: 2 },
    { topicId: "shop.chat:silent", count: 1 },
  ]);
  expect(first).toMatchObject({ topicId: "shop.chat:a", seq: 1n, total: 2n, granted: 2, refusal: "" });
  expect(first?.lastSpokenMsAgo).toBeLessThan(5_000);
  await publisher.placer.place(messageOrder("shop.chat:a", "heard"));
  const [state] = await two.interest([{ topicId: "shop.chat:a", count: 1 }]);
  expect(state).toMatchObject({ seq: 2n, total: 3n });
  await until(() => one.messages.length === 1, "it is heard");
  expect(one.messages[0]?.["seq"]).toBe(2);
  const [silent] = await two.interest([{ topicId: "shop.chat:silent", count: 1 }]);
  expect(silent?.lastSpokenMsAgo).toBeUndefined();
});

test("a topic that was forgotten starts again at the message counter", async () => {
  const gateway = link();
  await gateway.interest([
    { topicId: "shop.chat:a", count: 1 },
    { topicId: "shop.chat:b", count: 1 },
  ]);
  for (let n = 0; n < 3; n++) await publisher.placer.place(messageOrder("shop.chat:a", n));
  await gateway.interest([{ topicId: "shop.chat:a", count: 0 }]);
  for (let n = 0; n < 3; n++) await publisher.placer.place(messageOrder("shop.chat:b", n));
  await until(async () => (await router.metric("earshot_router_interests")) === 1, "the topic is forgotten");
  const [state] = await gateway.interest([{ topicId: "shop.chat:a", count: 1 }]);
  expect(state?.seq).toBe(6n);
});

test("maxSubscribers is granted to the first who come, over all gateways; the newest are refused", async () => {
  const [one, two] = [link("g0"), link("g1")];
  const [first] = await one.interest([{ topicId: "shop.small", count: 2 }]);
  expect(first).toMatchObject({ granted: 2, refusal: "" });
  const [second] = await two.interest([{ topicId: "shop.small", count: 2 }]);
  expect(second).toMatchObject({ granted: 1, total: 3n, refusal: "topic_full" });
  await one.interest([{ topicId: "shop.small", count: 1 }]);
  const [third] = await two.interest([{ topicId: "shop.small", count: 2 }]);
  expect(third).toMatchObject({ granted: 2, refusal: "" });
});

test("maxChannels is kept: one channel more is topic_full until another has ended", async () => {
  const gateway = link();
  const states = await gateway.interest(["a", "b", "c"].map((name) => ({ topicId: `shop.few:${name}`, count: 1 })));
  expect(states.map(({ granted, refusal }) => [granted, refusal])).toEqual([
    [1, ""],
    [1, ""],
    [0, "topic_full"],
  ]);
  const [known] = await gateway.interest([{ topicId: "shop.few:a", count: 5 }]);
  expect(known?.granted).toBe(5);
  await gateway.interest([{ topicId: "shop.few:b", count: 0 }]);
  const [again] = await gateway.interest([{ topicId: "shop.few:c", count: 1 }]);
  expect(again).toMatchObject({ granted: 1, refusal: "" });
});

test("what is no topic id is refused alone, and the rest of the batch holds", async () => {
  const gateway = link();
  const states = await gateway.interest([
    { topicId: "../etc", count: 1 },
    { topicId: "shop.chat", count: 1 },
  ]);
  expect(states.map(({ refusal, granted }) => [refusal, granted])).toEqual([
    ["topic_id_invalid", 0],
    ["", 1],
  ]);
});

test("more than maxPublishesPerSecond of one topic id is rate_limited, of another is not", async () => {
  const gateway = link();
  await gateway.interest([
    { topicId: "shop.rare:a", count: 1 },
    { topicId: "shop.rare:b", count: 1 },
  ]);
  const answers = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => publisher.placer.place(messageOrder("shop.rare:a", n))),
  );
  const refused = answers.filter(({ status }) => status === "rejected");
  expect(refused.length).toBeGreaterThanOrEqual(14);
  expect(refused[0]).toMatchObject({ reason: { code: "rate_limited" } });
  await publisher.placer.place(messageOrder("shop.rare:b", 0));
  await until(() => gateway.messages.length === 20 - refused.length + 1, "what was taken is heard");
});

test("messages of a Topic with a batch window come together, in order, and late by the window at most", async () => {
  const gateway = link();
  await gateway.interest([{ topicId: "shop.slow", count: 1 }]);
  for (let n = 0; n < 10; n++) await publisher.placer.place(messageOrder("shop.slow", n));
  await until(() => gateway.messages.length === 10, "all came");
  expect(gateway.batches).toEqual([10]);
  expect(payloads(gateway)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("somebody who comes while a batch window is open does not get what was spoken before", async () => {
  const [one, two] = [link("g0"), link("g1")];
  await one.interest([{ topicId: "shop.slow", count: 1 }]);
  await publisher.placer.place(messageOrder("shop.slow", "before"));
  const [state] = await two.interest([{ topicId: "shop.slow", count: 1 }]);
  await publisher.placer.place(messageOrder("shop.slow", "after"));
  await until(() => one.messages.length === 2 && two.messages.length === 1, "both heard theirs");
  expect(payloads(two)).toEqual(["after"]);
  expect(state?.seq).toBe(BigInt(Number(two.messages[0]?.["seq"]) - 1));
});

test("a receipt adds up what gateways wrote and why they did not, and is exact", async () => {
  const [one, two] = [link("g0"), link("g1")];
  one.receipt = () => ({ written: 2 });
  two.receipt = () => ({ written: 1, notWritten: { slow_consumer: 2 } });
  await one.interest([{ topicId: "shop.chat", count: 2 }]);
  await two.interest([{ topicId: "shop.chat", count: 3 }]);
  const result = await publisher.placer.place(messageOrder("shop.chat", 1, { receipt: "gateway" }));
  expect(result).toMatchObject({ deliveredTo: 3, exact: true, dropped: false, notDelivered: { slow_consumer: 2 } });
});

test("a receipt that nobody could be handed to is dropped for backpressure", async () => {
  const gateway = link();
  gateway.receipt = () => ({ written: 0, notWritten: { slow_consumer: 2 } });
  await gateway.interest([{ topicId: "shop.chat", count: 2 }]);
  const result = await publisher.placer.place(messageOrder("shop.chat", 1, { receipt: "gateway" }));
  expect(result).toMatchObject({ deliveredTo: 0, exact: true, dropped: true, reason: "backpressure" });
});

test("a receipt is not exact when a gateway says nothing for a second, or dies", async () => {
  const [one, two] = [link("g0"), link("g1")];
  one.receipt = () => ({ written: 1 });
  await one.interest([{ topicId: "shop.chat", count: 1 }]);
  await two.interest([{ topicId: "shop.chat", count: 1 }]);
  const late = await publisher.placer.place(messageOrder("shop.chat", 1, { receipt: "gateway" }));
  expect(late).toMatchObject({ deliveredTo: 1, exact: false, dropped: false });
  expect(await router.metric("earshot_router_receipts_late_total")).toBe(1);
  const dying = publisher.placer.place(messageOrder("shop.chat", 2, { receipt: "gateway" }));
  await until(() => two.messages.length === 2, "it was sent");
  two.close();
  expect(await dying).toMatchObject({ deliveredTo: 1, exact: false });
  expect(await router.metric("earshot_router_receipts_late_total")).toBe(1);
});

test("an eviction goes to every gateway with interest and counts what ended", async () => {
  const [one, two, other] = [link("g0"), link("g1"), link("g2")];
  one.receipt = () => ({ written: 2 });
  two.receipt = () => ({ written: 0 });
  await one.interest([{ topicId: "shop.chat", count: 4 }]);
  await two.interest([{ topicId: "shop.chat", count: 1 }]);
  await other.interest([{ topicId: "shop.low", count: 1 }]);
  const target = { userId: "alice", connectionId: undefined };
  const result = await publisher.placer.place({
    kind: "evict",
    topicId: "shop.chat",
    eviction: { target, reason: "requested" },
  });
  expect(result).toMatchObject({ messageId: "", deliveredTo: 2, exact: true });
  expect(other.records).toEqual([]);
});

test("a gateway that does not confirm costs 8 MiB at most: the oldest go, it is told how many, the rest come in order", async () => {
  const [stuck, well] = [link("g0"), link("g1")];
  stuck.confirming = false;
  await stuck.interest([{ topicId: "shop.chat", count: 1 }]);
  await well.interest([{ topicId: "shop.chat", count: 1 }]);
  const filler = "x".repeat(60_000);
  const sent = 300;
  for (let n = 0; n < sent; n++) await publisher.placer.place(messageOrder("shop.chat", { n, filler }));
  await until(() => well.messages.length === sent, "the other gateway heard all");
  expect(await router.metric("earshot_router_undrained_bytes")).toBeLessThanOrEqual(8 * 1024 * 1024);
  expect(await router.metric("earshot_router_dropped_total", 'reason="link_overflow"')).toBeGreaterThan(0);
  stuck.confirming = true;
  stuck.confirmHeld();
  await until(() => stuck.messages.length + stuck.missedCount === sent, "all is heard or told as missed");
  const heard = stuck.messages.map(({ payload }) => (payload as { n: number }).n);
  expect(stuck.missedCount).toBeGreaterThan(0);
  expect(heard).toEqual(heard.toSorted((a, b) => a - b));
  expect(stuck.missed.every(({ topicId }) => topicId === "shop.chat")).toBe(true);
});

test("a gateway that stops reading costs no more either, and hears or is told of everything when it reads again", async () => {
  const [stuck, well] = [link("g0"), link("g1")];
  await stuck.interest([{ topicId: "shop.chat", count: 1 }]);
  await well.interest([{ topicId: "shop.chat", count: 1 }]);
  stuck.freeze();
  const filler = "x".repeat(60_000);
  const sent = 300;
  for (let n = 0; n < sent; n++) await publisher.placer.place(messageOrder("shop.chat", { n, filler }));
  await until(() => well.messages.length === sent, "the other gateway heard all");
  expect(await router.metric("earshot_router_undrained_bytes")).toBeLessThanOrEqual(8 * 1024 * 1024);
  stuck.thaw();
  await until(() => stuck.messages.length + stuck.missedCount === sent, "all is heard or told as missed");
  expect(stuck.missedCount).toBeGreaterThan(0);
  expect(stuck.over).toBeUndefined();
});

test("Low messages give way first", async () => {
  const stuck = link();
  stuck.confirming = false;
  await stuck.interest([
    { topicId: "shop.chat", count: 1 },
    { topicId: "shop.low", count: 1 },
  ]);
  const filler = "x".repeat(60_000);
  const normal = 80;
  for (let n = 0; n < normal; n++) {
    await publisher.placer.place(messageOrder("shop.chat", { n, filler }));
    await publisher.placer.place(messageOrder("shop.low", { n, filler }));
  }
  stuck.confirming = true;
  stuck.confirmHeld();
  await until(() => stuck.messages.length + stuck.missedCount === 2 * normal, "all is heard or told as missed");
  expect(new Set(stuck.missed.map(({ topicId }) => topicId))).toEqual(new Set(["shop.low"]));
});

test("what a gateway has not taken in 2 s is let go, and told", async () => {
  const stuck = link();
  stuck.confirming = false;
  await stuck.interest([{ topicId: "shop.chat", count: 1 }]);
  const filler = "x".repeat(60_000);
  for (let n = 0; n < 60; n++) await publisher.placer.place(messageOrder("shop.chat", { n, filler }));
  await until(() => stuck.messages.length + stuck.missedCount === 60, "all is heard or told as missed");
  expect(stuck.missedCount).toBeGreaterThan(0);
});

test("three silent seconds of a gateway end its link and its interest", async () => {
  const gateway = link();
  await gateway.interest([{ topicId: "shop.chat", count: 1 }]);
  gateway.beating = false;
  await until(() => gateway.over !== undefined, "the router gives it up");
  expect(await publisher.placer.place(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 0 });
  expect(await router.metric("earshot_router_links", 'state="complete"')).toBe(0);
});

test("a newer stream of the same gateway replaces the older one", async () => {
  const older = link("g0");
  await older.interest([{ topicId: "shop.chat", count: 5 }]);
  const newer = link("g0");
  await newer.interest([{ topicId: "shop.chat", count: 1 }]);
  await until(() => older.over === "well", "the older one is ended");
  expect(await publisher.placer.place(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1 });
});

test("interest that is not understood, and frames before a hello, harm nobody", async () => {
  const silent = new ScriptedLink(router.router.address, "g9", { hello: false });
  links.push(silent);
  silent.send({ case: "interest", value: { number: 1n, interests: [{ topicId: "shop.chat", count: 1 }] } });
  const gateway = link();
  await gateway.interest([{ topicId: "shop.chat", count: 1 }]);
  expect(await publisher.placer.place(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1 });
});

test("fifty thousand topics of one gateway are confirmed while another's messages flow", async () => {
  const [big, small] = [link("g0"), link("g1")];
  await small.interest([{ topicId: "shop.chat", count: 1 }]);
  const batches = Array.from({ length: 50 }, (_, batch) =>
    Array.from({ length: 1_000 }, (_, index) => ({ topicId: `shop.chat:${batch}-${index}`, count: 1 })),
  );
  const confirmed = Promise.all(batches.map((batch) => big.interest(batch)));
  const latencies: number[] = [];
  for (let n = 0; n < 50; n++) {
    const startedAtMs = performance.now();
    await publisher.placer.place(messageOrder("shop.chat", n));
    latencies.push(performance.now() - startedAtMs);
  }
  await confirmed;
  expect(latencies.toSorted((a, b) => a - b)[25]).toBeLessThan(250);
  expect(await router.metric("earshot_router_interests")).toBe(50_001);
  expect(await router.metric("earshot_router_subscriptions")).toBe(50_001);
  big.close();
  await until(async () => (await router.metric("earshot_router_subscriptions")) === 1, "its interest is gone with it");
});
