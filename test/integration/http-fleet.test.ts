// HTTP through real processes: every call of the document, on the gateway that did not do the other half.

import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Answer, call } from "../harness/http.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const TOPICS = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: demo}
spec: {permissions: Public, channels: Dynamic}
---
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: chat}
spec: {permissions: Public, channels: Dynamic, presence: Members}
---
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: orders}
spec: {permissions: Private, publishers: [{kind: User, name: bob}], subscribers: [{kind: User, name: alice}]}
`;

let fleet: TestFleet;
let document: { paths: Record<string, Record<string, { responses: Record<string, Described> }>>; components: object };
interface Described {
  readonly content?: Record<string, { schema: object }>;
}
const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false });
const alice = signToken({ sub: "alice", earshot: { info: { name: "Alice" } } });
const bob = signToken({ sub: "bob" });
const root = signToken({ sub: "root", earshot: { manage: ["*"] } });

beforeAll(async () => {
  fleet = await startFleet({ topics: [TOPICS] });
  document = (await call(fleet.http(), "GET", "/api/v1/openapi.json")).json as unknown as typeof document;
  ajv.addSchema({ $id: "doc", components: document.components });
});
afterAll(() => fleet.close());

/** An answer of a gateway, held against the document that it serves. */
async function ask(
  method: string,
  path: string,
  options: Parameters<typeof call>[3] & { at?: number } = {},
): Promise<Answer> {
  const answer = await call(fleet.http(`gateway-${options.at ?? 0}`), method, path, options);
  const bare = path.split("?")[0] ?? "";
  const pattern = bare.replace(/^(\/api\/v1\/topics\/)[^/]+/, "$1{topic_id}");
  const described = document.paths[pattern]?.[method.toLowerCase()]?.responses[String(answer.status)];
  expect(described, `${method} ${pattern} answers ${answer.status}: ${answer.text}`).toBeDefined();
  const type = (answer.headers.get("content-type") ?? "").split(";")[0] ?? "";
  const schema = described?.content?.[type]?.schema;
  if (schema === undefined) expect(answer.text).toBe("");
  else expect(problemsOf(schema, answer.json), `${method} ${path}: ${answer.text}`).toEqual([]);
  return answer;
}

function problemsOf(schema: object, value: unknown): string[] {
  const text = JSON.stringify(schema).replaceAll('"#/components', '"doc#/components');
  const validate = ajv.compile(JSON.parse(text) as object);
  return validate(value)
    ? []
    : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

test("a Topic is made at one gateway, heard at another, changed, and ended", async () => {
  const made = await ask("POST", "/api/v1/topics", { token: alice, body: { name: "news", permissions: "PUBLIC" } });
  expect(made.status).toBe(201);
  expect(made.json).toMatchObject({ topic_id: "default.news", owner_id: "alice", ready: true });
  expect(
    (await ask("POST", "/api/v1/topics", { at: 1, token: alice, body: { name: "news", permissions: "PUBLIC" } }))
      .status,
  ).toBe(409);

  const client = await openWebSocket(fleet.ws("gateway-1"), { topics: ["default.news"] });
  const spoken = await ask("POST", "/api/v1/topics/default.news/publish", {
    body: { payload: { n: 1 }, receipt: "gateway" },
  });
  expect(spoken.json).toMatchObject({ delivered_to: 1, exact: true, dropped: false });
  await client.frames.next({ type: "message", topic_id: "default.news" });
  expect((await ask("GET", "/api/v1/topics/default.news", { at: 1 })).json["subscriber_count"]).toBe(1);
  expect((await ask("GET", "/api/v1/topics?limit=1")).json["topics"]).toHaveLength(1);

  expect(
    (await ask("PATCH", "/api/v1/topics/default.news", { at: 1, token: bob, body: { permissions: "PRIVATE" } })).status,
  ).toBe(403);
  const changed = await ask("PATCH", "/api/v1/topics/default.news", {
    at: 1,
    token: alice,
    body: { permissions: "PRIVATE" },
  });
  expect(changed.json).toMatchObject({ permissions: "PRIVATE" });
  await client.frames.next({ type: "unsubscribed", topic_id: "default.news", reason: "permission_changed" });
  expect((await ask("DELETE", "/api/v1/topics/default.news", { token: alice })).status).toBe(204);
  await until(
    async () => (await ask("GET", "/api/v1/topics/default.news", { at: 1, token: alice })).status === 404,
    "it is gone",
  );
  await client.close();
});

test("a Topic that nobody may make, or of a wrong name, is refused", async () => {
  const body = { name: "a", permissions: "PUBLIC" };
  expect((await ask("POST", "/api/v1/topics", { body: { ...body, name: "Not A Name" } })).json["code"]).toBe(
    "topic_name_invalid",
  );
  expect((await ask("POST", "/api/v1/topics", { body: { ...body, namespace: "shop" } })).json["code"]).toBe(
    "namespace_not_served",
  );
});

test("a payload is heard as the bytes that were sent", async () => {
  const client = await openWebSocket(fleet.ws("gateway-1"), { topics: ["default.demo:bytes"] });
  const payload = '{"__proto__":{"x":1},"big":12345678901234567890,"z":1,"a":1e400,"u":"\\u00e9é"}';
  await ask("POST", "/api/v1/topics/default.demo:bytes/publish", { body: `{"payload": ${payload}\n}` });
  const frame = await client.frames.next({ type: "message" });
  expect(JSON.stringify(frame)).toBeDefined();
  expect(client.frames.texts.some((text) => text.endsWith(`"payload":${payload}}`))).toBe(true);
  await ask("POST", "/api/v1/topics/default.demo:bytes/publish", { body: { payload: "AAEC", encoding: "base64" } });
  await client.frames.next({ type: "message", payload: "AAEC", encoding: "base64" });
  await client.close();
});

test("a batch is spoken in its order, with an outcome for each", async () => {
  const client = await openWebSocket(fleet.ws("gateway-1"), { topics: ["default.demo:batch"] });
  const messages = Array.from({ length: 100 }, (_, n) => ({ topic_id: "default.demo:batch", payload: n }));
  messages[50] = { topic_id: "shop.orders", payload: 50 };
  const { json } = await ask("POST", "/api/v1/publish", { body: { messages } });
  const results = json["results"] as Record<string, unknown>[];
  expect(results.filter((result) => "error" in result)).toHaveLength(1);
  expect(results[50]).toMatchObject({ error: { code: "topic_not_found" } });
  await until(() => client.frames.of("message").length === 99, "all but one are heard");
  expect(client.frames.of("message").map((frame) => frame["payload"])).toEqual(
    messages.map(({ payload }) => payload).filter((n) => n !== 50),
  );
  await client.close();
});

test("who may only publish is told apart from who sees nothing", async () => {
  const url = "/api/v1/topics/shop.orders/publish";
  expect((await ask("POST", url, { token: bob, body: { payload: 1 } })).json).toMatchObject({
    dropped: true,
    reason: "no_subscribers",
  });
  expect((await ask("POST", url, { token: alice, body: { payload: 1 } })).json["code"]).toBe("forbidden");
  expect((await ask("POST", url, { body: { payload: 1 } })).json["code"]).toBe("topic_not_found");
  expect((await ask("GET", "/api/v1/topics/shop.orders/subscribers", { token: bob })).json["code"]).toBe(
    "presence_not_kept",
  );
});

test("members are the same at both gateways, by users and by subscriptions", async () => {
  const topic = "shop.chat:room";
  const one = await openWebSocket(fleet.ws("gateway-0"), { topics: [topic], token: alice, query: "presence=true" });
  await one.frames.next({ type: "presence", count: 1 });
  const two = await openWebSocket(fleet.ws("gateway-1"), { topics: [topic], token: alice });
  const three = await openWebSocket(fleet.ws("gateway-1"), { topics: [topic], token: bob, query: "presence=true" });
  const first = await three.frames.next({ type: "presence" });
  expect(first).toMatchObject({ count: 2, connections: 3 });
  expect(first["subscribers"]).toEqual([{ user_id: "alice", info: { name: "Alice" } }, { user_id: "bob" }]);
  const joined = await one.frames.next(({ joined }) => JSON.stringify(joined ?? []).includes('{"user_id":"bob"}'));
  expect(joined).toMatchObject({ type: "presence", count: 2, left: [] });

  for (const at of [0, 1]) {
    const { json } = await ask("GET", `/api/v1/topics/${topic}/subscribers`, { at });
    expect(json).toMatchObject({ count: 2, connections: 3, next_cursor: null });
    expect((json["subscribers"] as { user_id: string }[]).map(({ user_id }) => user_id)).toEqual([
      "alice",
      "alice",
      "bob",
    ]);
  }
  const page = await ask("GET", `/api/v1/topics/${topic}/subscribers?limit=1`);
  const rest = await ask(
    "GET",
    `/api/v1/topics/${topic}/subscribers?limit=1&cursor=${String(page.json["next_cursor"])}`,
  );
  expect((rest.json["subscribers"] as object[]).length).toBe(1);
  expect((await ask("GET", `/api/v1/topics/${topic}/subscribers?cursor=x`)).json).toMatchObject({ field: "cursor" });

  await two.close();
  await three.close();
  const left = await one.frames.next((frame) => JSON.stringify(frame["left"]) === '[{"user_id":"bob"}]');
  expect(left).toMatchObject({ type: "presence", count: 1, joined: [] });
  await one.close();
});

test("an anonymous connection is a member of its own", async () => {
  const client = await openWebSocket(fleet.ws("gateway-1"), { topics: ["shop.chat:anonymous"] });
  const welcome = await client.frames.next({ type: "welcome" });
  const path = "/api/v1/topics/shop.chat:anonymous/subscribers";
  await until(async () => (await ask("GET", path)).json["count"] === 1, "it is known at the other gateway");
  const { json } = await ask("GET", path);
  expect(json["subscribers"]).toMatchObject([{ user_id: `anonymous:${String(welcome["connection_id"])}`, info: null }]);
  await client.close();
});

test("a user ends their subscriptions on whichever gateway they are", async () => {
  const topic = "default.demo:end";
  const one = await openWebSocket(fleet.ws("gateway-0"), { topics: [topic], token: alice });
  const two = await SseClient.open(fleet.http("gateway-1"), `/api/v1/topics/${topic}/subscribe`, alice);
  await two.frames.next({ type: "subscribed" });
  const other = await openWebSocket(fleet.ws("gateway-1"), { topics: [topic], token: bob });
  expect((await ask("DELETE", `/api/v1/topics/${topic}/subscribe`, { token: alice })).json).toEqual({ success: true });
  await one.frames.next({ type: "unsubscribed", topic_id: topic, reason: "requested" });
  await two.frames.next({ type: "unsubscribed", topic_id: topic, reason: "requested" });
  await until(
    async () => (await ask("GET", `/api/v1/topics/${topic}`)).json["subscriber_count"] === 1,
    "only bob is left",
  );
  expect((await ask("DELETE", `/api/v1/topics/${topic}/subscribe`, { token: alice })).json).toEqual({ success: false });
  for (const client of [one, two, other]) await client.close();
});

test("an anonymous connection is ended by its secret, from the other gateway", async () => {
  const topic = "default.demo:secret";
  const client = await openWebSocket(fleet.ws("gateway-0"), { topics: [topic] });
  const welcome = await client.frames.next({ type: "welcome" });
  const path = `/api/v1/topics/${topic}/subscribe`;
  expect((await ask("DELETE", `${path}?connection_id=${String(welcome["connection_id"])}`, { at: 1 })).status).toBe(
    401,
  );
  expect((await ask("DELETE", `${path}?connection_key=AAAAAAAAAAAAAAAAAAAAAA`, { at: 1 })).json).toEqual({
    success: false,
  });
  const ended = await ask("DELETE", `${path}?connection_key=${String(welcome["connection_key"])}`, { at: 1 });
  expect(ended.json).toEqual({ success: true });
  await client.frames.next({ type: "unsubscribed", topic_id: topic, reason: "requested" });
  await client.close();
});

test("what is wrong with a stream is refused as the document says", async () => {
  const one = "/api/v1/topics/default.demo/subscribe";
  for (const [path, status, code] of [
    [`${one}?presence=maybe`, 422, "invalid_request"],
    [`${one}?echo=true&echo=false`, 422, "invalid_request"],
    ["/api/v1/subscribe", 422, "invalid_request"],
    ["/api/v1/subscribe?topic_id=default.demo&presence=1", 422, "invalid_request"],
    ["/api/v1/subscribe?topic_id=", 422, "topic_id_invalid"],
    ["/api/v1/topics/no.where/subscribe", 404, "topic_not_found"],
    ["/api/v1/subscribe?topic_id=no.where&topic_id=nodot", 404, "topic_not_found"],
    [
      `/api/v1/subscribe?${Array.from({ length: 129 }, (_, n) => `topic_id=default.demo:${n}`).join("&")}`,
      422,
      "invalid_request",
    ],
  ] as const) {
    const answer = await ask("GET", path);
    expect([answer.status, answer.json["code"]], path).toEqual([status, code]);
  }
  expect((await ask("GET", one, { token: "bad" })).json["code"]).toBe("unauthenticated");
});

test("why did nobody hear it: the way of a topic, for who manages it", async () => {
  const topic = "shop.chat:way";
  const client = await openWebSocket(fleet.ws("gateway-1"), { topics: [topic] });
  const { json } = await ask("GET", `/api/v1/topics/${topic}/route`, { token: root });
  expect(json["routers"]).toHaveLength(2);
  expect(json["gateways"]).toMatchObject([{ id: "gateway-1", subscriptions: 1 }]);
  await ask("POST", "/api/v1/topics/shop.chat:nobody/publish", { body: { payload: 1 } });
  const dropped = await ask("GET", "/api/v1/topics/shop.chat:nobody/route", { token: root });
  expect(dropped.json["last_drops"]).toMatchObject([{ reason: "no_subscribers", count: 1 }]);
  expect((await ask("GET", `/api/v1/topics/${topic}/route`, { token: alice })).json["code"]).toBe("forbidden");
  await client.close();
});

test("standalone mode lists its processes with their metrics", async () => {
  const { json } = await ask("GET", "/api/v1/status");
  const processes = json["processes"] as { role: string; name: string; pid: number; metrics: string }[];
  expect(processes.map(({ name }) => name)).toEqual([
    "operator-0",
    "router-0",
    "router-1",
    "gateway-0",
    "gateway-1",
    "presence-0",
  ]);
  for (const { name, pid, metrics } of processes) {
    expect(pid).toBe(fleet.pid(name));
    expect(await (await fetch(metrics)).text()).toContain("process_cpu_seconds_total");
  }
});

test("without its store a member list is stale or unavailable, and delivery goes on", async () => {
  const topic = "shop.chat:stale";
  const client = await openWebSocket(fleet.ws("gateway-0"), { topics: [topic], token: alice, query: "presence=true" });
  await client.frames.next({ type: "presence", count: 1 });
  fleet.kill("presence-0");
  await fleet.ended("presence-0");
  const path = `/api/v1/topics/${topic}/subscribers`;
  await until(async () => (await ask("GET", path)).json["stale"] === true, "the list is stale");
  await until(
    async () => (await ask("GET", "/api/v1/topics/shop.chat:never/subscribers", { at: 1 })).status === 503,
    "another is not there",
  );
  const late = await openWebSocket(fleet.ws("gateway-0"), { topics: [topic], token: bob, query: "presence=true" });
  expect(await late.frames.next({ type: "presence" })).toMatchObject({ stale: true, count: 1, connections: 2 });
  await ask("POST", `/api/v1/topics/${topic}/publish`, { body: { payload: "still" } });
  await client.frames.next({ type: "message", payload: "still" });
  // Whoever is to be unsubscribed is found without it.
  const ended = await ask("DELETE", `/api/v1/topics/${topic}/subscribe`, { at: 1, token: bob });
  expect(ended.json).toEqual({ success: true });
  await late.frames.next({ type: "unsubscribed", topic_id: topic, reason: "requested" });
  late.send({ type: "subscribe", topic_id: topic });
  await late.frames.next((frame) => frame.type === "subscribed" && late.frames.of("subscribed").length > 1);
  await fleet.start("presence-0");
  await until(
    async () => {
      const { json } = await ask("GET", path, { at: 1 });
      return json["count"] === 2 && json["stale"] === undefined;
    },
    "the list is whole again",
    2_000,
  );
  await client.frames.next({ type: "presence", count: 2 });
  for (const one of [client, late]) await one.close();
});
