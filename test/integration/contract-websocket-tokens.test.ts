// Who a connection is, and what it may hear, while it lives: tokens that come, are replaced and expire; permissions and
// Topics that change under live subscriptions, over every door and at two real gateways.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import type { Frame } from "../harness/frames.ts";
import { GrpcEars, openGrpc } from "../harness/grpc-ears.ts";
import { holds } from "../harness/holds.ts";
import { call, publish } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { openSse, type SseClient } from "../harness/sse.ts";
import { signToken, type TokenClaims } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, WebSocketClient, type WebSocketOptions } from "../harness/websocket.ts";

let fleet: TestFleet;
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  fleet = await startFleet({
    topics: [
      manifest("default.demo", "permissions: Public, channels: Dynamic"),
      manifest("shop.team", "permissions: Private, channels: Dynamic, subscribers: [{kind: User, name: alice}]"),
      manifest("shop.inbox", "permissions: Private, channels: Dynamic, subscribers: [{kind: ChannelUser}]"),
    ],
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
afterAll(() => fleet?.close());

let topics = 0;
const fresh = (topic = "default.demo"): string => `${topic}:${(topics += 1)}`;
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;
const tokenOf = (sub: string, claims: TokenClaims = {}): string => signToken({ sub, ...claims });

async function connect(options: WebSocketOptions = {}, gateway = "gateway-0"): Promise<WebSocketClient> {
  const client = await openWebSocket(fleet.ws(gateway), options);
  closers.push(() => client.close());
  return client;
}

async function answerTo(client: WebSocketClient, frame: object): Promise<Frame> {
  const before = client.frames.all.length;
  client.send(frame);
  await until(() => client.frames.all.length > before, `an answer to ${JSON.stringify(frame).slice(0, 200)}`);
  return client.frames.all[before] as Frame;
}

/** One listener over each door: WebSocket at one gateway, SSE and gRPC at the other. */
async function everywhere(topic: string, token: string) {
  const webSocket = await connect({ topics: [topic], token });
  const sse = await openSse(fleet.http("gateway-1"), topic, token);
  const grpc = await openGrpc(fleet.grpc("gateway-1"), [topic], { token });
  closers.push(
    () => sse.close(),
    () => grpc.close(),
  );
  return { webSocket, sse, grpc };
}

async function allUnsubscribed(
  { webSocket, sse, grpc }: { webSocket: WebSocketClient; sse: SseClient; grpc: GrpcEars },
  topic: string,
  reason: string,
): Promise<void> {
  for (const { frames } of [webSocket, sse]) {
    expect(await frames.next({ type: "unsubscribed" })).toEqual({ type: "unsubscribed", topic_id: topic, reason });
  }
  expect(await grpc.next("unsubscribed")).toMatchObject({ topicId: topic, reason });
}

describe("a token in place", () => {
  test("is refreshed for the same user: who it is stays, the new end counts, messages go on", async () => {
    const topic = fresh("shop.team");
    const client = await connect({ topics: [topic], token: tokenOf("alice", { exp: inSeconds(60) }) });
    const exp = inSeconds(7_200);
    expect(await answerTo(client, { type: "token", id: "t", token: tokenOf("alice", { exp }) })).toEqual({
      type: "token",
      id: "t",
      user_id: "alice",
      token_expires_at: new Date(exp * 1_000).toISOString(),
    });
    const owner = tokenOf("owner", { earshot: { publish: ["shop.*"] } });
    expect((await publish(fleet.http("gateway-1"), topic, 1, { token: owner })).json["delivered_to"]).toBe(1);
    await client.frames.next({ payload: 1 });
    expect(client.frames.of("unsubscribed")).toEqual([]);
  });

  test("that is bad is an error with its code, and changes nothing", async () => {
    const topic = fresh("shop.team");
    const client = await connect({ topics: [topic], token: tokenOf("alice") });
    const other = signToken({ sub: "alice" }, "another secret, also longer than 32 bytes");
    const rows: [string, string, string][] = [
      ["nonsense", "nonsense", "unauthenticated"],
      ["empty", "", "unauthenticated"],
      ["forged", other, "unauthenticated"],
      ["unsigned", `${tokenOf("alice").split(".").slice(0, 2).join(".")}.`, "unauthenticated"],
      ["none", signToken({ sub: "alice" }, "x", { alg: "none" }), "unauthenticated"],
      ["audience", tokenOf("alice", { aud: "somebody else" }), "unauthenticated"],
      ["issuer", tokenOf("alice", { iss: "https://elsewhere.example" }), "unauthenticated"],
      ["system", tokenOf("system:serviceaccount:shop:web"), "unauthenticated"],
      ["early", tokenOf("alice", { nbf: inSeconds(600) }), "unauthenticated"],
      ["expired", tokenOf("alice", { exp: inSeconds(-5) }), "token_expired"],
    ];
    for (const [id, token, code] of rows) {
      const answer = await answerTo(client, { type: "token", id, token });
      expect(answer, id).toMatchObject({ type: "error", id, code, retryable: false });
      expect(Object.keys(answer)).toEqual(["type", "id", "code", "message", "retryable"]);
      if (token !== "") expect(answer["message"]).not.toContain(token);
    }
    const answer = await answerTo(client, { type: "publish", topic_id: fresh(), payload: 1 });
    expect(answer.type).toBe("published");
    expect(client.frames.of("unsubscribed")).toEqual([]);
  });

  test("of another user takes away what only the first may hear, and what comes after it is judged by it", async () => {
    const team = fresh("shop.team");
    const open = fresh();
    const client = await connect({ topics: [team, open, "shop.inbox:alice"], token: tokenOf("alice") });
    client.send({ type: "token", id: "t", token: tokenOf("bob") });
    client.send({ type: "subscribe", id: "bobs", topic_id: "shop.inbox:bob" });
    client.send({ type: "subscribe", id: "alices", topic_id: "shop.inbox:alice" });
    client.send({ type: "publish", id: "p", topic_id: open, payload: "as bob" });
    await client.frames.next({ type: "subscribed", id: "bobs" });
    expect(await client.frames.next({ type: "message", payload: "as bob" })).toMatchObject({ publisher_id: "bob" });
    expect(await client.frames.next({ type: "error", id: "alices" })).toMatchObject({ code: "topic_not_found" });
    const ended = client.frames.of("unsubscribed");
    expect(ended.map((frame) => [frame["topic_id"], frame["reason"]])).toEqual([
      [team, "permission_changed"],
      ["shop.inbox:alice", "permission_changed"],
    ]);
  });

  test("makes an anonymous connection somebody, who may hear more; a bad one leaves it anonymous", async () => {
    const topic = fresh("shop.team");
    const client = await connect();
    const id = client.frames.all[0]?.["connection_id"] as string;
    expect(await answerTo(client, { type: "subscribe", topic_id: topic })).toMatchObject({ code: "topic_not_found" });
    expect(await answerTo(client, { type: "token", token: "bad" })).toMatchObject({ code: "unauthenticated" });
    const open = fresh();
    const listener = await connect({ topics: [open] }, "gateway-1");
    await answerTo(client, { type: "publish", topic_id: open, payload: 1 });
    await answerTo(client, { type: "token", token: tokenOf("alice") });
    await answerTo(client, { type: "publish", topic_id: open, payload: 2 });
    expect(await answerTo(client, { type: "subscribe", topic_id: topic })).toMatchObject({ type: "subscribed" });
    await listener.frames.next({ payload: 2 });
    expect(listener.frames.of("message").map((frame) => frame["publisher_id"])).toEqual([`anonymous:${id}`, "alice"]);
  });

  test("that expires is warned of, ends the subscriptions and the connection, over every door", async () => {
    const topic = fresh();
    const token = tokenOf("alice", { exp: inSeconds(4) });
    const { webSocket, sse, grpc } = await everywhere(topic, token);
    const warning = await webSocket.frames.next({ type: "token_expiring" });
    expect(warning).toEqual({
      type: "token_expiring",
      token_expires_at: webSocket.frames.all[0]?.["token_expires_at"],
    });
    expect(await webSocket.closed).toMatchObject({ code: 3101 });
    await sse.ended;
    expect(await grpc.ended).toMatchObject({ code: 16 });
    expect((await grpc.ended).metadata.get("earshot-code")).toEqual(["token_expired"]);
    expect(grpc.of("unsubscribed")).toMatchObject([{ topicId: topic, reason: "token_expired" }]);
    for (const { frames } of [webSocket, sse]) {
      expect(frames.all.slice(2)).toEqual([
        warning,
        { type: "unsubscribed", topic_id: topic, reason: "token_expired" },
        { type: "error", code: "token_expired", message: expect.any(String) as string, retryable: false },
      ]);
    }
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(warning["token_expires_at"] as string));
    expect((await publish(fleet.http(), topic, 1)).json["delivered_to"]).toBe(0);
  });

  test("that is refreshed in time does not expire at the old time", async () => {
    const topic = fresh();
    const exp = inSeconds(3);
    const client = await connect({ topics: [topic], token: tokenOf("alice", { exp }) });
    await answerTo(client, { type: "token", token: tokenOf("alice") });
    await holds(() => client.frames.of("error").length === 0, "it goes on", exp * 1_000 - Date.now() + 500);
    await publish(fleet.http(), topic, 1);
    await client.frames.next({ payload: 1 });
    expect(client.frames.of("token_expiring")).toEqual([]);
  });
});

describe("while somebody listens", () => {
  test("a permission that is tightened ends it at once over every door; loosened again it is there to be asked for", async () => {
    const file = "changing.yaml";
    const topic = "shop.changing";
    fleet.writeTopics(file, manifest(topic, "permissions: Public"));
    const carol = tokenOf("carol");
    await until(async () => (await publish(fleet.http(), topic, 0)).status === 200, "the Topic is there");
    await until(async () => (await publish(fleet.http("gateway-1"), topic, 0)).status === 200, "at both gateways");
    const ears = await everywhere(topic, carol);
    const alice = await connect({ topics: [topic], token: tokenOf("alice") }, "gateway-1");
    fleet.writeTopics(file, manifest(topic, "permissions: Private, subscribers: [{kind: User, name: alice}]"));
    await allUnsubscribed(ears, topic, "permission_changed");
    const refused = await answerTo(ears.webSocket, { type: "subscribe", id: "again", topic_id: topic });
    expect(refused).toMatchObject({ type: "error", id: "again", code: "topic_not_found" });
    fleet.writeTopics(file, manifest(topic, "permissions: SubscribeOnly, publishers: [{kind: User, name: pat}]"));
    await until(
      async () => (await answerTo(ears.webSocket, { type: "subscribe", topic_id: topic })).type === "subscribed",
      "it may be heard again",
    );
    const { json } = await publish(fleet.http("gateway-1"), topic, "open", { token: tokenOf("pat") });
    expect(json["delivered_to"]).toBe(2);
    await ears.webSocket.frames.next({ payload: "open" });
    await alice.frames.next({ payload: "open" });
    expect(alice.frames.of("unsubscribed")).toEqual([]);
    // Those streams stay open, and hear nothing: they did not ask again.
    expect(ears.sse.frames.of("message")).toEqual([]);
    expect(ears.grpc.of("message")).toEqual([]);
  });

  test("a Topic that is deleted and made anew ends it once; who asks again hears the new one", async () => {
    const made = await call(fleet.http(), "POST", "/api/v1/topics", {
      body: { name: "reborn", permissions: "PUBLIC" },
    });
    expect(made).toMatchObject({ status: 201, json: { topic_id: "default.reborn", ready: true } });
    const ears = await everywhere("default.reborn", tokenOf("carol"));
    expect((await call(fleet.http("gateway-1"), "DELETE", "/api/v1/topics/default.reborn")).status).toBe(204);
    await allUnsubscribed(ears, "default.reborn", "topic_deleted");
    const gone = await answerTo(ears.webSocket, { type: "subscribe", topic_id: "default.reborn" });
    expect(gone).toMatchObject({ type: "error", code: "topic_not_found" });
    await call(fleet.http(), "POST", "/api/v1/topics", { body: { name: "reborn", permissions: "PUBLIC" } });
    expect(await answerTo(ears.webSocket, { type: "subscribe", topic_id: "default.reborn" })).toMatchObject({
      type: "subscribed",
      subscription_id: "s2",
      count: 1,
    });
    expect((await publish(fleet.http("gateway-1"), "default.reborn", "new")).json["delivered_to"]).toBe(1);
    await ears.webSocket.frames.next({ payload: "new" });
    expect(ears.webSocket.frames.of("unsubscribed").length).toBe(1);
    await call(fleet.http(), "DELETE", "/api/v1/topics/default.reborn");
  });

  test("a Topic that loses its channels ends those of its channels, and itself stays", async () => {
    const file = "channels.yaml";
    fleet.writeTopics(file, manifest("shop.halls", "permissions: Public, channels: Dynamic"));
    await until(async () => (await publish(fleet.http("gateway-1"), "shop.halls:a", 0)).status === 200, "it is there");
    await until(async () => (await publish(fleet.http(), "shop.halls:a", 0)).status === 200, "at both gateways");
    const ears = await everywhere("shop.halls:a", tokenOf("carol"));
    const whole = await connect({ topics: ["shop.halls"] }, "gateway-1");
    fleet.writeTopics(file, manifest("shop.halls", "permissions: Public"));
    await allUnsubscribed(ears, "shop.halls:a", "topic_deleted");
    await publish(fleet.http(), "shop.halls", "whole");
    await whole.frames.next({ payload: "whole" });
    expect(whole.frames.of("unsubscribed")).toEqual([]);
  });

  test("an issuer's capability outlives a tightened permission, since it is the token's own", async () => {
    const file = "capable.yaml";
    const topic = "shop.capable";
    fleet.writeTopics(file, manifest(topic, "permissions: Public"));
    await until(async () => (await publish(fleet.http(), topic, 0)).status === 200, "the Topic is there");
    const token = tokenOf("cap", { earshot: { subscribe: ["shop.cap*"] } });
    const capable = await connect({ topics: [topic], token });
    const other = await connect({ topics: [topic] });
    fleet.writeTopics(file, manifest(topic, "permissions: Private"));
    await other.frames.next({ type: "unsubscribed", reason: "permission_changed" });
    const owner = tokenOf("owner", { earshot: { publish: ["*"] } });
    expect((await publish(fleet.http(), topic, 1, { token: owner })).json["delivered_to"]).toBe(1);
    await capable.frames.next({ payload: 1 });
    await answerTo(capable, { type: "token", token: tokenOf("cap") });
    await capable.frames.next({ type: "unsubscribed", reason: "permission_changed" });
  });
});

test("the caller's own subscriptions end over HTTP, on whichever gateway; the streams stay open", async () => {
  const topic = fresh();
  const ears = await everywhere(topic, tokenOf("alice"));
  const bob = await connect({ topics: [topic], token: tokenOf("bob") });
  const path = `/api/v1/topics/${topic}/subscribe`;
  const { json } = await call(fleet.http("gateway-1"), "DELETE", path, { token: tokenOf("alice") });
  expect(json).toEqual({ success: true });
  await allUnsubscribed(ears, topic, "requested");
  await publish(fleet.http(), topic, 1);
  await bob.frames.next({ payload: 1 });
  expect(await answerTo(ears.webSocket, { type: "subscribe", topic_id: topic })).toMatchObject({ type: "subscribed" });
  let ended = false;
  for (const over of [ears.sse.ended, ears.grpc.ended]) {
    void Promise.resolve(over).then(() => {
      ended = true;
    });
  }
  await holds(() => !ended, "both streams stay open", 200);
});
