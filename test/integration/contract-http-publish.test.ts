// Publishing over HTTP, row by row, through real processes: the bytes of a payload, what a body may be, limits at the
// limit and one past it, batches, and what the answer says.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BODY_OVERHEAD_BYTES } from "#core/domain/limits.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { type Answer, call, type CallOptions } from "../harness/http.ts";
import { openSse, type SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

function manifest(name: string, spec: string): string {
  return `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: ${name}}
spec: {permissions: Public, channels: Dynamic, ${spec}}
`;
}

const MANIFESTS = [
  manifest("free", "limits: {maxPublishesPerSecond: 0}"),
  manifest("small", "delivery: {maxMessageBytes: 16}"),
  manifest("large", "delivery: {maxMessageBytes: 131072}, limits: {maxPublishesPerSecond: 0}"),
  manifest("slow", "limits: {maxPublishesPerSecond: 5}"),
].join("---");

/** Of the Topic `large`: 4/3 and the overhead. */
const BODY_BYTES_MAX = Math.ceil((131_072 * 4) / 3) + BODY_OVERHEAD_BYTES;
const BATCH_BYTES = 2 * 1024 * 1024;

let fleet: TestFleet;
let webSocket: WebSocketClient;
let sse: SseClient;
const alice = signToken({ sub: "alice" });
const HEARD = "shop.free:heard";

beforeAll(async () => {
  fleet = await startFleet({ topics: [MANIFESTS] });
  webSocket = await openWebSocket(fleet.ws("gateway-1"), { topics: [HEARD, "shop.large"] });
  sse = await openSse(fleet.http("gateway-0"), HEARD);
});
afterAll(async () => {
  await webSocket?.close();
  await sse?.close();
  await fleet?.close();
});

function speak(topicId: string, body: unknown, options: CallOptions = {}): Promise<Answer> {
  return call(fleet.http(), "POST", `/api/v1/topics/${topicId}/publish`, { ...options, body });
}

function batch(body: unknown, options: CallOptions = {}): Promise<Answer> {
  return call(fleet.http(), "POST", "/api/v1/publish", { ...options, body });
}

function verdict({ status, json }: Answer): string {
  return `${status} ${typeof json["code"] === "string" ? json["code"] : ""}`.trim();
}

/** JSON text of some bytes: a string, quotes included. */
function textOf(bytes: number): string {
  return JSON.stringify("x".repeat(bytes - 2));
}

describe("a payload", () => {
  test.each([
    "null",
    "true",
    "0",
    "-0",
    "0.1000",
    "1e400",
    "12345678901234567890123",
    '""',
    "{}",
    "[]",
    '{"b":1,"a":2,"b":3}',
    '{"__proto__":{"constructor":1}}',
    '"\\u2028\\ud800\\u0000\\/"',
    '"\u2028\u2029\u0085"',
    '"\u{1f426} é \\" \\\\ \\n"',
    '{"type":"message","payload":{"payload":1}}',
    `${"[".repeat(127)}${"]".repeat(127)}`,
  ])("%s is heard over WebSocket and SSE as the bytes that were sent", async (payload) => {
    const answer = await speak(HEARD, `{"payload":${payload}}`);
    expect(answer.json).toMatchObject({ delivered_to: 2, dropped: false });
    for (const client of [webSocket, sse]) {
      await client.frames.next({ type: "message", message_id: answer.json["message_id"] as string });
      const text = client.frames.texts.at(-1) ?? "";
      expect(text.slice(text.indexOf('"payload":'))).toBe(`"payload":${payload}}`);
    }
  });

  test("has spaces where lines ended between its tokens, and keeps everything else", async () => {
    const answer = await speak(HEARD, '\ufeff {"payload" :\r\n\t [1,\n 2,\t"a b"\r] \n}\n');
    expect(answer.status).toBe(200);
    for (const client of [webSocket, sse]) {
      await client.frames.next({ type: "message", message_id: answer.json["message_id"] as string });
      expect(client.frames.texts.at(-1)).toContain('"payload":[1,  2,\t"a b" ]}');
    }
  });

  test.each([
    "",
    "AA==",
    "AAE=",
    "AAEC",
    "/+8=",
  ])("in base64 (%j) is heard as it was, with its encoding", async (payload) => {
    const answer = await speak(HEARD, { payload, encoding: "base64" });
    for (const client of [webSocket, sse]) {
      const frame = await client.frames.next({ message_id: answer.json["message_id"] as string });
      expect([frame["payload"], frame["encoding"]]).toEqual([payload, "base64"]);
    }
  });

  test("is wrapped in exactly the members of an envelope, in their order", async () => {
    const answer = await speak(HEARD, { payload: 1 }, { token: alice });
    const frame = await webSocket.frames.next({ message_id: answer.json["message_id"] as string });
    expect(Object.keys(frame)).toEqual([
      "type",
      "topic_id",
      "message_id",
      "seq",
      "publisher_id",
      "timestamp",
      "payload",
    ]);
    expect(frame).toMatchObject({ topic_id: HEARD, publisher_id: "alice" });
    expect(frame["message_id"]).toMatch(/^[a-z0-9]+-\d+$/);
    expect(frame["timestamp"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const unknown = await speak(HEARD, { payload: 1 });
    const anonymous = await webSocket.frames.next({ message_id: unknown.json["message_id"] as string });
    expect(anonymous["publisher_id"]).toMatch(/^anonymous:./);
  });
});

describe("a body", () => {
  test.each([
    ["", "400 invalid_json", undefined],
    ["payload=hi", "400 invalid_json", undefined],
    ["{", "400 invalid_json", undefined],
    ["[]", "400 invalid_json", undefined],
    ['"text"', "400 invalid_json", undefined],
    ['{"payload":NaN}', "400 invalid_json", undefined],
    ['{"payload":01}', "400 invalid_json", undefined],
    ['{"payload":"a\tb"}', "400 invalid_json", undefined],
    ["{'payload':1}", "400 invalid_json", undefined],
    ['{"payload":1,}', "400 invalid_json", undefined],
    ["{}", "422 invalid_request", "payload"],
    ['{"payload":1,"payload":2}', "422 invalid_request", "payload"],
    ['{"payload":1,"topic_id":"shop.free"}', "422 invalid_request", "topic_id"],
    ['{"payload":1,"Receipt":"gateway"}', "422 invalid_request", "Receipt"],
    ['{"payload":1,"encoding":"hex"}', "422 invalid_request", "encoding"],
    ['{"payload":"A","encoding":"base64"}', "422 invalid_request", "payload"],
    ['{"payload":"-_8=","encoding":"base64"}', "422 invalid_request", "payload"],
    ['{"payload":{},"encoding":"base64"}', "422 invalid_request", "payload"],
    ['{"payload":1,"priority":"High"}', "422 invalid_request", "priority"],
    ['{"payload":1,"receipt":"all"}', "422 invalid_request", "receipt"],
    [`{"payload":1,"exclude_connection_id":"${"x".repeat(65)}"}`, "422 invalid_request", "exclude_connection_id"],
    [`{"payload":${"[".repeat(128)}${"]".repeat(128)}}`, "422 invalid_request", undefined],
  ])("of %s is %s", async (body, expected, field) => {
    const answer = await speak("shop.free", body);
    expect([verdict(answer), answer.json["field"]]).toEqual([expected, field]);
    expect(answer.json["retryable"]).toBe(false);
  });

  test("that is not UTF-8 is invalid_json", async () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82]]) {
      const body = Buffer.concat([Buffer.from('{"payload":"'), Buffer.from(bytes), Buffer.from('"}')]);
      const response = await fetch(`${fleet.http()}/api/v1/topics/shop.free/publish`, { method: "POST", body });
      expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([400, "invalid_json"]);
    }
  });

  test.each([
    "application/json",
    "application/json; charset=utf-8",
    "text/plain;charset=UTF-8",
    "application/x-www-form-urlencoded",
    "application/cloudevents+json",
  ])("of %s is read as JSON", async (type) => {
    const answer = await speak("shop.free", '{"payload":"a=b&c"}', { headers: { "content-type": type } });
    expect(answer.status).toBe(200);
  });

  test("of another type or encoding is refused by that header's name", async () => {
    for (const [name, value] of [
      ["Content-Type", "application/xml"],
      ["Content-Type", "multipart/form-data; boundary=x"],
      ["Content-Type", "text/plain; charset=utf-16"],
      ["Content-Encoding", "gzip"],
    ] as const) {
      const answer = await speak("shop.free", '{"payload":1}', { headers: { [name.toLowerCase()]: value } });
      expect([verdict(answer), answer.json["field"]], value).toEqual(["422 invalid_request", name]);
    }
  });

  test("has 4/3 of the largest message of any Topic and 4 KiB, not one byte more", async () => {
    const body = (bytes: number): string => `{"payload":${" ".repeat(bytes - 13)}1}`;
    expect(body(BODY_BYTES_MAX)).toHaveLength(BODY_BYTES_MAX);
    expect(verdict(await speak("shop.free", body(BODY_BYTES_MAX)))).toBe("200");
    expect(verdict(await speak("shop.free", body(BODY_BYTES_MAX + 1)))).toBe("413 message_too_large");
    // One that is far too large is read to its end, so that its client gets to read the answer.
    expect(verdict(await speak("shop.free", body(4 * 1024 * 1024)))).toBe("413 message_too_large");
  });
});

