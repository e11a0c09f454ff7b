// A gateway between clients and routers that a test scripts: what interest routers are told of and when, what clients are
// told while routers are slow, drain, die or come back.

import { afterEach, describe, expect, it } from "vitest";
import { LocalGateway } from "../harness/local-gateway.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, WebSocketClient } from "../harness/websocket.ts";

const TOPIC = "default.demo:42";

let local: LocalGateway | undefined;
const clients: WebSocketClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  await local?.close();
  local = undefined;
});

async function open(routers: number): Promise<LocalGateway> {
  local = await LocalGateway.open({}, routers);
  return local;
}

async function connect(gateway: LocalGateway, ...topics: string[]): Promise<WebSocketClient> {
  const client = await openWebSocket(gateway.ws, { topics });
  clients.push(client);
  return client;
}

describe("interest", () => {
  it("goes to every router of the shard's list, with the counts of now", async () => {
    const gateway = await open(2);
    const first = await connect(gateway, TOPIC);
    await connect(gateway, TOPIC);
    for (const router of gateway.routers) await router.interest(TOPIC, 2);
    await first.close();
    for (const router of gateway.routers) await router.interest(TOPIC, 1);
  });

  it("of many subscriptions of one turn travels in one batch", async () => {
    const gateway = await open(1);
    const client = await connect(gateway);
    const before = gateway.router.interestBatches.length;
    const topics = Array.from({ length: 100 }, (_, index) => `default.demo:${index}`);
    for (const topic_id of topics) client.send({ type: "subscribe", topic_id });
    await until(() => client.frames.of("subscribed").length === 100, "all are subscribed");
    expect(gateway.router.interestBatches.length - before).toBeLessThan(20);
    expect(gateway.router.interests.size).toBe(100);
  });

  it("is given to a router that comes into the list, and withdrawn from one that left it only later", async () => {
    const gateway = await open(2);
    await connect(gateway, TOPIC);
    const third = await gateway.addRouter();
    const [first, second] = gateway.routers;
    if (first === undefined || second === undefined) throw new Error("two routers were started");
    gateway.place(second, third);
    await third.interest(TOPIC, 1);
    expect(first.interests.get(TOPIC)?.count).toBe(1);
    await until(() => first.links === 0, "the dropped router's link is closed");
    expect(second.interests.get(TOPIC)?.count).toBe(1);
  });

  it("lets an epoch be acked once every router of the map has confirmed, not before", async () => {
    const gateway = await open(1);
    await connect(gateway, TOPIC);
    await until(() => gateway.ackedEpochs.includes(1), "the first map is acked");
    const second = await gateway.addRouter();
    second.confirms = false;
    gateway.place(gateway.router, second);
    await second.interest(TOPIC, 1);
    expect(gateway.ackedEpochs).not.toContain(2);
    second.confirmHeld();
    await until(() => gateway.ackedEpochs.includes(2), "the second map is acked");
  });

  it("does not keep an epoch from being acked by a router that is dead", async () => {
    const gateway = await open(1);
    const second = await gateway.addRouter();
    await second.close();
    gateway.place(gateway.router, second);
    await until(() => gateway.ackedEpochs.includes(2), "the map is acked");
  });
});

