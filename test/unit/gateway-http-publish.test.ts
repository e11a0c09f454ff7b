import { afterEach, beforeEach, expect, test } from "vitest";
import { CODES, type Code } from "#core/domain/codes.ts";
import { BODY_OVERHEAD_BYTES, MESSAGE_BYTES_DEFAULT } from "#core/domain/limits.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { DELIVERED, type Door, openDoor } from "../harness/http-door.ts";

let door: Door;
beforeEach(async () => {
  door = await openDoor();
});
afterEach(() => door.close());

function speak(
  payload: string | Buffer,
  headers: Record<string, string> = {},
  url = "/api/v1/topics/default.demo/publish",
) {
  return door.app.inject({ method: "POST", url, payload, headers });
}

const JSON_TYPE = { "content-type": "application/json" };

test("a publish is answered with what became of it", async () => {
  const answer = await speak('{"payload":"hi"}', { ...JSON_TYPE, authorization: "Bearer token-of-alice" });
  expect(answer.statusCode).toBe(200);
  expect(answer.json()).toEqual({ message_id: "r3a-9001", delivered_to: 3, exact: false, dropped: false });
  expect(door.state.asked.publishes[0]?.caller.principal).toMatchObject({ userId: "alice" });
});

test("a message that nobody heard says why, a receipt what was not delivered", async () => {
  door.state.result = { ...DELIVERED, deliveredTo: 0, dropped: true, reason: "no_subscribers" };
  expect((await speak('{"payload":1}', JSON_TYPE)).json()).toMatchObject({ dropped: true, reason: "no_subscribers" });
  door.state.result = { ...DELIVERED, exact: true, notDelivered: { slow_consumer: 2 } };
  const answer = await speak('{"payload":1,"receipt":"gateway"}', JSON_TYPE);
  expect(answer.json()).toMatchObject({ exact: true, not_delivered: { slow_consumer: 2 } });
});

test("a payload arrives as the text that was written, but for line ends between tokens", async () => {
  await speak('{"payload": {"__proto__": 1, "n": 12345678901234567890,\r\n "a": 1e400}}', JSON_TYPE);
  const text = '{"__proto__": 1, "n": 12345678901234567890,   "a": 1e400}';
  expect(door.state.asked.publishes[0]?.input.content).toEqual({ kind: "json", text });
});

test("base64 arrives decoded; what is not base64 is refused by name", async () => {
  await speak('{"payload":"AAEC","encoding":"base64"}', JSON_TYPE);
  expect(door.state.asked.publishes[0]?.input.content).toEqual({ kind: "binary", bytes: Buffer.from([0, 1, 2]) });
  for (const wrong of ["AAE", "AA-_", "AAEC\\n", "A===", "AAF=", " AAEC"]) {
    const answer = await speak(`{"payload":"${wrong}","encoding":"base64"}`, JSON_TYPE);
    expect([answer.statusCode, answer.json().field], wrong).toEqual([422, "payload"]);
  }
});

test.each([
  ["application/json"],
  ["application/json; charset=utf-8"],
  ["text/plain;charset=UTF-8"],
  ["application/x-www-form-urlencoded"],
  ["application/merge-patch+json"],
])("a body of %s is read as JSON", async (type) => {
  expect((await speak('{"payload":1}', { "content-type": type })).statusCode).toBe(200);
});

test("a body without a content type is read as JSON", async () => {
  expect((await speak(Buffer.from('{"payload":1}'))).statusCode).toBe(200);
});

test.each([
  [{ "content-type": "application/xml" }, "Content-Type"],
  [{ "content-type": "multipart/form-data; boundary=x" }, "Content-Type"],
  [{ "content-type": "text/plain; charset=latin1" }, "Content-Type"],
  [{ "content-type": "application/json", "content-encoding": "gzip" }, "Content-Encoding"],
])("a body with %o is refused by that header's name", async (headers, field) => {
  const answer = await speak('{"payload":1}', headers as Record<string, string>);
  expect([answer.statusCode, answer.json().code, answer.json().field]).toEqual([422, "invalid_request", field]);
});

test("a content type that is none is refused", async () => {
  const answer = await speak('{"payload":1}', { "content-type": "nonsense" });
  expect([answer.statusCode, answer.json().code]).toEqual([422, "invalid_request"]);
});

test.each([
  ["", "invalid_json"],
  ["{", "invalid_json"],
  ["[]", "invalid_json"],
  ["null", "invalid_json"],
  ['{"payload":1}x', "invalid_json"],
  ["{}", "invalid_request", "payload"],
  ['{"payload":1,"topic_id":"default.demo"}', "invalid_request", "topic_id"],
  ['{"payload":1,"__proto__":{}}', "invalid_request", "__proto__"],
  ['{"payload":1,"payload":2}', "invalid_request", "payload"],
  ['{"payload":1,"encoding":"hex"}', "invalid_request", "encoding"],
  ['{"payload":1,"encoding":"base64"}', "invalid_request", "payload"],
  ['{"payload":1,"priority":"LOW"}', "invalid_request", "priority"],
  ['{"payload":1,"receipt":true}', "invalid_request", "receipt"],
  ['{"payload":1,"exclude_connection_id":7}', "invalid_request", "exclude_connection_id"],
] as [string, Code, string?][])("the body %s is refused as %s", async (body, code, field) => {
  const answer = await speak(body, JSON_TYPE);
  expect([answer.statusCode, answer.json().code, answer.json().field]).toEqual([CODES[code].http, code, field]);
  expect(door.state.asked.publishes).toEqual([]);
});

