import * as fc from "fast-check";
import { expect, test } from "vitest";
import { anyMatches, isPattern, matches } from "#core/domain/capability.ts";

const id = fc.stringMatching(/^[a-z0-9]{1,6}\.[a-z0-9]{1,6}(:[A-Za-z0-9.~:]{1,6})?$/);
const letters = fc.string({ unit: fc.constantFrom("a", "b", ".", ":", "-", "_", "~", "Z", "0"), maxLength: 12 });

test("the star alone covers everything", () => {
  fc.assert(fc.property(id, (topicId) => matches("*", topicId)));
});

test("an id covers itself and no other", () => {
  fc.assert(fc.property(id, id, (one, other) => matches(one, other) === (one === other)));
});

test("a beginning with a star covers exactly the ids that begin so", () => {
  fc.assert(fc.property(id, fc.nat(20), (topicId, cut) => matches(`${topicId.slice(0, cut)}*`, topicId)));
  fc.assert(fc.property(letters, id, (start, topicId) => matches(`${start}*`, topicId) === topicId.startsWith(start)));
});

test("a longer beginning never covers more", () => {
  fc.assert(
    fc.property(letters, letters, id, (start, more, topicId) => {
      return !matches(`${start}${more}*`, topicId) || matches(`${start}*`, topicId);
    }),
  );
});

test("a list covers what any of its patterns covers, and an empty one nothing", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(letters, fc.boolean())), id, (parts, topicId) => {
      const patterns = parts.map(([start, star]) => (star ? `${start}*` : start));
      return anyMatches(patterns, topicId) === patterns.some((pattern) => matches(pattern, topicId));
    }),
  );
  fc.assert(fc.property(id, (topicId) => !anyMatches([], topicId)));
});

test("a star anywhere but at the end is no pattern", () => {
  fc.assert(fc.property(letters, letters, (before, after) => after === "" || !isPattern(`${before}*${after}`)));
  for (const wrong of ["", "**", "*a", "a**", "a b", "a/b", "a%", "é*", "a\n", "a.b?", "[a-z]*"]) {
    expect(isPattern(wrong), wrong).toBe(false);
  }
  for (const right of ["*", "a*", "a.b", "shop.*", "shop.chat:*", "shop.chat:room-42"]) {
    expect(isPattern(right), right).toBe(true);
  }
});

test("a pattern is as long as a topic id with its channel may be, and not much longer", () => {
  expect(isPattern(`${"a".repeat(399)}*`)).toBe(true);
  expect(isPattern(`${"a".repeat(400)}*`)).toBe(false);
});