describe("subscribed", () => {
  it("is told 50 ms after one router confirmed where another one stalls, without a position of the stalled one", async () => {
    const gateway = await open(2);
    gateway.router.confirms = false;
    const startMs = performance.now();
    const client = await connect(gateway, TOPIC);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(client.frames.of("subscribed")[0]).toMatchObject({ incarnation: null, seq: null, count: 1 });
  });

  it("carries the first router's position, with what was spoken before", async () => {
    const gateway = await open(2);
    gateway.router.speakUnheard(TOPIC);
    gateway.router.speakUnheard(TOPIC);
    const client = await connect(gateway, TOPIC);
    expect(client.frames.of("subscribed")[0]).toMatchObject({ incarnation: "router0", seq: 2 });
    const second = await connect(gateway, TOPIC);
    gateway.router.speak(TOPIC, { payload: 3 });
    await second.frames.next({ type: "message" });
    const third = await connect(gateway, TOPIC);
    expect(third.frames.of("subscribed")[0]).toMatchObject({ seq: 3 });
    expect(third.frames.of("message")).toEqual([]);
  });

  it("is followed by gap late_interest where something was spoken before a late confirmation", async () => {
    const gateway = await open(2);
    gateway.router.confirms = false;
    const client = await connect(gateway, TOPIC);
    gateway.router.speakUnheard(TOPIC);
    gateway.router.confirmHeld();
    expect(await client.frames.next({ type: "gap" })).toEqual({
      type: "gap",
      topic_id: TOPIC,
      reason: "late_interest",
    });
  });

  it("is followed by that gap also where a message came between interest and its late confirmation", async () => {
    const gateway = await open(2);
    gateway.router.confirms = false;
    const client = await connect(gateway, TOPIC);
    await gateway.router.interest(TOPIC, 1);
    gateway.router.speakUnheard(TOPIC);
    gateway.router.applyHeld();
    gateway.router.speak(TOPIC, { payload: 2 });
    await client.frames.next({ type: "message", seq: 2 });
    gateway.router.confirmHeld();
    expect(await client.frames.next({ type: "gap" })).toEqual({
      type: "gap",
      topic_id: TOPIC,
      reason: "late_interest",
    });
  });

  it("is followed by no gap where nothing was spoken before a late confirmation", async () => {
    const gateway = await open(2);
    gateway.router.speakUnheard(TOPIC);
    gateway.router.confirms = false;
    const client = await connect(gateway, TOPIC);
    gateway.router.confirmHeld();
    gateway.router.speak(TOPIC, { payload: 1 });
    await client.frames.next({ type: "message" });
    expect(client.frames.of("gap")).toEqual([]);
  });

  it("is refused with topic_full for those beyond what the first router grants", async () => {
    const gateway = await open(2);
    for (const router of gateway.routers) router.grants = 1;
    await connect(gateway, TOPIC);
    const second = await connect(gateway);
    second.send({ type: "subscribe", id: "7", topic_id: TOPIC });
    expect(await second.frames.next({ type: "error" })).toMatchObject({ id: "7", topic_id: TOPIC, code: "topic_full" });
    await gateway.router.interest(TOPIC, 1);
    gateway.router.speak(TOPIC, { payload: 1 });
    expect(second.frames.of("message")).toEqual([]);
  });

  it("is refused with shard_unavailable when no router answers", async () => {
    const gateway = await open(1);
    gateway.router.confirms = false;
    const client = await connect(gateway);
    client.send({ type: "subscribe", topic_id: TOPIC });
    expect(await client.frames.next({ type: "error" })).toMatchObject({ code: "shard_unavailable", retryable: true });
    gateway.router.confirmHeld();
    await gateway.router.interest(TOPIC, 0);
  });
});

describe("a router that dies", () => {
  it("leaves a gap router_failover at topics that spoke in the last seconds, and at no other", async () => {
    const gateway = await open(2);
    const silent = "default.demo:silent";
    const client = await connect(gateway, TOPIC, silent);
    gateway.router.speak(TOPIC, { payload: 1 });
    await client.frames.next({ type: "message" });
    await gateway.router.close();
    expect(await client.frames.next({ type: "gap" })).toEqual({
      type: "gap",
      topic_id: TOPIC,
      reason: "router_failover",
    });
    gateway.routers[1]?.speak(TOPIC, { payload: 2 });
    await client.frames.next((frame) => frame["payload"] === 2);
    expect(client.frames.of("gap").length).toBe(1);
  });

  it("leaves a gap also where its successor has spoken already: what sat in the dead one is lost all the same", async () => {
    const gateway = await open(2);
    const client = await connect(gateway, TOPIC);
    gateway.router.speak(TOPIC, { payload: 1 });
    await client.frames.next((frame) => frame["payload"] === 1);
    gateway.routers[1]?.speak(TOPIC, { payload: 2 });
    await client.frames.next((frame) => frame["payload"] === 2);
    await gateway.router.close();
    expect(await client.frames.next({ type: "gap" })).toMatchObject({ topic_id: TOPIC, reason: "router_failover" });
  });

  it("leaves no gap when it had said that it drains, and its successor is first at once", async () => {
    const gateway = await open(2);
    const client = await connect(gateway, TOPIC);
    gateway.router.speak(TOPIC, { payload: 1 });
    await client.frames.next({ type: "message" });
    gateway.router.drain();
    await until(() => [...gateway.gateway.upstream.links].some((link) => !link.usable), "it is seen to drain");
    const second = await connect(gateway, TOPIC);
    expect(second.frames.of("subscribed")[0]).toMatchObject({ incarnation: "router1" });
    gateway.router.endLinks();
    await until(() => [...gateway.gateway.upstream.links].some((link) => !link.alive), "its link has ended");
    expect(client.frames.of("gap")).toEqual([]);
  });

  it("is found out after 3 s of silence when it hangs, and gets its interest again when it is back", async () => {
    const gateway = await open(2);
    const client = await connect(gateway, TOPIC);
    gateway.router.speak(TOPIC, { payload: 1 });
    await client.frames.next({ type: "message" });
    gateway.router.speaks = false;
    const startMs = performance.now();
    await client.frames.next({ type: "gap", reason: "router_failover" });
    expect(performance.now() - startMs).toBeGreaterThan(2_000);
    expect(performance.now() - startMs).toBeLessThan(5_000);
    gateway.router.interests.clear();
    gateway.router.speakUnheard(TOPIC);
    gateway.router.speaks = true;
    await gateway.router.interest(TOPIC, 1);
    // What it spoke while this gateway was not linked is known by number.
    expect(await client.frames.next({ reason: "late_interest" })).toMatchObject({ topic_id: TOPIC, missed: 1 });
  });
});

