import * as fc from "fast-check";
import { expect, test } from "vitest";
import { readJsonObject, readJsonText } from "#core/domain/json-text.ts";

/** JSON space of every kind, line ends too. */
const space = fc.string({ unit: fc.constantFrom(" ", "\t", "\n", "\r", "\r\n"), maxLength: 3 });

/** A JSON string as some writer might write it: escapes chosen at will. */
const stringText = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 4 }).map((text) => JSON.stringify(text).slice(1, -1)),
      fc.constantFrom(
        "\\n",
        "\\\\",
        '\\"',
        "\\/",
        "\\ud800",
        "\\u2028",
        "\u2028",
        "\u2029",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
      ),
    ),
    { maxLength: 6 },
  )
  .map((parts) => `"${parts.join("")}"`);

const numberText = fc.oneof(
  fc.bigInt().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
  fc.constantFrom("123456789012345678901234567890", "1e400", "-0", "0.10000000000000000000001", "1E+2"),
);

const { value: valueText } = fc.letrec<{ value: string; array: string; object: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    stringText,
    numberText,
    fc.constantFrom("true", "false", "null"),
    tie("array"),
    tie("object"),
  ),
  array: fc
    .array(fc.tuple(space, tie("value"), space), { maxLength: 4 })
    .map((items) => `[${items.map((item) => item.join("")).join(",")}]`),
  // Keys may repeat and may be `__proto__`: a payload's inside is nobody's business.
  object: fc
    .array(fc.tuple(space, fc.oneof(stringText, fc.constant('"__proto__"')), space, space, tie("value"), space), {
      maxLength: 4,
    })
    .map((members) => {
      const texts = members.map(([a, key, b, c, value, d]) => `${a}${key}${b}:${c}${value}${d}`);
      return `{${texts.join(",")}}`;
    }),
}));

const withoutLineEnds = (text: string): string => text.replaceAll(/[\r\n]/g, " ");

test("a payload comes out byte for byte, but for line ends between tokens", () => {
  fc.assert(
    fc.property(valueText, space, space, space, space, space, (payload, a, b, c, d, e) => {
      const body = `${a}{${b}"payload"${c}:${d}${payload}${e},"topic_id":"a.b"}${a}`;
      const read = readJsonObject(Buffer.from(body), (fields) => [fields.raw("payload"), fields.string("topic_id")]);
      expect(read).toEqual({ ok: true, value: [wellFormed(withoutLineEnds(payload)), "a.b"] });
    }),
  );
});

/** What UTF-8 can carry: a lone surrogate becomes U+FFFD when the test's own text is encoded. */
function wellFormed(text: string): string {
  return text.toWellFormed();
}

test("payloads of many messages in one body come out byte for byte, each in its place", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(valueText, space), { maxLength: 5 }), (messages) => {
      const items = messages.map(([payload, gap]) => `${gap}{"payload":${gap}${payload}}${gap}`);
      const read = readJsonObject(Buffer.from(`{"messages":[${items.join(",")}]}`), (fields) =>
        fields.optionalObjects("messages", 5, (message) => message.raw("payload")),
      );
      expect(read).toEqual({ ok: true, value: messages.map(([payload]) => wellFormed(withoutLineEnds(payload))) });
    }),
  );
});

test("JSON text by itself comes out without the space around it, and means the same", () => {
  fc.assert(
    fc.property(valueText, space, space, (payload, a, b) => {
      expect(readJsonText(a + payload + b, "payload")).toEqual({ ok: true, value: withoutLineEnds(payload) });
    }),
  );
});

test("no bytes at all make it throw, hang or accept what JSON.parse refuses", () => {
  const almostJson = valueText.chain((text) =>
    fc.tuple(fc.nat(text.length), fc.string({ maxLength: 2 })).map(([at, junk]) => text.slice(0, at) + junk),
  );
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    almostJson.map((text) => new Uint8Array(Buffer.from(text))),
    almostJson.map((text) => new Uint8Array(Buffer.from(`{"payload":${text}}`))),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      const read = readJsonObject(input, (fields) => {
        fields.ignoreOthers();
        return fields.optionalRaw("payload");
      });
      if (!read.ok) return;
      const parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(input)) as { payload?: unknown };
      if (read.value !== undefined) expect(JSON.parse(read.value)).toEqual(parsed.payload);
    }),
    { numRuns: 1_000 },
  );
});
