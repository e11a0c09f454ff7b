import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseJsonObject } from "#core/edge/json-body.ts";
import type { PublishInput } from "#core/edge/edge.ts";
import { decodeBase64, readPublishFields } from "#core/edge/publish-fields.ts";

function read(body: unknown, topicId?: string): PublishInput {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return parseJsonObject(Buffer.from(text), (fields) => readPublishFields(fields, topicId));
}

function refusalOf(body: unknown, topicId?: string): unknown {
  try {
    return read(body, topicId);
  } catch (error) {
    const { code, message, field } = error as { code: string; message: string; field: string };
    return { code, message, field };
  }
}

test("a payload is enough where the path names the topic; what is left out is the default", () => {
  expect(read('{"payload": {"b":1,"a":12345678901234567890} }', "shop.chat")).toEqual({
    topicId: "shop.chat",
    content: { kind: "json", text: '{"b":1,"a":12345678901234567890}' },
    priority: undefined,
    receipt: "router",
    excludeConnectionId: "",
  });
});

test("null, false and an empty string are payloads; no payload is none", () => {
  for (const text of ["null", "false", '""', "0"]) {
    expect(read(`{"payload":${text}}`, "a.b").content).toEqual({ kind: "json", text });
  }
  expect(refusalOf("{}", "a.b")).toMatchObject({ code: "invalid_request", field: "payload" });
});

test("everything that may be said is read", () => {
  const body = {
    topic_id: "shop.chat",
    payload: "AAEC",
    encoding: "base64",
    priority: "Low",
    receipt: "gateway",
    exclude_connection_id: "g1-7",
  };
  expect(read(body)).toEqual({
    topicId: "shop.chat",
    content: { kind: "binary", bytes: Buffer.from([0, 1, 2]) },
    priority: "Low",
    receipt: "gateway",
    excludeConnectionId: "g1-7",
  });
});

test("what is wrong is refused by name", () => {
  const wrong: readonly (readonly [object, string])[] = [
    [{ payload: 1 }, "topic_id"],
    [{ topic_id: 1, payload: 1 }, "topic_id"],
    [{ topic_id: "a.b", payload: 1, priority: "High" }, "priority"],
    [{ topic_id: "a.b", payload: 1, receipt: "none" }, "receipt"],
    [{ topic_id: "a.b", payload: 1, exclude_connection_id: "x".repeat(65) }, "exclude_connection_id"],
    [{ topic_id: "a.b", payload: 1, encoding: "hex" }, "encoding"],
    [{ topic_id: "a.b", payload: 1, encoding: "base64" }, "payload"],
    [{ topic_id: "a.b", payload: "AAE", encoding: "base64" }, "payload"],
    [{ topic_id: "a.b", payload: 1, payloads: 2 }, "payloads"],
  ];
  for (const [body, field] of wrong) expect(refusalOf(body)).toMatchObject({ code: "invalid_request", field });
  expect(refusalOf({ topic_id: "a.b", payload: 1 }, "a.b")).toMatchObject({ field: "topic_id" });
});

test("base64 is read back as the bytes it was made of", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      expect(decodeBase64(Buffer.from(bytes).toString("base64"))).toEqual(Buffer.from(bytes));
    }),
  );
});

test("text that is not the one way to write its bytes is no base64", () => {
  for (const text of [
    "A",
    "AA",
    "AAA",
    "AA=",
    "AAA==",
    "=",
    "====",
    "A===",
    "AA==AA==",
    "AB==",
    "AAB=",
    "A A=",
    "AA\n=",
    "-_-_",
    "é===",
  ]) {
    expect(decodeBase64(text), text).toBeUndefined();
  }
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom("A", "B", "/", "+", "=", "-", " ", "z"), maxLength: 12 }), (text) => {
      const bytes = decodeBase64(text);
      return bytes === undefined || Buffer.from(bytes).toString("base64") === text;
    }),
  );
});
