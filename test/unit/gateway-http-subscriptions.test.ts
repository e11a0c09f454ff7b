import { afterEach, beforeEach, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import type { SlotReport } from "#core/runtime/parent.ts";
import { VERSION } from "#core/runtime/version.ts";
import type { PresenceEntry } from "../../gateway/presence/presence.ts";
import { DELIVERED, type Door, openDoor, topicOf } from "../harness/http-door.ts";

let door: Door;
beforeEach(async () => {
  door = await openDoor();
});
afterEach(() => door.close());

function ask(method: "GET" | "DELETE", url: string, user?: string) {
  return door.app.inject({
    method,
    url,
    headers: user === undefined ? {} : { authorization: `Bearer token-of-${user}` },
  });
}

function entryOf(userId: string, number: number, info?: string): PresenceEntry {
  const subscribedAtMs = Date.UTC(2026, 0, 1);
  return { topicId: "default.demo", userId, info, connectionId: `g-${number}`, subscriptionId: "s1", subscribedAtMs };
}

test("a user ends their own subscriptions wherever they are, or one connection's", async () => {
  expect((await ask("DELETE", "/api/v1/topics/default.demo:a/subscribe", "alice")).json()).toEqual({ success: true });
  await ask("DELETE", "/api/v1/topics/default.demo/subscribe?connection_id=g7-1f", "alice");
  expect(door.state.asked.orders).toEqual([
    {
      kind: "evict",
      topicId: "default.demo:a",
      eviction: { target: { userId: "alice", connectionId: undefined }, reason: "requested" },
    },
    {
      kind: "evict",
      topicId: "default.demo",
      eviction: { target: { userId: "alice", connectionId: "g7-1f" }, reason: "requested" },
    },
  ]);
});

test("another user's subscriptions are ended as removed, if the caller may manage the topic", async () => {
  const path = "/api/v1/topics/default.demo/subscribe?user_id=bob";
  expect((await ask("DELETE", path, "alice")).json()).toMatchObject({ code: "forbidden" });
  door.state.manages.add("alice default.demo");
  expect((await ask("DELETE", path, "alice")).json()).toEqual({ success: true });
  await ask("DELETE", `${path}&connection_id=g7-1f`, "alice");
  expect(door.state.asked.orders.map((order) => order.kind === "evict" && order.eviction)).toEqual([
    { target: { userId: "bob", connectionId: undefined }, reason: "removed" },
    { target: { userId: "bob", connectionId: "g7-1f" }, reason: "removed" },
  ]);
});

test("nobody's subscription ended: that is no success, and no error", async () => {
  door.state.result = { ...DELIVERED, deliveredTo: 0, dropped: true, reason: "no_subscribers" };
  const answer = await ask("DELETE", "/api/v1/topics/default.demo/subscribe", "alice");
  expect([answer.statusCode, answer.json()]).toEqual([200, { success: false }]);
});

test("an anonymous caller needs the secret of the connection, an id is not enough", async () => {
  for (const query of ["", "?connection_id=g7-1f"]) {
    const answer = await ask("DELETE", `/api/v1/topics/default.demo/subscribe${query}`);
    expect([answer.statusCode, answer.json().code]).toEqual([401, "unauthenticated"]);
  }
  const answer = await ask("DELETE", "/api/v1/topics/default.demo/subscribe?connection_key=AbCdEfGhIjKlMnOpQrStUv");
  expect(answer.json()).toEqual({ success: true });
  expect(door.state.asked.orders[0]).toMatchObject({
    eviction: { target: { connectionKey: "AbCdEfGhIjKlMnOpQrStUv" } },
  });
});

test("ids in the query stand once and are short", async () => {
  for (const query of [`connection_id=${"x".repeat(129)}`, "connection_id=a&connection_id=b"]) {
    const answer = await ask("DELETE", `/api/v1/topics/default.demo/subscribe?${query}`, "alice");
    expect(answer.json()).toMatchObject({ status: 422, field: "connection_id" });
  }
});

test("without a router that carries the topic nothing was ended", async () => {
  door.state.fails.set("place", new EarshotError("shard_unavailable"));
  const answer = await ask("DELETE", "/api/v1/topics/default.demo/subscribe", "alice");
  expect(answer.json()).toMatchObject({ status: 503, code: "shard_unavailable", retryable: true });
});

test("members are listed with their info as the token wrote it", async () => {
  const info = '{"n":12345678901234567890,"__proto__":1}';
  const page = { members: [entryOf("alice", 1, info), entryOf("bob", 2)], count: 2, version: 7, nextCursor: "MS4y" };
  door.state.snapshot = { page, stale: false };
  const answer = await ask("GET", "/api/v1/topics/default.demo/subscribers?limit=2&cursor=MC4x", "carol");
  expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
  expect(answer.body).toContain(info);
  expect(answer.json()).toEqual({
    subscribers: [
      {
        user_id: "alice",
        info: JSON.parse(info),
        subscription_id: "s1",
        connection_id: "g-1",
        subscribed_at: "2026-01-01T00:00:00.000Z",
      },
      {
        user_id: "bob",
        info: null,
        subscription_id: "s1",
        connection_id: "g-2",
        subscribed_at: "2026-01-01T00:00:00.000Z",
      },
    ],
    count: 2,
    connections: 3,
    next_cursor: "MS4y",
  });
  expect(door.state.asked.snapshots).toEqual([{ topicId: "default.demo", limit: 2, cursor: "MC4x" }]);
});

test("a store that does not answer: stale with what is known, else presence_unavailable", async () => {
  door.state.snapshot = { page: { members: [], count: 1, version: 1, nextCursor: undefined }, stale: true };
  expect((await ask("GET", "/api/v1/topics/default.demo/subscribers")).json()).toMatchObject({ count: 1, stale: true });
  door.state.snapshot = { page: undefined, stale: true };
  const answer = await ask("GET", "/api/v1/topics/default.demo/subscribers");
  expect(answer.json()).toMatchObject({ status: 503, code: "presence_unavailable", retryable: true });
});

test("an installation without a store says presence_unavailable", async () => {
  door.state.presenceAvailable = false;
  const answer = await ask("GET", "/api/v1/topics/default.demo/subscribers");
  expect([answer.statusCode, answer.json().code]).toEqual([503, "presence_unavailable"]);
});

test("a topic that keeps no members says so to everybody who sees it, and to nobody else", async () => {
  const url = "/api/v1/topics/shop.orders/subscribers";
  expect((await ask("GET", url, "alice")).json()).toMatchObject({ status: 409, code: "presence_not_kept" });
  expect((await ask("GET", url, "eve")).json()).toMatchObject({ status: 404, code: "topic_not_found" });
  door.state.topics.set("shop.wall", topicOf("shop.wall", { permissions: "PublishOnly", presence: "Count" }));
  expect((await ask("GET", "/api/v1/topics/shop.wall/subscribers", "eve")).json().code).toBe("presence_not_kept");
});

test("who may only publish does not see the members; who manages does", async () => {
  const url = "/api/v1/topics/shop.wall/subscribers";
  expect((await ask("GET", url, "eve")).json()).toMatchObject({ status: 403, code: "forbidden" });
  expect((await ask("GET", url)).json()).toMatchObject({ status: 401, code: "unauthenticated" });
  door.state.manages.add("eve shop.wall");
  expect((await ask("GET", url, "eve")).statusCode).toBe(200);
});

test("the count of subscriptions is null where no router could be asked", async () => {
  await door.close();
  door = await openDoor({
    placer: {
      place: () => Promise.reject(new EarshotError("shard_unavailable")),
      describe: () => Promise.reject(new EarshotError("shard_unavailable")),
      countSubscriptions: () => Promise.resolve(undefined),
    },
  });
  expect((await ask("GET", "/api/v1/topics/default.demo/subscribers")).json().connections).toBeNull();
});

test("the way of a topic is shown to who manages it", async () => {
  const answer = await ask("GET", "/api/v1/topics/shop.orders/route", "alice");
  expect(answer.json()).toEqual({
    shard: 7,
    epoch: 1_767_225_600,
    routers: [],
    gateways: [{ id: "gateway-0", incarnation: "g7", subscriptions: 3 }],
    last_drops: [{ at: "2026-01-01T00:00:00.000Z", reason: "no_subscribers", count: 2 }],
  });
  expect((await ask("GET", "/api/v1/topics/default.demo/route", "eve")).json().code).toBe("forbidden");
  expect((await ask("GET", "/api/v1/topics/shop.orders/route", "eve")).json().code).toBe("topic_not_found");
});

test("standalone mode lists its processes; where anonymous access is off, to those with a token", async () => {
  const peer = { incarnation: "i", grpc: "127.0.0.1:1", node: "", zone: "" };
  const peers = {
    list: (role: string) =>
      role === "operator"
        ? [{ ...peer, role: "operator" as const, name: "operator-0", pid: 41, probes: "127.0.0.1:9001" }]
        : role === "gateway"
          ? [{ ...peer, role: "gateway" as const, name: "gateway-1", pid: 42, probes: "127.0.0.1:9002" }]
          : [],
  };
  await door.close();
  door = await openDoor({ peers, config: { allowedOrigins: ["*"], trustedProxies: [], anonymous: false } });
  expect((await ask("GET", "/api/v1/status")).statusCode).toBe(401);
  const unseen = { incarnation: "i", state: null, started_at: null, restarts: null, last_end: null };
  expect((await ask("GET", "/api/v1/status", "alice")).json()).toEqual({
    version: VERSION,
    epoch: 0,
    topics: 3,
    operator_connected: true,
    processes: [
      { role: "operator", name: "operator-0", pid: 41, metrics: "http://127.0.0.1:9001/metrics", ...unseen },
      { role: "gateway", name: "gateway-1", pid: 42, metrics: "http://127.0.0.1:9002/metrics", ...unseen },
    ],
    missing: [],
  });
});

test("status tells how each place does, and which has no process that takes part", async () => {
  const peer = { incarnation: "i", grpc: "127.0.0.1:1", probes: "127.0.0.1:9001", node: "", zone: "" };
  const peers = {
    list: (role: string) =>
      role === "router" ? [{ ...peer, role: "router" as const, name: "router-0", pid: 41 }] : [],
  };
  const place = { role: "router", restarts: 0, startedAtMs: 1_000, lastEnd: undefined };
  const lastEnd = { code: null, signal: "SIGKILL", atMs: 2_000 };
  const slots = async (): Promise<readonly SlotReport[]> => [
    { ...place, name: "router-0", state: "ready", pid: 41 },
    { ...place, name: "router-1", state: "restarting", pid: undefined, restarts: 3, lastEnd },
    { ...place, name: "router-2", state: "starting", pid: 43 },
  ];
  await door.close();
  door = await openDoor({ peers, slots });
  const started_at = "1970-01-01T00:00:01.000Z";
  const last_end = { code: null, signal: "SIGKILL", at: "1970-01-01T00:00:02.000Z" };
  expect((await ask("GET", "/api/v1/status", "alice")).json()).toMatchObject({
    processes: [{ name: "router-0", incarnation: "i", state: "ready", started_at, restarts: 0, last_end: null }],
    missing: [
      { name: "router-1", pid: null, state: "restarting", restarts: 3, last_end },
      { name: "router-2", pid: 43, state: "starting", restarts: 0, last_end: null },
    ],
  });
});
