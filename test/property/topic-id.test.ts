import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CHANNEL_BYTES_MAX, NAMESPACE_BYTES_MAX, SHARD_COUNT, TOPIC_NAME_BYTES_MAX } from "#core/domain/limits.ts";
import { shardOf } from "#core/domain/shard.ts";
import { parseTopicId } from "#core/domain/topic-id.ts";

const label = (maxLength: number) => fc.stringMatching(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, { maxLength });
const namespace = label(NAMESPACE_BYTES_MAX);
const name = fc
  .array(label(40), { minLength: 1, maxLength: 4 })
  .map((labels) => labels.join("."))
  .filter((text) => text.length <= TOPIC_NAME_BYTES_MAX);
const channel = fc.stringMatching(/^[A-Za-z0-9\-_.~:]+$/, { maxLength: CHANNEL_BYTES_MAX });

test("a topic id comes apart into what it was made of", () => {
  fc.assert(
    fc.property(namespace, name, fc.option(channel, { nil: undefined }), (itsNamespace, itsName, itsChannel) => {
      const topic = `${itsNamespace}.${itsName}`;
      const id = itsChannel === undefined ? topic : `${topic}:${itsChannel}`;
      const value = { id, topic, namespace: itsNamespace, name: itsName, channel: itsChannel };
      expect(parseTopicId(id)).toEqual({ ok: true, value });
    }),
  );
});

test("whatever is accepted can be put together again, and holds nothing but the grammar's letters", () => {
  const near = fc.string({
    unit: fc.constantFrom("a", "0", "-", ".", ":", "/", "%", "_", "~", "A", " ", "\n", "é", "\0"),
    maxLength: 20,
  });
  fc.assert(
    fc.property(fc.oneof(near, fc.string(), fc.string({ unit: "binary" })), (text) => {
      const parsed = parseTopicId(text);
      if (!parsed.ok) {
        expect(parsed.reason).not.toBe("");
        return;
      }
      const { id, topic, namespace: itsNamespace, name: itsName, channel: itsChannel } = parsed.value;
      expect(id).toBe(text);
      expect(topic).toBe(`${itsNamespace}.${itsName}`);
      expect(itsChannel === undefined ? topic : `${topic}:${itsChannel}`).toBe(text);
      expect(text).toMatch(/^[a-z0-9-]+\.[a-z0-9.-]+(:[A-Za-z0-9\-_.~:]+)?$/);
      expect(shardOf(id)).toBeLessThan(SHARD_COUNT);
    }),
    { numRuns: 2_000 },
  );
});

test("every part is taken at its longest and refused one character past it", () => {
  const id = (namespaceLength: number, nameLength: number, channelLength: number): string =>
    `${"n".repeat(namespaceLength)}.${"a".repeat(nameLength)}:${"c".repeat(channelLength)}`;
  const longest = [NAMESPACE_BYTES_MAX, TOPIC_NAME_BYTES_MAX, CHANNEL_BYTES_MAX] as const;
  expect(parseTopicId(id(...longest)).ok).toBe(true);
  for (const part of [0, 1, 2]) {
    const [a, b, c] = longest.map((length, index) => (index === part ? length + 1 : length));
    expect(parseTopicId(id(a ?? 0, b ?? 0, c ?? 0)).ok).toBe(false);
  }
});

test("path tricks, other cases, empty parts and other alphabets are refused", () => {
  for (const id of [
    "",
    ".",
    "a",
    "a.",
    ".b",
    "a..b",
    "../a.b",
    "a.b/../c",
    "a.b%2fc",
    "A.b",
    "a.B",
    "a.b:",
    "a.b:c/d",
    "a.b:c d",
    "a.b:é",
    "a.b\n",
    "a.b:c\n",
    "a.b\0",
    "-a.b",
    "a-.b",
    "a.-b",
    "a.b-",
    "а.b",
    " a.b",
    "a.b?x=1",
    "a.b#c",
  ]) {
    expect(parseTopicId(id), id).toMatchObject({ ok: false });
  }
});
