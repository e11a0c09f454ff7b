import { expect, test } from "vitest";
import { type Ceilings, lower } from "../../operator/reconcile/ceilings.ts";
import { readSpec } from "../../operator/schema/judge.ts";

function policyOf(spec: unknown) {
  const read = readSpec(spec);
  if (!read.ok) throw new Error(read.reason);
  return read.policy;
}

const CEILINGS: Ceilings = { maxMessageBytes: 1_000, maxPublishesPerSecond: 50, maxSubscribers: 20, maxChannels: 10 };
const NONE: Ceilings = { maxMessageBytes: 0, maxPublishesPerSecond: 0, maxSubscribers: 0, maxChannels: 0 };

test("what is at its ceiling stays, and is not said", () => {
  const policy = policyOf({
    delivery: { maxMessageBytes: 1_000 },
    limits: { maxPublishesPerSecond: 50, maxSubscribers: 20, maxChannels: 10 },
  });
  const { policy: carried, clamped } = lower(policy, CEILINGS);
  expect(carried).toBe(policy);
  expect(clamped).toBeUndefined();
});

test.each([
  ["delivery", "maxMessageBytes", 1_001, 1_000],
  ["limits", "maxPublishesPerSecond", 51, 50],
  ["limits", "maxSubscribers", 21, 20],
  ["limits", "maxChannels", 11, 10],
] as const)("%s.%s one above its ceiling is lowered to it, and named", (group, field, wanted, ceiling) => {
  const fits = {
    limits: { maxPublishesPerSecond: 1, maxSubscribers: 1, maxChannels: 1 },
    delivery: { maxMessageBytes: 1 },
  };
  const { policy, clamped } = lower(policyOf({ ...fits, [group]: { ...fits[group], [field]: wanted } }), CEILINGS);
  expect(policy[field]).toBe(ceiling);
  expect(clamped).toBe(`spec.${group}.${field} is ${wanted}, and this installation carries ${ceiling} at most`);
});

test("a Topic without a limit of its own gets the ceiling, and all that is lowered is said", () => {
  const { policy, clamped } = lower(
    policyOf({ delivery: { maxMessageBytes: 10 }, limits: { maxPublishesPerSecond: 0 } }),
    CEILINGS,
  );
  expect(policy).toMatchObject({ maxPublishesPerSecond: 50, maxSubscribers: 20, maxChannels: 10, maxMessageBytes: 10 });
  expect(clamped?.split("; ")).toHaveLength(3);
  expect(clamped).toContain("maxPublishesPerSecond is 0 (no limit), and");
});

test("without ceilings nothing is lowered", () => {
  const policy = policyOf({ delivery: { maxMessageBytes: 1_048_576 }, limits: { maxPublishesPerSecond: 0 } });
  expect(lower(policy, NONE)).toEqual({ policy, clamped: undefined });
});