test("invalid UTF-8 and nesting too deep are refused", async () => {
  const bytes = Buffer.concat([Buffer.from('{"payload":"'), Buffer.from([0xff]), Buffer.from('"}')]);
  expect((await speak(bytes, JSON_TYPE)).json().code).toBe("invalid_json");
  const deep = `{"payload":${"[".repeat(128)}${"]".repeat(128)}}`;
  expect((await speak(deep, JSON_TYPE)).json().code).toBe("invalid_request");
});

test("a body may have 4/3 of the largest message and 4 KiB, and not one byte more", async () => {
  const limit = Math.ceil((MESSAGE_BYTES_DEFAULT * 4) / 3) + BODY_OVERHEAD_BYTES;
  const body = (bytes: number): string => `{"payload":"${"x".repeat(bytes - 14)}"}`;
  expect((await speak(body(limit), JSON_TYPE)).statusCode).toBe(200);
  const answer = await speak(body(limit + 1), JSON_TYPE);
  expect([answer.statusCode, answer.json().code]).toEqual([413, "message_too_large"]);
  door.state.largestMessageBytes = 2 * MESSAGE_BYTES_DEFAULT;
  expect((await speak(body(limit + 1), JSON_TYPE)).statusCode).toBe(200);
});

test("every field of a publish reaches the edge", async () => {
  await speak('{"payload":1,"priority":"Low","receipt":"gateway","exclude_connection_id":"g-1f"}', JSON_TYPE);
  expect(door.state.asked.publishes[0]?.input).toEqual({
    topicId: "default.demo",
    content: { kind: "json", text: "1" },
    priority: "Low",
    receipt: "gateway",
    excludeConnectionId: "g-1f",
  });
});

test("a batch keeps its order and answers each message, an error in the place of each that failed", async () => {
  const messages = ["default.demo", "no.where", "default.demo"].map((topic_id, payload) => ({ topic_id, payload }));
  const answer = await speak(JSON.stringify({ messages }), JSON_TYPE, "/api/v1/publish");
  expect(answer.statusCode).toBe(200);
  const { results } = answer.json() as { results: Record<string, unknown>[] };
  expect(results.map((result) => Object.keys(result)[0])).toEqual(["message_id", "error", "message_id"]);
  expect(results[1]?.["error"]).toMatchObject({ code: "topic_not_found", retryable: false });
  const payloads = door.state.asked.publishes.map(({ input }) => input.content.kind === "json" && input.content.text);
  expect(payloads).toEqual(["0", "2"]);
});

test("a batch takes 100 messages and 2 MiB; what is more, or of another shape, is refused whole", async () => {
  const url = "/api/v1/publish";
  const batch = (count: number, payload = "x"): string =>
    JSON.stringify({ messages: Array.from({ length: count }, () => ({ topic_id: "default.demo", payload })) });
  expect((await speak(batch(100), JSON_TYPE, url)).json().results).toHaveLength(100);
  expect((await speak(batch(101), JSON_TYPE, url)).json()).toMatchObject({
    code: "invalid_request",
    field: "messages",
  });
  expect((await speak(batch(32, "x".repeat(65_400)), JSON_TYPE, url)).statusCode).toBe(200);
  expect((await speak(batch(33, "x".repeat(65_400)), JSON_TYPE, url)).statusCode).toBe(413);
  expect((await speak("{}", JSON_TYPE, url)).json().field).toBe("messages");
  const wrong = '{"messages":[{"topic_id":"default.demo","payload":1},{"topic_id":"default.demo"}]}';
  door.state.asked.publishes.length = 0;
  expect((await speak(wrong, JSON_TYPE, url)).json().field).toBe("messages[1].payload");
  expect(door.state.asked.publishes).toEqual([]);
});

test("what is not an EarshotError tells nothing of itself", async () => {
  door.state.fails.set("publish", new Error("a secret detail"));
  const answer = await speak('{"payload":1}', JSON_TYPE);
  expect(answer.statusCode).toBe(500);
  expect(answer.body).not.toContain("secret");
});

test("publish_unknown is not safe to repeat, backpressure is, after Retry-After", async () => {
  door.state.fails.set("publish", new EarshotError("publish_unknown"));
  expect((await speak('{"payload":1}', JSON_TYPE)).json()).toMatchObject({ status: 502, retryable: false });
  door.state.fails.set("publish", new EarshotError("backpressure"));
  const answer = await speak('{"payload":1}', JSON_TYPE);
  expect(answer.json()).toMatchObject({ status: 429, retryable: true });
  expect(answer.headers["retry-after"]).toBe("1");
});
