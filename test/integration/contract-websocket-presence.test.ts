// Presence as those who ask for it see it, over every door and at two real gateways: exactly which frames, what they
// count, how often they come. Deaths and churn are in presence-gateways.test.ts.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import type { Frame, Frames } from "../harness/frames.ts";
import { openGrpc } from "../harness/grpc-ears.ts";
import { holds } from "../harness/holds.ts";
import { call, publish } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { RawWebSocket } from "../harness/raw-websocket.ts";
import { SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient, type WebSocketOptions } from "../harness/websocket.ts";

let fleet: TestFleet;
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  fleet = await startFleet({
    topics: [
      manifest("shop.count", "permissions: Public, channels: Dynamic"),
      manifest("shop.room", "permissions: Public, channels: Dynamic, presence: Members"),
      manifest("shop.quiet", "permissions: Public, channels: Dynamic, presence: None"),
    ],
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
afterAll(() => fleet?.close());

let topics = 0;
const fresh = (topic: string): string => `${topic}:${(topics += 1)}`;

async function connect(options: WebSocketOptions = {}, gateway = "gateway-0"): Promise<WebSocketClient> {
  const client = await openWebSocket(fleet.ws(gateway), options);
  closers.push(() => client.close());
  return client;
}

/** A user's tab at a topic. */
function tab(topic: string, user: string, gateway: string, query = ""): Promise<WebSocketClient> {
  return connect({ topics: [topic], token: signToken({ sub: user }), query }, gateway);
}

/** The presence frame that names a user as come or gone. */
function change(frames: Frames, kind: "joined" | "left", user: string): Promise<Frame> {
  return frames.next((frame) => usersOf(frame[kind]).includes(user));
}

function usersOf(list: unknown): string[] {
  return Array.isArray(list) ? list.map((member: { user_id: string }) => member.user_id).sort() : [];
}

describe("members", () => {
  test("a user with tabs at both gateways is one member and two subscriptions, and leaves with the last tab", async () => {
    const topic = fresh("shop.room");
    const watcher = await tab(topic, "watcher", "gateway-0", "presence=true");
    const first = await watcher.frames.next({ type: "presence" });
    expect(first).toEqual({
      type: "presence",
      topic_id: topic,
      count: 1,
      connections: 1,
      subscribers: [{ user_id: "watcher" }],
    });
    const one = await tab(topic, "alice", "gateway-0");
    const joined = await change(watcher.frames, "joined", "alice");
    expect(Object.keys(joined)).toEqual(["type", "topic_id", "count", "connections", "joined", "left"]);
    expect(joined).toMatchObject({ topic_id: topic, count: 2, connections: 2, left: [] });
    const two = await tab(topic, "alice", "gateway-1", "presence=true");
    expect(two.frames.of("subscribed")[0]).toMatchObject({ count: 3 });
    const list = await two.frames.next({ type: "presence" });
    expect(list).toMatchObject({ count: 2, connections: 3 });
    expect(usersOf(list["subscribers"])).toEqual(["alice", "watcher"]);
    await one.close();
    const bob = await tab(topic, "bob", "gateway-1");
    expect(await change(watcher.frames, "joined", "bob")).toMatchObject({ count: 3, connections: 3 });
    expect(watcher.frames.of("presence").flatMap((frame) => usersOf(frame["left"]))).toEqual([]);
    expect((await publish(fleet.http(), topic, 1)).json["delivered_to"]).toBe(3);
    await two.close();
    expect(await change(watcher.frames, "left", "alice")).toMatchObject({ count: 2, connections: 2, joined: [] });
    await bob.close();
    expect(await change(watcher.frames, "left", "bob")).toMatchObject({ count: 1, connections: 1 });
  });

  test("two tabs on one connection's topic list, and two subscriptions of one connection, are told apart by topic", async () => {
    const [here, there] = [fresh("shop.room"), fresh("shop.room")];
    const watcher = await connect({
      topics: [here, there],
      token: signToken({ sub: "watcher" }),
      query: "presence=true",
    });
    const alice = await connect({ topics: [here, there], token: signToken({ sub: "alice" }) }, "gateway-1");
    for (const topic of [here, there]) {
      await watcher.frames.next((frame) => frame["topic_id"] === topic && usersOf(frame["joined"]).includes("alice"));
    }
    alice.send({ type: "unsubscribe", topic_id: here });
    expect(await change(watcher.frames, "left", "alice")).toMatchObject({ topic_id: here, count: 1 });
    const { json } = await call(fleet.http(), "GET", `/api/v1/topics/${there}/subscribers`);
    expect(json).toMatchObject({ count: 2, connections: 2 });
  });

  test("an anonymous connection is a member of its own, each one", async () => {
    const topic = fresh("shop.room");
    const one = await connect({ topics: [topic], query: "presence=true" });
    const two = await connect({ topics: [topic], query: "presence=true" }, "gateway-1");
    const ids = [one, two].map((client) => `anonymous:${String(client.frames.all[0]?.["connection_id"])}`);
    const list = await two.frames.next({ type: "presence" });
    expect(list).toMatchObject({ count: 2, connections: 2 });
    expect(usersOf(list["subscribers"])).toEqual(ids.toSorted());
    expect(await change(one.frames, "joined", ids[1] ?? "")).toMatchObject({
      count: 2,
    });
    await two.close();
    expect(await change(one.frames, "left", ids[1] ?? "")).toMatchObject({ count: 1, connections: 1 });
  });

  test("what a token says of its user is shown as it was written", async () => {
    const topic = fresh("shop.room");
    const rawJson = (JSON as unknown as { rawJSON: (this: void, text: string) => unknown }).rawJSON;
    const shown = { name: "Ä\u2028", n: rawJson("12345678901234567890"), x: rawJson("1.0") };
    const info = JSON.stringify(shown);
    const token = signToken({ sub: "alice", earshot: { info: shown } });
    const watcher = await tab(topic, "watcher", "gateway-1", "presence=true");
    await connect({ topics: [topic], token });
    await change(watcher.frames, "joined", "alice");
    expect(watcher.frames.texts.join("\n")).toContain(`{"user_id":"alice","info":${info}}`);
    const later = await tab(topic, "later", "gateway-0", "presence=true");
    await later.frames.next({ type: "presence" });
    expect(later.frames.texts[2]).toContain(`{"user_id":"alice","info":${info}}`);
  });

  test("changes are told at most once a second, and who came and went in between is not named", async () => {
    const topic = fresh("shop.room");
    const watcher = await tab(topic, "watcher", "gateway-0", "presence=true");
    await watcher.frames.next({ type: "presence" });
    const cameAtMs: number[] = [];
    watcher.frames.on((frame) => {
      if (frame.type === "presence") cameAtMs.push(performance.now());
    });
    const endsAtMs = performance.now() + 3_000;
    let last = await tab(topic, "u0", "gateway-1");
    for (let count = 1; performance.now() < endsAtMs; count++) {
      const next = await tab(topic, `u${count}`, `gateway-${count % 2}`);
      await last.close();
      last = next;
    }
    const stayed = last.frames.all[0]?.["user_id"] as string;
    const seen = (): string[] => {
      const users = new Set<string>();
      for (const frame of watcher.frames.of("presence")) {
        for (const user of [...usersOf(frame["subscribers"]), ...usersOf(frame["joined"])]) users.add(user);
        for (const user of usersOf(frame["left"])) users.delete(user);
      }
      return [...users].sort();
    };
    await until(() => seen().join() === [stayed, "watcher"].sort().join(), `only ${stayed} is left`);
    const pauses = cameAtMs.slice(1).map((atMs, index) => atMs - (cameAtMs[index] ?? 0));
    // The router keeps a second; the way to here takes a little more or less.
    for (const pause of pauses) expect(pause).toBeGreaterThan(800);
    expect(cameAtMs.length).toBeLessThanOrEqual(6);
    const named = watcher.frames.of("presence").flatMap((frame) => usersOf(frame["joined"]));
    expect(named.length).toBeLessThanOrEqual(12);
  });

  test("who left while nobody watched is not told of to who watches next", async () => {
    const topic = fresh("shop.room");
    for (let round = 0; round < 6; round++) {
      const ghost = await tab(topic, `ghost-${round}`, `gateway-${round % 2}`, "presence=true");
      await ghost.frames.next({ type: "presence" });
      await ghost.close();
    }
    const watcher = await tab(topic, "watcher", "gateway-1", "presence=true");
    await watcher.frames.next({ type: "presence" });
    await tab(topic, "alice", "gateway-0");
    await change(watcher.frames, "joined", "alice");
    const users = new Set<string>();
    for (const frame of watcher.frames.of("presence")) {
      for (const user of [...usersOf(frame["subscribers"]), ...usersOf(frame["joined"])]) users.add(user);
      for (const user of usersOf(frame["left"])) users.delete(user);
    }
    expect([...users].sort()).toEqual(["alice", "watcher"]);
  });

  test("presence is for who asked: others get none; who asks later gets the list; who takes it back gets no more", async () => {
    const topic = fresh("shop.room");
    const deaf = await tab(topic, "deaf", "gateway-0");
    const client = await tab(topic, "client", "gateway-0");
    client.send({ type: "subscribe", topic_id: topic, presence: true });
    const list = await client.frames.next({ type: "presence" });
    expect(usersOf(list["subscribers"])).toEqual(["client", "deaf"]);
    await tab(topic, "alice", "gateway-1");
    await change(client.frames, "joined", "alice");
    client.send({ type: "subscribe", id: "back", topic_id: topic, presence: false });
    await client.frames.next({ type: "subscribed", id: "back" });
    const before = client.frames.of("presence").length;
    await tab(topic, "bob", "gateway-1");
    await holds(() => client.frames.of("presence").length === before, "no more presence", 1_300);
    expect(deaf.frames.of("presence")).toEqual([]);
  });

  test("beyond 1,000 a list is the whole count and the first page", async () => {
    const topic = fresh("shop.room");
    const USERS = 1_003;
    const crowd: RawWebSocket[] = [];
    closers.push(() => crowd.forEach((client) => client.destroy()));
    for (let user = 0; user < USERS; user += 100) {
      const batch = Array.from({ length: Math.min(100, USERS - user) }, (_, index) => {
        const token = signToken({ sub: `u${user + index}` });
        return RawWebSocket.open(fleet.ws(`gateway-${index % 2}`), `/ws/subscribe?topic_id=${topic}&token=${token}`);
      });
      crowd.push(...(await Promise.all(batch)));
    }
    for (const client of crowd) await client.frames.next({ type: "subscribed" });
    const watcher = await tab(topic, "watcher", "gateway-1", "presence=true");
    const list = await watcher.frames.next({ type: "presence" });
    expect(list).toMatchObject({ count: USERS + 1, connections: USERS + 1 });
    const users = usersOf(list["subscribers"]);
    expect(users.length).toBe(1_000);
    expect(new Set(users).size).toBe(1_000);
  });

  test("the same over SSE and gRPC", async () => {
    const topic = fresh("shop.room");
    const alice = signToken({ sub: "alice", earshot: { info: { name: "Alice" } } });
    const sse = await SseClient.open(fleet.http(), `/api/v1/topics/${topic}/subscribe?presence=true`, alice);
    closers.push(() => sse.close());
    expect((await sse.frames.next({ type: "presence" }))["subscribers"]).toEqual([
      { user_id: "alice", info: { name: "Alice" } },
    ]);
    const grpc = await openGrpc(fleet.grpc("gateway-1"), [topic], { token: signToken({ sub: "bob" }), presence: true });
    closers.push(() => grpc.close());
    const list = await grpc.next("presence");
    expect(list).toMatchObject({ topicId: topic, count: 2n, connections: 2n, joined: [], left: [], stale: false });
    expect(list.subscribers.map(({ userId, info }) => [userId, info])).toEqual([
      ["alice", '{"name":"Alice"}'],
      ["bob", ""],
    ]);
    await change(sse.frames, "joined", "bob");
    const carol = await tab(topic, "carol", "gateway-0");
    await until(
      () => grpc.of("presence").some(({ joined }) => joined.some(({ userId }) => userId === "carol")),
      "joined",
    );
    await carol.close();
    await until(() => grpc.of("presence").some(({ left }) => left.some(({ userId }) => userId === "carol")), "left");
    await change(sse.frames, "left", "carol");
    expect(grpc.of("presence").at(-1)).toMatchObject({ count: 2n, connections: 2n, subscribers: [] });
  });
});

describe("counts", () => {
  test("are connections alone, of both gateways, at most once a second", async () => {
    const topic = fresh("shop.count");
    const watcher = await connect({ topics: [topic], query: "presence=true" });
    expect(await watcher.frames.next({ type: "presence" })).toEqual({
      type: "presence",
      topic_id: topic,
      connections: 1,
    });
    const crowd: WebSocketClient[] = [];
    for (let index = 0; index < 20; index++) crowd.push(await connect({ topics: [topic] }, `gateway-${index % 2}`));
    expect(await watcher.frames.next({ connections: 21 })).toEqual({
      type: "presence",
      topic_id: topic,
      connections: 21,
    });
    for (const client of crowd) await client.close();
    await until(() => watcher.frames.of("presence").at(-1)?.["connections"] === 1, "the crowd is gone");
    expect(watcher.frames.of("presence").length).toBeLessThan(9);
  });

  test("over gRPC have no number of users", async () => {
    const topic = fresh("shop.count");
    const grpc = await openGrpc(fleet.grpc(), [topic], { presence: true });
    closers.push(() => grpc.close());
    const event = await grpc.next("presence");
    expect([event.count, event.connections, event.subscribers]).toEqual([undefined, 1n, []]);
  });
});

test("a Topic that keeps no presence tells of none, whoever asks", async () => {
  const topic = fresh("shop.quiet");
  const client = await connect({ topics: [topic], query: "presence=true" });
  await connect({ topics: [topic] }, "gateway-1");
  client.send({ type: "subscribe", topic_id: topic, presence: true });
  await holds(() => client.frames.of("presence").length === 0, "no presence", 1_300);
  const { status, json } = await call(fleet.http(), "GET", `/api/v1/topics/${topic}/subscribers`);
  expect([status, json["code"]]).toEqual([409, "presence_not_kept"]);
});

test("a Topic that begins to keep members knows those who were there before", async () => {
  const file = "becoming.yaml";
  fleet.writeTopics(file, manifest("shop.becoming", "permissions: Public"));
  for (const gateway of ["gateway-0", "gateway-1"]) {
    await until(async () => (await publish(fleet.http(gateway), "shop.becoming", 0)).status === 200, "it is there");
  }
  await tab("shop.becoming", "alice", "gateway-0");
  const bob = await tab("shop.becoming", "bob", "gateway-1", "presence=true");
  expect(await bob.frames.next({ type: "presence" })).toMatchObject({ connections: 2 });
  fleet.writeTopics(file, manifest("shop.becoming", "permissions: Public, presence: Members"));
  const path = "/api/v1/topics/shop.becoming/subscribers";
  await until(async () => (await call(fleet.http(), "GET", path)).json["count"] === 2, "both are members");
  const carol = await tab("shop.becoming", "carol", "gateway-0", "presence=true");
  const list = await carol.frames.next({ type: "presence" });
  expect(usersOf(list["subscribers"])).toEqual(["alice", "bob", "carol"]);
  await change(bob.frames, "joined", "carol");
});
