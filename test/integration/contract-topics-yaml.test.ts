// Topics as YAML: an edit of a manifest takes effect at once for whoever is subscribed, at every gateway; what is wrong is
// named and changes nothing. How a folder is read is in operator-topics.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { type Answer, call, publish } from "../harness/http.ts";
import { holds } from "../harness/holds.ts";
import { openSse, type SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

function manifest(name: string, spec: string, namespace = "shop"): string {
  return `apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: ${namespace}, name: ${name}}
spec: ${spec}
`;
}

let fleet: TestFleet;
const clients: (WebSocketClient | SseClient)[] = [];
const sue = signToken({ sub: "sue" });
const bob = signToken({ sub: "bob" });

beforeAll(async () => {
  fleet = await startFleet({ topics: [] });
});
afterAll(async () => {
  for (const client of clients) await client.close();
  await fleet?.close();
});

async function known(topicId: string, token?: string): Promise<void> {
  const who = token === undefined ? {} : { token };
  for (const name of ["gateway-0", "gateway-1"]) {
    const path = `/api/v1/topics/${topicId}`;
    await until(
      async () => (await call(fleet.http(name), "GET", path, who)).status === 200,
      `${name} knows ${topicId}`,
    );
  }
}

/** A WebSocket at one gateway and an SSE stream at the other. */
async function hear(topicId: string, token?: string): Promise<readonly [WebSocketClient, SseClient]> {
  const who = token === undefined ? {} : { token };
  const both = [
    await openWebSocket(fleet.ws("gateway-0"), { topics: [topicId], ...who }),
    await openSse(fleet.http("gateway-1"), topicId, token),
  ] as const;
  clients.push(...both);
  return both;
}

function speak(topicId: string, payload: unknown, token?: string): Promise<Answer> {
  return publish(fleet.http("gateway-1"), topicId, payload, token === undefined ? {} : { token });
}

describe("an edit", () => {
  test("that tightens permissions ends the subscriptions of those who may no longer hear, and of nobody else", async () => {
    fleet.writeTopics("tight.yaml", manifest("tight", "{permissions: Public, subscribers: [{kind: User, name: sue}]}"));
    await known("shop.tight");
    const [anonymous, stranger, allowed] = [
      await hear("shop.tight"),
      await hear("shop.tight", bob),
      await hear("shop.tight", sue),
    ];
    const editedMs = performance.now();
    fleet.writeTopics(
      "tight.yaml",
      manifest("tight", "{permissions: PublishOnly, subscribers: [{kind: User, name: sue}]}"),
    );
    for (const client of [...anonymous, ...stranger]) {
      await client.frames.next({ type: "unsubscribed", topic_id: "shop.tight", reason: "permission_changed" });
    }
    expect(performance.now() - editedMs).toBeLessThan(2_000);
    expect((await speak("shop.tight", "for sue")).json).toMatchObject({ delivered_to: 2 });
    for (const client of allowed) {
      await client.frames.next({ type: "message", payload: "for sue" });
      expect(client.frames.of("unsubscribed")).toEqual([]);
    }
    // Loosened again: nobody comes back by itself, everybody may.
    fleet.writeTopics("tight.yaml", manifest("tight", "{permissions: Public}"));
    const path = "/api/v1/topics/shop.tight";
    await until(
      async () => (await call(fleet.http("gateway-0"), "GET", path)).json["permissions"] === "PUBLIC",
      "anyone may listen again",
    );
    anonymous[0].send({ type: "subscribe", id: "again", topic_id: "shop.tight" });
    await anonymous[0].frames.next({ type: "subscribed", id: "again" });
  });

  test("that takes a subject from a list ends that subject's subscriptions", async () => {
    const spec = (names: string): string => `{permissions: Private, subscribers: [${names}]}`;
    const of = (name: string): string => `{kind: User, name: ${name}}`;
    fleet.writeTopics("list.yaml", manifest("list", spec(`${of("sue")}, ${of("bob")}`)));
    await known("shop.list", sue);
    const [first, second] = [await hear("shop.list", sue), await hear("shop.list", bob)];
    fleet.writeTopics("list.yaml", manifest("list", spec(of("sue"))));
    for (const client of second) {
      await client.frames.next({ type: "unsubscribed", topic_id: "shop.list", reason: "permission_changed" });
    }
    for (const client of first) expect(client.frames.of("unsubscribed")).toEqual([]);
  });

  test("that deletes a Topic ends its subscriptions, those of its channels too", async () => {
    fleet.writeTopics(
      "gone.yaml",
      `${manifest("gone", "{permissions: Public, channels: Dynamic}")}---\n${manifest("stays", "{permissions: Public}")}`,
    );
    await known("shop.gone");
    const ending = [...(await hear("shop.gone")), ...(await hear("shop.gone:room"))];
    const staying = await hear("shop.stays");
    fleet.writeTopics("gone.yaml", manifest("stays", "{permissions: Public}"));
    for (const client of ending) {
      expect(await client.frames.next({ type: "unsubscribed" })).toMatchObject({ reason: "topic_deleted" });
    }
    for (const name of ["gateway-0", "gateway-1"]) {
      const answer = await publish(fleet.http(name), "shop.gone:room", 1);
      expect([answer.status, answer.json["code"]]).toEqual([404, "topic_not_found"]);
    }
    expect((await speak("shop.stays", 1)).json).toMatchObject({ delivered_to: 2 });
    for (const client of staying) expect(client.frames.of("unsubscribed")).toEqual([]);
  });

  test("that takes its channels from a Topic ends theirs alone", async () => {
    fleet.writeTopics("rooms.yaml", manifest("rooms", "{permissions: Public, channels: Dynamic}"));
    await known("shop.rooms");
    const [own, room] = [await hear("shop.rooms"), await hear("shop.rooms:1")];
    fleet.writeTopics("rooms.yaml", manifest("rooms", "{permissions: Public}"));
    for (const client of room) {
      await client.frames.next({ type: "unsubscribed", topic_id: "shop.rooms:1", reason: "topic_deleted" });
    }
    for (const client of own) expect(client.frames.of("unsubscribed")).toEqual([]);
    expect((await speak("shop.rooms:1", 1)).status).toBe(404);
  });

  test("of limits is in force for the next message", async () => {
    fleet.writeTopics("limits.yaml", manifest("limits", "{permissions: Public}"));
    await known("shop.limits");
    const [client] = await hear("shop.limits");
    expect((await speak("shop.limits", "x".repeat(100))).status).toBe(200);
    fleet.writeTopics("limits.yaml", manifest("limits", "{permissions: Public, delivery: {maxMessageBytes: 50}}"));
    await until(async () => (await speak("shop.limits", "x".repeat(100))).status === 413, "it is too large now");
    expect((await speak("shop.limits", "x".repeat(48))).status).toBe(200);
    fleet.writeTopics("limits.yaml", manifest("limits", "{permissions: Public, limits: {maxSubscribers: 2}}"));
    await until(async () => (await speak("shop.limits", "x".repeat(100))).status === 200, "it may be large again");
    const late = await openWebSocket(fleet.ws("gateway-1"));
    clients.push(late);
    late.send({ type: "subscribe", id: "4", topic_id: "shop.limits" });
    await late.frames.next({ type: "error", id: "4", code: "topic_full", retryable: true });
    expect(client.frames.of("unsubscribed")).toEqual([]);
  });

  test("of presence begins and ends the keeping of members", async () => {
    fleet.writeTopics("members.yaml", manifest("members", "{permissions: Public, presence: Count}"));
    await known("shop.members");
    await hear("shop.members", sue);
    const list = (): Promise<Answer> => call(fleet.http(), "GET", "/api/v1/topics/shop.members/subscribers");
    expect((await list()).json["code"]).toBe("presence_not_kept");
    fleet.writeTopics("members.yaml", manifest("members", "{permissions: Public, presence: Members}"));
    await until(async () => (await list()).json["count"] === 1, "sue is a member");
    expect((await list()).json).toMatchObject({ connections: 2 });
    fleet.writeTopics("members.yaml", manifest("members", "{permissions: Public, presence: None}"));
    await until(async () => (await list()).json["code"] === "presence_not_kept", "no members are kept");
  });
});

describe("a mistake", () => {
  test("is named with file, line and field; the last good one stays in force, and so do its neighbours", async () => {
    const good = manifest("good", "{permissions: Public}");
    fleet.writeTopics("mixed.yaml", `${good}---\n${manifest("beside", "{permissions: Public}")}`);
    await known("shop.good");
    await known("shop.beside");
    const listening = await hear("shop.good");
    const wrong = manifest("good", "\n  permissions: Everyone");
    fleet.writeTopics("mixed.yaml", `${wrong}---\n${manifest("beside", "{permissions: Public, channels: Dynamic}")}`);
    const told = await until(() => fleet.notices.find((notice) => notice.includes("mixed.yaml")), "it is told");
    expect(told.slice(told.lastIndexOf("/") + 1)).toBe(
      'mixed.yaml line 5: spec.permissions must be one of Public, Private, PublishOnly, SubscribeOnly, not "Everyone"',
    );
    await known("shop.beside:channel");
    await holds(() => listening.every(({ frames }) => frames.of("unsubscribed").length === 0), "all listen", 500);
    expect((await speak("shop.good", 1)).json).toMatchObject({ delivered_to: 2 });
    fleet.writeTopics("mixed.yaml", "kind: [");
    await until(() => fleet.notices.some((notice) => notice.includes("not YAML")), "the next mistake is told");
    expect((await speak("shop.good", 1)).json).toMatchObject({ delivered_to: 2 });
    fleet.writeTopics("mixed.yaml", manifest("good", "{permissions: Private}"));
    for (const client of listening) await client.frames.next({ type: "unsubscribed", reason: "permission_changed" });
  });
});

test("many documents in one file are all there, and a Topic made over HTTP is not lost to an edit", async () => {
  const names = Array.from({ length: 200 }, (_, index) => `bulk-${index}`);
  await call(fleet.http(), "POST", "/api/v1/topics", { body: { name: "over-http", permissions: "PUBLIC" } });
  fleet.writeTopics("bulk.yaml", names.map((name) => manifest(name, "{permissions: Public}")).join("---\n"));
  for (const name of [names[0], names[199]]) await known(`shop.${name}`);
  await known("default.over-http");
  // A manifest of the same name takes over; without it the one over HTTP is back, with its subscribers all the while.
  const [client] = await hear("default.over-http");
  fleet.writeTopics("over.yaml", manifest("over-http", "{permissions: Public, channels: Dynamic}", "default"));
  await known("default.over-http:channel");
  const patched = await call(fleet.http(), "PATCH", "/api/v1/topics/default.over-http", {
    token: signToken({ sub: "root", earshot: { manage: ["*"] } }),
    body: {},
  });
  expect(patched.json).toMatchObject({ status: 403, code: "forbidden" });
  fleet.removeTopics("over.yaml");
  await until(async () => (await speak("default.over-http:channel", 1)).status === 404, "it has no channels again");
  expect((await speak("default.over-http", 1)).json).toMatchObject({ delivered_to: 2 });
  expect(client.frames.of("unsubscribed")).toEqual([]);
});
