// The WebSocket contract frame by frame, as a stranger's client meets it at two real gateways: what may be said, what is
// answered with exactly which fields, and payloads that arrive as the bytes they were.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import type { Frame } from "../harness/frames.ts";
import { openGrpc } from "../harness/grpc-ears.ts";
import { holds } from "../harness/holds.ts";
import { call, publish } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { openSse } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient, type WebSocketOptions } from "../harness/websocket.ts";

let fleet: TestFleet;
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  fleet = await startFleet({
    topics: [
      manifest("default.demo", "permissions: Public, channels: Dynamic"),
      manifest("shop.room", "permissions: Public, channels: Dynamic, presence: Members"),
      manifest("shop.quiet", "permissions: Public, channels: Dynamic, presence: None"),
      manifest("shop.plain", "permissions: Public"),
      manifest("shop.tiny", "permissions: Public, delivery: {maxMessageBytes: 8}"),
      manifest("shop.private", "permissions: Private"),
    ],
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
afterAll(() => fleet?.close());

let topics = 0;
/** A channel of its own for each test. */
const fresh = (topic = "default.demo"): string => `${topic}:${(topics += 1)}`;

async function connect(options: WebSocketOptions = {}, gateway = "gateway-0"): Promise<WebSocketClient> {
  const client = await openWebSocket(fleet.ws(gateway), options);
  closers.push(() => client.close());
  return client;
}

const idOf = (client: WebSocketClient): string => client.frames.all[0]?.["connection_id"] as string;
const fieldsOf = (frame: Frame | undefined): string[] => Object.keys(frame ?? {});

/** The next frame after those that are there already. */
async function answerTo(client: WebSocketClient, frame: object | string): Promise<Frame> {
  const before = client.frames.all.length;
  client.send(frame);
  await until(() => client.frames.all.length > before, `an answer to ${JSON.stringify(frame).slice(0, 200)}`);
  return client.frames.all[before] as Frame;
}

describe("server frames have exactly their fields", () => {
  test("welcome, with and without a token; ids differ between connections and gateways", async () => {
    const nameless = await connect();
    const alice = await connect({ token: signToken({ sub: "alice" }) }, "gateway-1");
    const fields = ["type", "connection_id", "connection_key", "user_id", "ping_interval_ms"];
    expect(fieldsOf(nameless.frames.all[0])).toEqual(fields);
    expect(fieldsOf(alice.frames.all[0])).toEqual([...fields, "token_expires_at"]);
    expect(nameless.frames.all[0]?.["user_id"]).toBe(`anonymous:${idOf(nameless)}`);
    expect(idOf(alice).split("-")[0]).not.toBe(idOf(nameless).split("-")[0]);
    expect(alice.frames.all[0]?.["connection_key"]).not.toBe(nameless.frames.all[0]?.["connection_key"]);
  });

  test("every client frame is answered in kind, with its id and without one", async () => {
    const topic = fresh();
    const client = await connect();
    const token = signToken({ sub: "alice" });
    const rows: [object, string[]][] = [
      [{ type: "subscribe", topic_id: topic }, ["type", "topic_id", "subscription_id", "incarnation", "seq", "count"]],
      [{ type: "ping" }, ["type"]],
      [{ type: "unsubscribe", topic_id: topic }, ["type", "topic_id", "reason"]],
      [
        { type: "publish", topic_id: topic, payload: 1 },
        ["type", "topic_id", "message_id", "delivered_to", "exact", "dropped", "reason"],
      ],
      [
        { type: "publish", topic_id: topic, payload: 1, receipt: "gateway" },
        ["type", "topic_id", "message_id", "delivered_to", "exact", "dropped", "reason", "not_delivered"],
      ],
      [{ type: "token", token }, ["type", "user_id", "token_expires_at"]],
      [{ type: "publish", topic_id: "shop.nowhere", payload: 1 }, ["type", "topic_id", "code", "message", "retryable"]],
      [{ type: "shout" }, ["type", "code", "message", "retryable"]],
    ];
    for (const [frame, fields] of rows) {
      const bare = await answerTo(client, frame);
      expect(fieldsOf(bare), JSON.stringify(frame)).toEqual(fields);
      const id = `ä\u2028"${topics}`;
      const named = await answerTo(client, { ...frame, id });
      const [type = "", ...rest] = fields;
      expect(fieldsOf(named), JSON.stringify(frame)).toEqual([type, "id", ...rest]);
      expect(named["id"]).toBe(id);
      expect(named.type).toBe(bare.type);
    }
  });

  test("a message says where it stands: envelope, seq one after another, ids of the subscribed incarnation", async () => {
    const topic = fresh();
    const listener = await connect({ topics: [topic] }, "gateway-1");
    const speaker = await connect({ token: signToken({ sub: "alice" }) });
    const startedAtMs = Date.now();
    const answers: Frame[] = [];
    for (let index = 0; index < 20; index++) {
      answers.push(await answerTo(speaker, { type: "publish", topic_id: topic, payload: index }));
    }
    await listener.frames.next({ payload: 19 });
    const [subscribed] = listener.frames.of("subscribed");
    const messages = listener.frames.of("message");
    const first = Number(subscribed?.["seq"]);
    expect(messages.map((frame) => frame["seq"])).toEqual(messages.map((_, index) => first + 1 + index));
    expect(messages.map((frame) => frame["message_id"])).toEqual(answers.map((answer) => answer["message_id"]));
    for (const frame of messages) {
      expect(fieldsOf(frame)).toEqual([
        "type",
        "topic_id",
        "message_id",
        "seq",
        "publisher_id",
        "timestamp",
        "payload",
      ]);
      expect(frame).toMatchObject({ topic_id: topic, publisher_id: "alice" });
      expect(frame["message_id"]).toMatch(new RegExp(`^${String(subscribed?.["incarnation"])}-\\d+$`));
      expect(frame["timestamp"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(Math.abs(Date.parse(frame["timestamp"] as string) - startedAtMs)).toBeLessThan(10_000);
    }
    const later = await connect({ topics: [topic] });
    expect(later.frames.of("subscribed")[0]).toMatchObject({
      seq: first + 20,
      incarnation: subscribed?.["incarnation"],
    });
    expect(new Set(messages.map((frame) => frame["message_id"])).size).toBe(20);
  });
});

describe("wrong client frames", () => {
  const TOPIC = "default.demo:wrong";
  const wrong: object[] = [
    {},
    { type: "" },
    { type: "SUBSCRIBE", topic_id: TOPIC },
    { type: null },
    { type: 1 },
    { type: ["ping"] },
    { type: "welcome" },
    { type: "message", topic_id: TOPIC, payload: 1 },
    { type: "subscribe" },
    { type: "subscribe", topic_id: null },
    { type: "subscribe", topic_id: [TOPIC] },
    { type: "subscribe", topic_id: TOPIC, echo: 1 },
    { type: "subscribe", topic_id: TOPIC, echo: null },
    { type: "subscribe", topic_id: TOPIC, presence: "true" },
    { type: "subscribe", topic_id: TOPIC, payload: 1 },
    { type: "subscribe", topic_id: TOPIC, token: "x" },
    { type: "subscribe", topic_ids: [TOPIC] },
    { type: "unsubscribe" },
    { type: "unsubscribe", topic_id: 7 },
    { type: "unsubscribe", topic_id: TOPIC, echo: true },
    { type: "publish", topic_id: TOPIC },
    { type: "publish", payload: 1 },
    { type: "publish", topic_id: {}, payload: 1 },
    { type: "publish", topic_id: TOPIC, payload: 1, priority: "High" },
    { type: "publish", topic_id: TOPIC, payload: 1, priority: "low" },
    { type: "publish", topic_id: TOPIC, payload: 1, receipt: true },
    { type: "publish", topic_id: TOPIC, payload: 1, receipt: "client" },
    { type: "publish", topic_id: TOPIC, payload: 1, encoding: "hex" },
    { type: "publish", topic_id: TOPIC, payload: 1, encoding: "base64" },
    { type: "publish", topic_id: TOPIC, payload: "AAE", encoding: "base64" },
    { type: "publish", topic_id: TOPIC, payload: "AA==\n", encoding: "base64" },
    { type: "publish", topic_id: TOPIC, payload: "_-8=", encoding: "base64" },
    { type: "publish", topic_id: TOPIC, payload: 1, exclude_connection_id: 1 },
    { type: "publish", topic_id: TOPIC, payload: 1, exclude_connection_id: "x".repeat(65) },
    { type: "publish", topic_id: TOPIC, payload: 1, ttl: 5 },
    { type: "token" },
    { type: "token", token: 5 },
    { type: "token", token: "x".repeat(16_385) },
    { type: "token", token: "x", topic_id: TOPIC },
    { type: "ping", payload: 1 },
    { type: "ping", topic_id: TOPIC },
  ];

  test("are invalid_request with their id and topic, say which field, and leave everything as it was", async () => {
    const client = await connect({ topics: [TOPIC] });
    for (const frame of wrong) {
      const what = JSON.stringify(frame).slice(0, 100);
      const { topic_id: topicId } = frame as { topic_id?: unknown };
      const answer = await answerTo(client, { ...frame, id: "w" });
      const fields = typeof topicId === "string" ? ["id", "topic_id"] : ["id"];
      expect(fieldsOf(answer), what).toEqual(["type", ...fields, "code", "message", "retryable"]);
      expect(answer, what).toMatchObject({ type: "error", id: "w", code: "invalid_request", retryable: false });
      expect(answer["message"], what).toMatch(
        /^(type|topic_id|echo|presence|payload|priority|receipt|encoding|exclude_connection_id|token|topic_ids|ttl) /,
      );
    }
    for (const id of [1, null, {}, "x".repeat(129)]) {
      const answer = await answerTo(client, { type: "ping", id });
      expect(answer, JSON.stringify(id)).toMatchObject({ type: "error", code: "invalid_request" });
      expect(fieldsOf(answer)).not.toContain("id");
    }
    const doubled = await answerTo(client, `{"type":"subscribe","topic_id":"${TOPIC}","type":"ping"}`);
    expect(doubled).toMatchObject({ type: "error", code: "invalid_request" });
    await publish(fleet.http("gateway-1"), TOPIC, "still here");
    await client.frames.next({ payload: "still here" });
    expect(client.frames.of("message").length).toBe(1);
  });

  test("topic ids that are none are topic_id_invalid, those that nobody may see are topic_not_found", async () => {
    const client = await connect();
    const rows: [string, string][] = [
      ["", "topic_id_invalid"],
      ["demo", "topic_id_invalid"],
      ["default.", "topic_id_invalid"],
      [".demo", "topic_id_invalid"],
      ["default.demo:", "topic_id_invalid"],
      ["default.demo:a/b", "topic_id_invalid"],
      ["default.demo:a b", "topic_id_invalid"],
      ["default.demo:ä", "topic_id_invalid"],
      ["default.Demo", "topic_id_invalid"],
      ["../etc.passwd", "topic_id_invalid"],
      [`default.demo:${"x".repeat(129)}`, "topic_id_invalid"],
      ["default.demo:\u0000", "topic_id_invalid"],
      ["shop.plain:channel", "topic_not_found"],
      ["shop.private", "topic_not_found"],
      ["shop.nowhere", "topic_not_found"],
      ["nowhere.demo", "topic_not_found"],
      ["default.__proto__", "topic_id_invalid"],
      ["default.constructor", "topic_not_found"],
    ];
    for (const [topicId, code] of rows) {
      for (const frame of [{ type: "subscribe" }, { type: "publish", payload: 1 }]) {
        const answer = await answerTo(client, { ...frame, topic_id: topicId, id: "t" });
        expect(answer, `${frame.type} ${topicId}`).toMatchObject({ type: "error", id: "t", topic_id: topicId, code });
      }
    }
    const longest = `default.demo:${"x".repeat(128)}`;
    expect(await answerTo(client, { type: "subscribe", topic_id: longest })).toMatchObject({ type: "subscribed" });
  });

  test("an unsubscribe from what was never subscribed is answered as any other", async () => {
    const client = await connect();
    for (const topicId of ["default.demo:never", "no topic id"]) {
      expect(await answerTo(client, { type: "unsubscribe", id: "u", topic_id: topicId })).toEqual({
        type: "unsubscribed",
        id: "u",
        topic_id: topicId,
        reason: "requested",
      });
    }
  });
});

describe("subscribing", () => {
  test("128 topics on one connection are each heard, the 129th is refused, and one that ended makes room", async () => {
    const channels = Array.from({ length: 128 }, () => fresh());
    const client = await connect({ topics: channels });
    const refused = await answerTo(client, { type: "subscribe", id: "129", topic_id: fresh() });
    expect(refused).toMatchObject({ type: "error", id: "129", code: "invalid_request" });
    const batches = [channels.slice(0, 64), channels.slice(64)];
    for (const batch of batches) {
      const messages = batch.map((topicId) => ({ topic_id: topicId, payload: topicId }));
      const { json } = await call(fleet.http("gateway-1"), "POST", "/api/v1/publish", { body: { messages } });
      expect((json["results"] as { delivered_to: number }[]).map((result) => result.delivered_to)).toEqual(
        batch.map(() => 1),
      );
    }
    await until(() => client.frames.of("message").length === 128, "each was heard");
    for (const frame of client.frames.of("message")) expect(frame["payload"]).toBe(frame["topic_id"]);
    expect(await answerTo(client, { type: "subscribe", topic_id: channels[5] })).toMatchObject({ type: "subscribed" });
    await answerTo(client, { type: "unsubscribe", topic_id: channels[0] });
    expect(await answerTo(client, { type: "subscribe", topic_id: fresh() })).toMatchObject({ type: "subscribed" });
    expect((await publish(fleet.http(), channels[0] ?? "", 1)).json).toMatchObject({ delivered_to: 0, dropped: true });
  });

  test("subscribed, presence and messages come in this order, whatever presence the Topic keeps", async () => {
    const kinds: [string, string[]][] = [
      [fresh(), ["welcome", "subscribed", "presence"]],
      [fresh("shop.room"), ["welcome", "subscribed", "presence"]],
      [fresh("shop.quiet"), ["welcome", "subscribed", "message"]],
    ];
    for (const [topic, expected] of kinds) {
      const enough = new AbortController();
      const spoken = (async () => {
        for (let count = 0; !enough.signal.aborted; count++) await publish(fleet.http("gateway-1"), topic, count);
      })();
      try {
        for (let round = 0; round < 10; round++) {
          const client = await connect({ query: "presence=true", topics: [topic] }, `gateway-${round % 2}`);
          await client.frames.next({ type: "message" });
          await client.close();
          const what = JSON.stringify(client.frames.all.slice(0, 6));
          // On a machine that is too busy the first router confirms late, and says so.
          if (client.frames.of("subscribed")[0]?.["incarnation"] === null) continue;
          expect(
            client.frames.all.slice(0, 3).map((frame) => frame.type),
            what,
          ).toEqual(expected);
          const seqs = client.frames.of("message").map((frame) => frame["seq"] as number);
          expect(seqs, what).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index));
          expect(seqs[0], what).toBe((client.frames.of("subscribed")[0]?.["seq"] as number) + 1);
        }
      } finally {
        enough.abort();
        await spoken;
      }
    }
  });

  test("twice is once: the same subscription, the newer options, one delivery, one count", async () => {
    const topic = fresh();
    const client = await connect({ topics: [topic] });
    const again = await answerTo(client, { type: "subscribe", id: "2", topic_id: topic, echo: false });
    expect(again).toMatchObject({ type: "subscribed", id: "2", subscription_id: "s1", count: 1 });
    expect((await publish(fleet.http("gateway-1"), topic, "one")).json["delivered_to"]).toBe(1);
    await client.frames.next({ payload: "one" });
    await answerTo(client, { type: "publish", topic_id: topic, payload: "not echoed" });
    await answerTo(client, { type: "subscribe", topic_id: topic, presence: true });
    await client.frames.next({ type: "presence" });
    await answerTo(client, { type: "publish", topic_id: topic, payload: "echoed" });
    await client.frames.next({ payload: "echoed" });
    expect(client.frames.of("message").map((frame) => frame["payload"])).toEqual(["one", "echoed"]);
    const end = await answerTo(client, { type: "unsubscribe", topic_id: topic });
    expect(end.type).toBe("unsubscribed");
    expect((await publish(fleet.http("gateway-1"), topic, "two")).json).toMatchObject({ delivered_to: 0 });
  });

  test("asked for twice at once, both are answered and it is one subscription", async () => {
    const topic = fresh();
    const client = await connect();
    for (const id of ["a", "b", "c"]) client.send({ type: "subscribe", id, topic_id: topic });
    for (const id of ["a", "b", "c"]) {
      expect(await client.frames.next({ type: "subscribed", id })).toMatchObject({ subscription_id: "s1", count: 1 });
    }
  });

  test("the same topic twice in a URL is one subscription, a bad one beside it is an error of its own", async () => {
    const topic = fresh();
    const client = await connect({ query: `topic_id=${topic}&topic_id=${topic}&topic_id=shop.nowhere` });
    await client.frames.next({ type: "subscribed" });
    const error = await client.frames.next({ type: "error" });
    expect(error).toMatchObject({ topic_id: "shop.nowhere", code: "topic_not_found", retryable: false });
    expect(fieldsOf(error)).not.toContain("id");
    expect(client.frames.of("subscribed").length).toBe(1);
  });

  test("count is the fleet's subscriptions of exactly that id", async () => {
    const topic = fresh();
    const counts: unknown[] = [];
    for (let index = 0; index < 4; index++) {
      const client = await connect({ topics: [topic] }, `gateway-${index % 2}`);
      counts.push(client.frames.of("subscribed")[0]?.["count"]);
    }
    await connect({ topics: [`${topic}-other`] });
    const again = await connect({ topics: [topic], query: "presence=true" });
    expect(counts).toEqual([1, 2, 3, 4]);
    expect(again.frames.of("subscribed")[0]?.["count"]).toBe(5);
    expect(await again.frames.next({ type: "presence" })).toEqual({
      type: "presence",
      topic_id: topic,
      connections: 5,
    });
    expect((await call(fleet.http(), "GET", `/api/v1/topics/default.demo`)).json["subscriber_count"]).toBe(0);
  });
});

describe("echo and exclusion, across gateways", () => {
  test("a client with echo false does not hear itself, others do; excluded ones do not hear, over any door", async () => {
    const topic = fresh();
    const quiet = await connect({ topics: [topic], query: "echo=false" });
    const loud = await connect({ topics: [topic] });
    const far = await connect({ topics: [topic] }, "gateway-1");
    const said = { type: "publish", topic_id: topic };
    const own = await answerTo(quiet, { ...said, payload: "from quiet", receipt: "gateway" });
    expect(own).toMatchObject({ delivered_to: 2, exact: true, dropped: false });
    await answerTo(loud, { ...said, payload: "from loud" });
    await answerTo(loud, { ...said, payload: "not far", exclude_connection_id: idOf(far) });
    await answerTo(far, { ...said, payload: "not quiet", exclude_connection_id: idOf(quiet) });
    const excluded = { body: { payload: "not loud", exclude_connection_id: idOf(loud), receipt: "gateway" } };
    const { json } = await call(fleet.http("gateway-1"), "POST", `/api/v1/topics/${topic}/publish`, excluded);
    expect(json).toMatchObject({ delivered_to: 2, exact: true });
    await answerTo(far, { ...said, payload: "end", exclude_connection_id: "nobody" });
    const heard: unknown[][] = [];
    for (const client of [quiet, loud, far]) {
      await client.frames.next({ payload: "end" });
      heard.push(client.frames.of("message").map((frame) => frame["payload"]));
    }
    expect(heard).toEqual([
      ["from loud", "not far", "not loud", "end"],
      ["from quiet", "from loud", "not far", "not quiet", "end"],
      ["from quiet", "from loud", "not quiet", "not loud", "end"],
    ]);
  });

  test("only the speaker and one excluded: nobody is given the message, and the publisher is told so", async () => {
    const topic = fresh();
    const quiet = await connect({ topics: [topic], query: "echo=false" });
    const answer = await answerTo(quiet, { type: "publish", topic_id: topic, payload: 1, receipt: "gateway" });
    expect(answer).toMatchObject({ delivered_to: 0, exact: true, dropped: true, reason: "no_subscribers" });
  });
});

describe("publishing", () => {
  test("a receipt counts what both gateways wrote, exactly", async () => {
    const topic = fresh();
    for (let index = 0; index < 5; index++) await connect({ topics: [topic] }, `gateway-${index % 2}`);
    const speaker = await connect();
    const frame = { type: "publish", topic_id: topic, payload: 1 };
    expect(await answerTo(speaker, frame)).toMatchObject({ delivered_to: 5, exact: false, dropped: false });
    expect(await answerTo(speaker, { ...frame, receipt: "router" })).toMatchObject({ delivered_to: 5, exact: false });
    const receipt = await answerTo(speaker, { ...frame, receipt: "gateway", priority: "Low" });
    const { message_id: messageId } = receipt;
    const result = { message_id: messageId, delivered_to: 5, exact: true, dropped: false, not_delivered: {} };
    expect(receipt).toEqual({ type: "published", topic_id: topic, ...result });
  });

  test("payloads are sized by their bytes: at the Topic's limit taken, one past it refused, and nothing closes", async () => {
    const listener = await connect({ topics: ["shop.tiny"] });
    const client = await connect();
    const frame = { type: "publish", topic_id: "shop.tiny" };
    const rows: [string, string][] = [
      ['"123456"', "published"],
      ['"1234567"', "error"],
      ['"äää"', "published"],
      ['"äääx"', "error"],
      ["12345678", "published"],
      ["123456789", "error"],
      ["[1, 2,3]", "published"],
    ];
    for (const [payload, type] of rows) {
      const answer = await answerTo(client, `{"type":"publish","topic_id":"shop.tiny","payload": ${payload} }`);
      expect(answer.type, payload).toBe(type);
      if (type === "error") expect(answer).toMatchObject({ code: "message_too_large", topic_id: "shop.tiny" });
    }
    const eight = Buffer.from("12345678").toString("base64");
    const nine = Buffer.from("123456789").toString("base64");
    expect(await answerTo(client, { ...frame, payload: eight, encoding: "base64" })).toMatchObject({
      type: "published",
    });
    expect(await answerTo(client, { ...frame, payload: nine, encoding: "base64" })).toMatchObject({
      code: "message_too_large",
    });
    await listener.frames.next({ payload: eight });
    expect(listener.frames.of("message").length).toBe(5);
  });

  const PAYLOADS: readonly string[] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1.0",
    "1e400",
    "12345678901234567890123",
    '""',
    "[]",
    "{}",
    '{"b":1,"a":{"__proto__":{"x":1},"constructor":2},"__proto__":null}',
    '{"a":1,"a":2}',
    '"\\u00e4\\ud83d\\ude00\\ud800\\n\\r\\t\\"\\\\\\/"',
    '"\u2028\u2029\u0085\ufeff😀\u{10ffff}"',
    '{"spaced" :  [ 1 ,\t2 ] }',
    '"\\u0000 data: x"',
    '"","payload":"',
    "[".repeat(100) + "]".repeat(100),
    `"${"x".repeat(60_000)}"`,
  ].filter((text) => text !== '"","payload":"');

  test("a payload is heard as the very bytes that were said, over every door", async () => {
    const topic = fresh();
    const webSocket = await connect({ topics: [topic] }, "gateway-1");
    const sse = await openSse(fleet.http("gateway-1"), topic);
    const grpc = await openGrpc(fleet.grpc(), [topic]);
    closers.push(
      () => sse.close(),
      () => grpc.close(),
    );
    const speaker = await connect();
    for (const payload of PAYLOADS) {
      const answer = await answerTo(speaker, `{"type":"publish","topic_id":"${topic}","payload":${payload}}`);
      expect(answer, payload.slice(0, 80)).toMatchObject({ type: "published", delivered_to: 3 });
    }
    await until(() => grpc.of("message").length === PAYLOADS.length, "gRPC heard them");
    for (const { frames } of [webSocket, sse]) {
      await until(() => frames.of("message").length === PAYLOADS.length, "each was heard");
      const texts = frames.texts.filter((text) => text.startsWith('{"type":"message"'));
      expect(texts.map((text) => text.slice(text.indexOf(',"payload":') + 11, -1))).toEqual(PAYLOADS);
    }
    expect(grpc.of("message").map(({ content }) => content.value)).toEqual(PAYLOADS);
  });

  test("line ends between tokens become spaces, everywhere alike; those inside strings are escapes and stay", async () => {
    const topic = fresh();
    const webSocket = await connect({ topics: [topic] });
    const sse = await openSse(fleet.http("gateway-1"), topic);
    closers.push(() => sse.close());
    const speaker = await connect();
    await answerTo(
      speaker,
      `{"type":"publish",\r\n"topic_id":"${topic}",\n"payload":\r\n{\r\n"a":\n"\\n",\r"b" : 1 }\n}`,
    );
    for (const { frames } of [webSocket, sse]) {
      await frames.next({ type: "message" });
      expect(frames.texts.at(-1)).toMatch(/,"payload":\{ {2}"a": "\\n", "b" : 1 \}\}$/);
    }
  });

  test("bytes travel as base64 and say so, over every door", async () => {
    const topic = fresh();
    const webSocket = await connect({ topics: [topic] });
    const sse = await openSse(fleet.http("gateway-1"), topic);
    const grpc = await openGrpc(fleet.grpc("gateway-1"), [topic]);
    closers.push(
      () => sse.close(),
      () => grpc.close(),
    );
    const speaker = await connect();
    const contents = [Buffer.alloc(0), Buffer.from([0]), Buffer.from([0, 255, 10, 13]), Buffer.alloc(48_000, 0xfe)];
    for (const bytes of contents) {
      const payload = bytes.toString("base64");
      const answer = await answerTo(speaker, { type: "publish", topic_id: topic, payload, encoding: "base64" });
      expect(answer).toMatchObject({ type: "published", delivered_to: 3 });
    }
    await until(() => grpc.of("message").length === contents.length, "gRPC heard them");
    for (const { frames } of [webSocket, sse]) {
      await until(() => frames.of("message").length === contents.length, "each was heard");
      const heard = frames.of("message");
      expect(heard.map((frame) => frame["payload"])).toEqual(contents.map((bytes) => bytes.toString("base64")));
      for (const frame of heard) expect(fieldsOf(frame).slice(-2)).toEqual(["payload", "encoding"]);
      expect(new Set(heard.map((frame) => frame["encoding"]))).toEqual(new Set(["base64"]));
    }
    for (const [index, message] of grpc.of("message").entries()) {
      expect(message.content.case).toBe("binary");
      expect(Buffer.from(message.content.value as Uint8Array).equals(contents[index] ?? Buffer.alloc(1))).toBe(true);
    }
  });
});

test("what is said to nobody is gone: who subscribes afterwards hears nothing of it", async () => {
  const topic = fresh();
  const speaker = await connect();
  const answer = await answerTo(speaker, { type: "publish", id: "p", topic_id: topic, payload: "gone" });
  expect(answer).toEqual({
    type: "published",
    id: "p",
    topic_id: topic,
    message_id: answer["message_id"],
    delivered_to: 0,
    exact: false,
    dropped: true,
    reason: "no_subscribers",
  });
  const listener = await connect({ topics: [topic] }, "gateway-1");
  await holds(() => listener.frames.of("message").length === 0, "nothing is heard", 200);
});
