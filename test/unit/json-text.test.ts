import { expect, test } from "vitest";
import { type JsonFields, readJsonObject, readJsonText } from "#core/domain/json-text.ts";
import { JSON_DEPTH_MAX } from "#core/domain/limits.ts";

function readBody<T>(body: string | Uint8Array, read: (fields: JsonFields) => T) {
  return readJsonObject(typeof body === "string" ? Buffer.from(body) : body, read);
}

const rawPayload = (fields: JsonFields): string => fields.raw("payload");
const nothing = (): undefined => undefined;

test("large integers, key order, doubled keys and __proto__ in a payload survive", () => {
  const payload = '{"b":12345678901234567890,"a":1,"__proto__":{"x":1},"a":2}';
  expect(readBody(`{"payload":${payload}}`, rawPayload)).toEqual({ ok: true, value: payload });
});

test("line ends between tokens become spaces; U+2028, U+2029 and escaped line ends stay", () => {
  expect(readBody('{"payload":[1,\r\n"a\\n\u2028\u2029",\n2]}', rawPayload)).toEqual({
    ok: true,
    value: '[1,  "a\\n\u2028\u2029", 2]',
  });
});

test("what is not JSON, not UTF-8 or not an object is invalid_json", () => {
  for (const body of ["", "{", "{}x", "[1]", "null", '"a"', "nul", "{'a':1}", '{"a":1,}']) {
    expect(readBody(body, nothing)).toMatchObject({ ok: false, code: "invalid_json" });
  }
  const overlong = Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]);
  expect(readBody(overlong, nothing)).toMatchObject({ ok: false, code: "invalid_json", message: "not valid UTF-8" });
});

test("an error never repeats the body", () => {
  expect(JSON.stringify(readBody('{"token":"secret', nothing))).not.toContain("secret");
});

test("a byte order mark before the object is allowed", () => {
  expect(readBody('\ufeff{"payload":1}', rawPayload)).toEqual({ ok: true, value: "1" });
});

test("nesting at the limit is read, one level more is refused before anything is built", () => {
  const nested = (levels: number): string => `{"payload":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}`;
  expect(readBody(nested(JSON_DEPTH_MAX), rawPayload)).toMatchObject({ ok: true });
  expect(readBody(nested(JSON_DEPTH_MAX + 1), rawPayload)).toMatchObject({
    ok: false,
    code: "invalid_request",
    message: `this is nested deeper than ${JSON_DEPTH_MAX} levels`,
  });
  expect(readBody(`{"payload":${"[".repeat(1_000_000)}`, rawPayload)).toMatchObject({ ok: false });
});

test("brackets inside strings are no nesting", () => {
  expect(readBody(`{"payload":"${"[{".repeat(1_000)}"}`, rawPayload)).toMatchObject({ ok: true });
});

test("a field that stands twice is refused by name, however it is escaped", () => {
  expect(readBody('{"payload":1,"\\u0070ayload":2}', rawPayload)).toEqual({
    ok: false,
    code: "invalid_request",
    message: "payload stands there twice",
    field: "payload",
  });
});

test("a field that nobody asked for is refused with its name and the names there are", () => {
  expect(readBody('{"payload":1,"payloud":2}', rawPayload)).toEqual({
    ok: false,
    code: "invalid_request",
    message: "payloud is not a field here; these are: payload",
    field: "payloud",
  });
  expect(readBody('{"__proto__":1}', nothing)).toMatchObject({ ok: false, field: "__proto__" });
});

test("an unknown field's name is repeated on one line and cut short", () => {
  const read = readBody(JSON.stringify({ [`a\nb${"c".repeat(500)}`]: 1 }), nothing);
  expect(read.ok ? "" : read.message.length).toBeLessThan(200);
  expect(read.ok ? "" : read.message).not.toContain("\n");
});

test("a missing field and one of the wrong kind name themselves", () => {
  expect(readBody("{}", rawPayload)).toMatchObject({ message: "payload is missing", field: "payload" });
  expect(readBody('{"a":1}', (fields) => fields.string("a"))).toMatchObject({ message: "a must be a string" });
  expect(readBody('{"a":null}', (fields) => fields.optionalString("a"))).toMatchObject({ ok: false });
  expect(readBody('{"a":"true"}', (fields) => fields.optionalBoolean("a"))).toMatchObject({ ok: false });
  expect(readBody('{"a":"b"}', (fields) => fields.choice("a", ["c", "d"]))).toMatchObject({
    message: "a must be one of c, d",
  });
});

test("a whole number is read at its limits and refused one past them", () => {
  const read = (value: string) => readBody(`{"n":${value}}`, (fields) => fields.optionalInteger("n", 1, 10));
  expect(read("1")).toEqual({ ok: true, value: 1 });
  expect(read("10")).toEqual({ ok: true, value: 10 });
  for (const wrong of ["0", "11", "1.5", '"1"', "true"]) expect(read(wrong)).toMatchObject({ ok: false, field: "n" });
});

test("a field inside a list names its place", () => {
  const read = (body: string) =>
    readBody(body, (fields) => fields.optionalObjects("messages", 3, (message) => message.raw("payload")));
  expect(read('{"messages":[{"payload":1}, {"payload" : {"a":[1]} } ]}')).toEqual({
    ok: true,
    value: ["1", '{"a":[1]}'],
  });
  expect(read('{"messages":[{"payload":1},{"payload":1},{}]}')).toMatchObject({ field: "messages[2].payload" });
  expect(read('{"messages":[{"payload":1,"x":2}]}')).toMatchObject({ field: "messages[0].x" });
  expect(read('{"messages":[1]}')).toMatchObject({ message: "messages[0] must be an object" });
  expect(read('{"messages":[{},{},{},{}]}')).toMatchObject({ message: "messages has 4 items, at most 3 are allowed" });
  expect(read('{"messages":{}}')).toMatchObject({ message: "messages must be an array" });
});

test("JSON text by itself is checked, trimmed, and named when it is wrong", () => {
  expect(readJsonText(' {"a":\n1} \r\n', "payload")).toEqual({ ok: true, value: '{"a": 1}' });
  expect(readJsonText("{", "payload")).toEqual({
    ok: false,
    code: "invalid_request",
    message: "payload is not JSON",
    field: "payload",
  });
});

test("a payload of a megabyte, of whatever shape, is read in time that grows with its size alone", () => {
  const many = (item: string): string =>
    `[${Array.from({ length: 1_048_576 / (item.length + 1) }, () => item).join(",")}]`;
  for (const payload of [
    `"${'\\"'.repeat(500_000)}"`,
    `"${"\\\\".repeat(500_000)}"`,
    many('"a"'),
    many("[]"),
    many("1"),
  ]) {
    const body = Buffer.from(`{"payload":${payload}}`);
    readBody(body, rawPayload);
    const startMs = performance.now();
    expect(readBody(body, rawPayload)).toEqual({ ok: true, value: payload });
    expect(performance.now() - startMs).toBeLessThan(1_000);
  }
});
