import * as fc from "fast-check";
import { expect, test } from "vitest";
import { POLICY_DEFAULTS, type Topic } from "#core/domain/topic.ts";
import { topicToRecord } from "#core/fleet/topic-codec.ts";
import { TopicTable } from "#core/fleet/topic-table.ts";

function topic(name: number, maxMessageBytes: number): Topic {
  const policy = { ...POLICY_DEFAULTS, maxMessageBytes };
  return { key: `shop.t${name}`, namespace: "shop", name: `t${name}`, createdAtMs: 1, policy, httpManaged: false };
}

const someTopics = fc.uniqueArray(fc.tuple(fc.nat({ max: 9 }), fc.integer({ min: 1, max: 3 })), {
  selector: ([name]) => name,
  maxLength: 6,
});
const anyPush = fc.record({
  topicsReset: fc.boolean(),
  topicsComplete: fc.boolean(),
  topics: someTopics.map((pairs) => pairs.map(([name, bytes]) => topic(name, bytes))),
  removed: fc.array(
    fc.nat({ max: 9 }).map((name) => `shop.t${name}`),
    { maxLength: 2 },
  ),
  /** The stream that brought the list was lost right after. */
  abandoned: fc.boolean(),
});

test("whatever pushes come, listeners hear exactly the differences, and the table is what the pushes say", () => {
  fc.assert(
    fc.property(fc.array(anyPush, { maxLength: 20 }), (pushes) => {
      const heard = new Map<string, Topic>();
      const table = new TopicTable(({ key, before, after }) => {
        expect(before).toEqual(heard.get(key));
        expect(after).not.toEqual(before);
        if (after === undefined) heard.delete(key);
        else heard.set(key, after);
      });
      const model = new Map<string, Topic>();
      let listed: Set<string> | undefined;
      for (const push of pushes) {
        if (push.topicsReset) listed = new Set();
        for (const one of push.topics) {
          model.set(one.key, one);
          listed?.add(one.key);
        }
        for (const key of push.removed) {
          model.delete(key);
          listed?.delete(key);
        }
        if (push.topicsComplete && listed !== undefined) {
          for (const key of model.keys()) if (!listed.has(key)) model.delete(key);
          listed = undefined;
        }
        const steps = table.apply({
          topicsReset: push.topicsReset,
          topics: push.topics.map(topicToRecord),
          removedTopics: push.removed,
          topicsComplete: push.topicsComplete,
        });
        for (const _step of steps) expect(table.topics.size).toBeLessThanOrEqual(10);
        if (push.abandoned) {
          table.abandonList();
          listed = undefined;
        }
        expect(new Map(table.topics)).toEqual(model);
        expect(heard).toEqual(model);
        const sizes = [...model.values()].map(({ policy }) => policy.maxMessageBytes);
        expect(table.largestMessageBytes).toBe(
          sizes.length === 0 ? POLICY_DEFAULTS.maxMessageBytes : Math.max(...sizes),
        );
      }
    }),
    { numRuns: 300 },
  );
});

test("a table is complete from the end of its first full list on, and not after a delta", () => {
  const table = new TopicTable(() => undefined);
  const push = { topicsReset: false, topics: [], removedTopics: [], topicsComplete: false };
  for (const _step of table.apply({ ...push, topicsComplete: true })) continue;
  expect(table.complete).toBe(false);
  for (const _step of table.apply({ ...push, topicsReset: true })) continue;
  expect(table.complete).toBe(false);
  for (const _step of table.apply({ ...push, topicsComplete: true })) continue;
  expect(table.complete).toBe(true);
});