describe("a size", () => {
  test.each([
    ["shop.small", 16],
    ["shop.free", 65_536],
    ["shop.large", 131_072],
  ])("on %s is %i bytes and not one more, in JSON and in base64, counted in bytes", async (topicId, bytes) => {
    const encoded = (count: number): object => ({
      payload: Buffer.alloc(count).toString("base64"),
      encoding: "base64",
    });
    const wide = JSON.stringify("é".repeat((bytes - 2) / 2));
    expect(Buffer.byteLength(wide)).toBe(bytes);
    for (const body of [`{"payload":${textOf(bytes)}}`, `{"payload": ${wide} }`, encoded(bytes)]) {
      expect(verdict(await speak(topicId, body))).toBe("200");
    }
    for (const body of [
      `{"payload":${textOf(bytes + 1)}}`,
      `{"payload":${wide.replace("é", "éx")}}`,
      encoded(bytes + 1),
    ]) {
      const answer = await speak(topicId, body);
      expect([verdict(answer), answer.json["field"]]).toEqual(["413 message_too_large", "payload"]);
      expect(answer.json["detail"]).toContain(String(bytes));
    }
  });

  test("of the largest message arrives whole", async () => {
    const answer = await speak("shop.large", `{"payload":${textOf(131_072)}}`);
    const frame = await webSocket.frames.next({ message_id: answer.json["message_id"] as string });
    expect(frame["payload"]).toHaveLength(131_070);
  });
});

