import { expect, test } from "vitest";
import type { Topic } from "#core/domain/topic.ts";
import { judgeManifests } from "../../operator/schema/manifests.ts";
import { longestTurn, STALL_MS } from "../harness/longest-turn.ts";

function manifests(count: number): string {
  const one = (index: number): string =>
    `apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {namespace: many, name: t-${index}}\nspec:\n  permissions: Public\n`;
  return Array.from({ length: count }, (_, index) => one(index)).join("---\n");
}

test("a file of many thousand Topics is read without holding the event loop", async () => {
  await judgeManifests(manifests(200), () => undefined);
  const text = manifests(4_000);
  const known: Topic["policy"][] = [];
  const longest = await longestTurn(async () => {
    for (const { verdict } of await judgeManifests(text, () => undefined)) {
      if (verdict.ok) known.push(verdict.manifest.policy);
    }
  });
  expect(known).toHaveLength(4_000);
  // What is the same is kept once.
  expect(new Set(known).size).toBe(1);
  expect(longest).toBeLessThan(STALL_MS);
});