describe("presence frames", () => {
  it("with counts are taken from the first router alone, changes of members from whichever sequenced them", async () => {
    const gateway = await open(2);
    gateway.topics.add("default.room", { permissions: "Public", presence: "Members" });
    const client = await connect(gateway);
    for (const topic_id of [TOPIC, "default.room"]) client.send({ type: "subscribe", topic_id, presence: true });
    await until(() => client.frames.of("presence").length === 2, "both first frames came");
    const count = (connections: number): string =>
      `{"type":"presence","topic_id":"${TOPIC}","connections":${connections}}`;
    gateway.routers[1]?.presence(TOPIC, count(8));
    gateway.routers[1]?.presence("default.room", '{"type":"presence","topic_id":"default.room","count":9}');
    await client.frames.next({ type: "presence", count: 9 });
    gateway.router.presence(TOPIC, count(7));
    await client.frames.next({ type: "presence", connections: 7 });
    expect(client.frames.of("presence").map((frame) => frame["connections"])).not.toContain(8);
  });

  it("do not reach a subscription that did not ask", async () => {
    const gateway = await open(1);
    const asking = await connect(gateway);
    asking.send({ type: "subscribe", topic_id: TOPIC, presence: true });
    await asking.frames.next({ type: "presence" });
    const other = await connect(gateway, TOPIC);
    gateway.router.presence(TOPIC, `{"type":"presence","topic_id":"${TOPIC}","connections":7}`);
    gateway.router.speak(TOPIC, { payload: 1 });
    for (const client of [asking, other]) await client.frames.next({ type: "message" });
    expect(asking.frames.of("presence").length).toBe(2);
    expect(other.frames.of("presence")).toEqual([]);
  });
});

describe("a link", () => {
  it("tells the router when batches were handed on, and answers receipts", async () => {
    const gateway = await open(1);
    await connect(gateway, TOPIC);
    await connect(gateway, TOPIC);
    gateway.router.speak(TOPIC, { payload: 1 }, { payload: 2, receiptId: 9n });
    gateway.router.speak("default.demo:nobody", { receiptId: 10n });
    await until(() => gateway.router.receipts.length === 2, "both receipts came");
    const written = new Map(gateway.router.receipts.map((receipt) => [receipt.receiptId, receipt.written]));
    expect([written.get(9n), written.get(10n)]).toEqual([2, 0]);
    await until(() => gateway.router.batchConfirms.at(-1) === 2n, "both batches are confirmed");
  });

  it("that overflowed at the router is told as a gap with its number", async () => {
    const gateway = await open(1);
    const client = await connect(gateway, TOPIC);
    gateway.router.overflow(TOPIC, 7);
    expect(await client.frames.next({ type: "gap" })).toEqual({
      type: "gap",
      topic_id: TOPIC,
      missed: 7,
      reason: "link_overflow",
    });
  });
});
