// Clients that do not read, on real sockets of real gateways: what their Topic's rule drops, that every lost message is
// told in its place, and that nobody else waits.

import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { Frames } from "../harness/frames.ts";
import { call, publish } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { RawWebSocket } from "../harness/raw-websocket.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

let fleet: TestFleet;
const closers: (() => unknown)[] = [];

/** Large, so that the kernel's buffers are full soon; a batch of them stays below its 2 MiB. */
const PADDING = "x".repeat(32_000);
const BATCH = 50;

beforeAll(async () => {
  const slow = (name: string, rule: string): string =>
    manifest(
      `slow.${name}`,
      `permissions: Public, channels: Dynamic, delivery: {slowConsumer: ${rule}}, limits: {maxPublishesPerSecond: 0}`,
    );
  fleet = await startFleet({
    routers: 1,
    presence: false,
    topics: [slow("oldest", "DropOldest"), slow("newest", "DropNewest"), slow("strict", "Disconnect")],
    env: { EARSHOT_UNSENT_BYTES: "256KiB" },
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
afterAll(() => fleet?.close());

let topics = 0;
const fresh = (topic: string): string => `${topic}:${(topics += 1)}`;

async function reader(topic: string, gateway: string): Promise<WebSocketClient> {
  const client = await openWebSocket(fleet.ws(gateway), { topics: [topic] });
  closers.push(() => client.close());
  return client;
}

/** A client that is subscribed and then reads nothing. */
async function deaf(...topicIds: string[]): Promise<RawWebSocket> {
  const query = topicIds.map((topic) => `topic_id=${topic}`).join("&");
  const client = await RawWebSocket.open(fleet.ws(), `/ws/subscribe?${query}`);
  closers.push(() => client.destroy());
  for (const topic of topicIds) await client.frames.next({ type: "subscribed", topic_id: topic });
  client.socket.pause();
  return client;
}

async function dropped(): Promise<number> {
  const metrics = await fleet.metrics("gateway-0");
  const values = metrics.matchAll(/^earshot_gateway_dropped_total\{[^}]*\} (\d+)$/gm);
  return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** Speaks numbered messages until the gateway has dropped some more; tells how many were spoken. */
async function speakUntilDropped(topic: string, heard: () => number): Promise<number> {
  const before = await dropped();
  let spoken = 0;
  while ((await dropped()) < before + 60) {
    const messages = Array.from({ length: BATCH }, (_, index) => ({
      topic_id: topic,
      payload: `${spoken + index} ${PADDING}`,
    }));
    const { json } = await call(fleet.http("gateway-1"), "POST", "/api/v1/publish", { body: { messages } });
    expect((json["results"] as { message_id?: string }[]).filter((result) => result.message_id)).toHaveLength(BATCH);
    spoken += BATCH;
    await until(() => heard() === spoken, "the others heard all of it");
  }
  return spoken;
}

const numberOf = (payload: unknown): number => Number.parseInt(String(payload), 10);

/** Checks that heard messages and told gaps are all messages from 0 on, in order; tells which were heard. */
function accountFor(frames: Frames, topic: string): { heard: number[]; next: number } {
  const heard: number[] = [];
  let next = 0;
  for (const frame of frames.all) {
    if (frame["topic_id"] !== topic) continue;
    if (frame.type === "gap") {
      expect(Object.keys(frame)).toEqual(["type", "topic_id", "missed", "reason"]);
      expect(frame["reason"]).toBe("slow_consumer");
      expect(frame["missed"]).toBeGreaterThan(0);
      next += frame["missed"] as number;
    }
    if (frame.type === "message") {
      expect(numberOf(frame["payload"])).toBe(next);
      heard.push(next);
      next += 1;
    }
  }
  return { heard, next };
}

describe("a WebSocket client that does not read", () => {
  test("DropOldest: loses older messages, is told how many where they were, hears the newest; others hear all", async () => {
    const topic = fresh("slow.oldest");
    const [near, far] = [await reader(topic, "gateway-0"), await reader(topic, "gateway-1")];
    const client = await deaf(topic);
    const spoken = await speakUntilDropped(topic, () => near.frames.of("message").length);
    await until(() => far.frames.of("message").length === spoken, "the other gateway's heard all");
    client.socket.resume();
    await client.frames.next((frame) => numberOf(frame["payload"]) === spoken - 1);
    const { heard, next } = accountFor(client.frames, topic);
    expect(next).toBe(spoken);
    expect(heard.length).toBeLessThan(spoken);
    expect(client.frames.of("gap").length).toBeGreaterThan(0);
    // It is back: the next message comes as to everybody.
    await publish(fleet.http("gateway-1"), topic, `${spoken} end`);
    await client.frames.next({ payload: `${spoken} end` });
    for (const { frames } of [near, far]) expect(frames.of("gap")).toEqual([]);
  });

  test("DropNewest: keeps what it has, is told of what came later, and so is a publisher who asks", async () => {
    const topic = fresh("slow.newest");
    const near = await reader(topic, "gateway-0");
    const client = await deaf(topic);
    const spoken = await speakUntilDropped(topic, () => near.frames.of("message").length);
    const body = { payload: `${spoken} ${PADDING}`, receipt: "gateway" };
    const { json } = await call(fleet.http("gateway-1"), "POST", `/api/v1/topics/${topic}/publish`, { body });
    expect(json).toMatchObject({
      delivered_to: 1,
      exact: true,
      dropped: false,
      not_delivered: { slow_consumer: 1 },
    });
    client.socket.resume();
    await client.frames.next({ type: "gap" });
    const { heard, next } = accountFor(client.frames, topic);
    expect(next).toBe(spoken + 1);
    expect(heard).toEqual(heard.map((_, index) => index));
    expect(client.frames.of("gap").length).toBe(1);
    await publish(fleet.http("gateway-1"), topic, `${spoken + 1} end`);
    await client.frames.next({ payload: `${spoken + 1} end` });
  });

  test("DropNewest: alone at its topic, a message is dropped for backpressure, and whoever asks for a receipt knows", async () => {
    const topic = fresh("slow.newest");
    const client = await deaf(topic);
    const body = { payload: PADDING, receipt: "gateway" };
    const path = `/api/v1/topics/${topic}/publish`;
    const answer = await until(async () => {
      const { json } = await call(fleet.http("gateway-1"), "POST", path, { body });
      return json["delivered_to"] === 0 ? json : undefined;
    }, "one is dropped");
    expect(answer).toEqual({
      message_id: answer["message_id"],
      delivered_to: 0,
      exact: true,
      dropped: true,
      reason: "backpressure",
      not_delivered: { slow_consumer: 1 },
    });
    client.socket.resume();
    expect(await client.frames.next({ type: "gap" })).toMatchObject({ missed: 1, reason: "slow_consumer" });
  });

  test("Disconnect: is ended 3103, and its place is free; others hear all", async () => {
    const topic = fresh("slow.strict");
    const [near, far] = [await reader(topic, "gateway-0"), await reader(topic, "gateway-1")];
    const client = await deaf(topic);
    let spoken = 0;
    const subscribers = async (): Promise<unknown> =>
      (await publish(fleet.http("gateway-1"), topic, `${spoken++} ${PADDING}`)).json["delivered_to"];
    await until(async () => (await subscribers()) === 2, "it is gone");
    for (const { frames } of [near, far]) {
      await until(() => frames.of("message").length === spoken, "the others heard all");
    }
    client.socket.resume();
    expect(await client.closed()).toBe(3103);
    const heard = client.frames.of("message").map((frame) => numberOf(frame["payload"]));
    expect(heard).toEqual(heard.map((_, index) => index));
    expect(client.frames.of("gap")).toEqual([]);
  });

  test("loses of the loud topic alone: another topic's messages, presence and answers all come, in order", async () => {
    const [loud, calm] = [fresh("slow.oldest"), fresh("slow.oldest")];
    const near = await reader(loud, "gateway-0");
    const client = await deaf(loud, calm);
    const filling = await speakUntilDropped(loud, () => near.frames.of("message").length);
    for (let count = 0; count < 5; count++) await publish(fleet.http("gateway-1"), calm, `${count} calm`);
    client.send({ type: "ping", id: "while deaf" });
    client.send({ type: "subscribe", id: "presence", topic_id: calm, presence: true });
    const more = await speakUntilDropped(loud, () => near.frames.of("message").length - filling);
    client.socket.resume();
    await client.frames.next({ type: "pong", id: "while deaf" });
    await client.frames.next({ type: "presence", topic_id: calm });
    await until(() => numberOf(client.frames.of("message").at(-1)?.["payload"]) === more - 1, "the last one came");
    expect(accountFor(client.frames, calm)).toEqual({ heard: [0, 1, 2, 3, 4], next: 5 });
    expect(client.frames.of("gap").map((frame) => frame["topic_id"])).not.toContain(calm);
  });
});

test("an SSE client that does not read is told alike", async () => {
  const topic = fresh("slow.oldest");
  const near = await reader(topic, "gateway-0");
  const { hostname, port } = new URL(fleet.http());
  const socket: Socket = connect(Number(port), hostname);
  closers.push(() => socket.destroy());
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  socket.write(`GET /api/v1/topics/${topic}/subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n`);
  await until(() => text.includes('"subscribed"'), "it is subscribed");
  socket.pause();
  const spoken = await speakUntilDropped(topic, () => near.frames.of("message").length);
  socket.resume();
  await until(() => text.includes(`"payload":"${spoken - 1} `), "it hears the newest");
  const frames = new Frames();
  for (const [, data] of text.matchAll(/^data: (.*)$/gm)) frames.add(data ?? "");
  expect(accountFor(frames, topic).next).toBe(spoken);
  expect(frames.of("gap").length).toBeGreaterThan(0);
});

test("while clients are deaf, others hear small talk at once, and the gateway's memory comes back", async () => {
  const topic = fresh("slow.oldest");
  const near = await reader(topic, "gateway-0");
  const small = fresh("slow.oldest");
  const other = await reader(small, "gateway-0");
  const clients = [await deaf(topic), await deaf(topic), await deaf(topic)];
  await speakUntilDropped(topic, () => near.frames.of("message").length);
  const tookMs: number[] = [];
  for (let count = 0; count < 50; count++) {
    const startMs = performance.now();
    await publish(fleet.http("gateway-1"), small, count);
    await until(() => other.frames.of("message").length === count + 1, "it is heard");
    tookMs.push(performance.now() - startMs);
  }
  // `until` looks every 10 ms; a busy machine may hold one of them.
  const [median = 0] = tookMs.toSorted((a, b) => a - b).slice(25);
  expect(median).toBeLessThan(100);
  const unsent = async (): Promise<number> =>
    Number(/^earshot_gateway_unsent_bytes\{[^}]*\} (\d+)$/m.exec(await fleet.metrics("gateway-0"))?.[1]);
  expect(await unsent()).toBeLessThanOrEqual(3 * 256 * 1024);
  expect(await unsent()).toBeGreaterThan(0);
  for (const client of clients) client.destroy();
  await until(async () => (await unsent()) === 0, "nothing waits for them any more");
});