describe("an answer", () => {
  test("has exactly its fields, with a reason only where nobody was given the message", async () => {
    const heard = await speak(HEARD, { payload: 1 });
    expect(Object.keys(heard.json)).toEqual(["message_id", "delivered_to", "exact", "dropped"]);
    expect(heard.json).toMatchObject({ delivered_to: 2, exact: false, dropped: false });
    const unheard = await speak("shop.free:nobody", { payload: 1 });
    expect(unheard.json).toMatchObject({ delivered_to: 0, dropped: true, reason: "no_subscribers" });
  });

  test("with a receipt is exact, and says of whom it was not", async () => {
    const answer = await speak(HEARD, { payload: 1, receipt: "gateway" });
    expect(answer.json).toMatchObject({ delivered_to: 2, exact: true, dropped: false, not_delivered: {} });
    const nobody = await speak("shop.free:nobody", { payload: 1, receipt: "gateway" });
    expect(nobody.json).toMatchObject({ delivered_to: 0, exact: true, dropped: true, reason: "no_subscribers" });
  });

  test("counts a connection that was excluded as not given it", async () => {
    const excluded = webSocket.frames.all[0]?.["connection_id"];
    const answer = await speak(HEARD, { payload: "not for one", exclude_connection_id: excluded, receipt: "gateway" });
    expect(answer.json).toMatchObject({ delivered_to: 1, exact: true });
    const after = await speak(HEARD, { payload: "for all" });
    await webSocket.frames.next({ message_id: after.json["message_id"] as string });
    expect(webSocket.frames.of("message").some(({ payload }) => payload === "not for one")).toBe(false);
    await sse.frames.next({ type: "message", payload: "not for one" });
  });

  test("above a Topic's rate is rate_limited, safe to repeat, and each channel has its own rate", async () => {
    const burst = (id: string): Promise<Answer[]> =>
      Promise.all(Array.from({ length: 40 }, () => speak(id, { payload: 1 })));
    const [one, two] = await Promise.all([burst("shop.slow:one"), burst("shop.slow:two")]);
    for (const answers of [one, two]) {
      const taken = answers.filter(({ status }) => status === 200).length;
      expect(taken).toBeGreaterThanOrEqual(5);
      expect(taken).toBeLessThanOrEqual(20);
    }
    const refused = one.find(({ status }) => status !== 200);
    expect(refused?.json).toMatchObject({ status: 429, code: "rate_limited", retryable: true });
    expect(refused?.headers.get("retry-after")).toBe("1");
    await until(async () => (await speak("shop.slow:one", { payload: 1 })).status === 200, "the bucket fills again");
  });
});

describe("a batch", () => {
  const message = { topic_id: "shop.free", payload: 1 };

  test("takes 0 to 100 messages", async () => {
    expect((await batch({ messages: [] })).json).toEqual({ results: [] });
    const full = await batch({ messages: Array.from({ length: 100 }, () => message) });
    expect(full.json["results"]).toHaveLength(100);
    const over = await batch({ messages: Array.from({ length: 101 }, () => message) });
    expect([verdict(over), over.json["field"]]).toEqual(["422 invalid_request", "messages"]);
  });

  test("takes 2 MiB in all, and not one byte more", async () => {
    const body = (bytes: number): string => {
      const text = JSON.stringify({ messages: [message] });
      return `${text.slice(0, -1)}${" ".repeat(bytes - text.length)}}`;
    };
    expect(verdict(await batch(body(BATCH_BYTES)))).toBe("200");
    expect(verdict(await batch(body(BATCH_BYTES + 1)))).toBe("413 message_too_large");
  });

  test("has an error in the place of each that failed, as a problem's members, and speaks the others in order", async () => {
    const answer = await batch({
      messages: [
        { topic_id: HEARD, payload: "first" },
        { topic_id: "nodot", payload: 1 },
        { topic_id: "shop.nothing", payload: 1 },
        { topic_id: "shop.small", payload: "x".repeat(100) },
        { topic_id: HEARD, payload: "AAEC", encoding: "base64", receipt: "gateway" },
        { topic_id: HEARD, payload: "last", priority: "Low" },
      ],
    });
    expect(answer.status).toBe(200);
    const results = answer.json["results"] as Record<string, Record<string, unknown>>[];
    expect(results.map((result) => result["error"]?.["code"] ?? "ok")).toEqual([
      "ok",
      "topic_id_invalid",
      "topic_not_found",
      "message_too_large",
      "ok",
      "ok",
    ]);
    expect(results[3]?.["error"]).toMatchObject({ status: 413, retryable: false, field: "payload" });
    expect(results[4]).toMatchObject({ exact: true, delivered_to: 2, not_delivered: {} });
    await webSocket.frames.next({ type: "message", payload: "last" });
    const spoken = ["first", "AAEC", "last"];
    const heard = webSocket.frames.of("message").map(({ payload }) => payload);
    expect(heard.slice(heard.lastIndexOf("first"))).toEqual(spoken);
  });

  test.each([
    ["{}", "messages"],
    ['{"messages":null}', "messages"],
    ['{"messages":{}}', "messages"],
    ['{"messages":[1]}', "messages[0]"],
    ['{"messages":[{"payload":1}]}', "messages[0].topic_id"],
    ['{"messages":[{"topic_id":"shop.free:heard","payload":"never"},{"topic_id":"shop.free"}]}', "messages[1].payload"],
    ['{"messages":[],"x":1}', "x"],
  ])("of another shape, %s, is refused whole", async (body, field) => {
    const answer = await batch(body);
    expect([verdict(answer), answer.json["field"]]).toEqual(["422 invalid_request", field]);
    expect(webSocket.frames.of("message").some(({ payload }) => payload === "never")).toBe(false);
  });
});
