import { expect, test } from "vitest";
import type { Topic } from "#core/domain/topic.ts";
import { judgeManifests } from "../../operator/schema/manifests.ts";

/** Milliseconds of processor time that work may take between two turns of the event loop. */
const STALL_MS = 50;

/** Runs work and answers the most processor time that passed between two turns of the event loop meanwhile. */
async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let isRunning = true;
  let before = process.threadCpuUsage();
  const look = (): void => {
    const { user, system } = process.threadCpuUsage(before);
    longest = Math.max(longest, (user + system) / 1_000);
    before = process.threadCpuUsage();
    if (isRunning) setImmediate(look);
  };
  setImmediate(look);
  await work();
  isRunning = false;
  return longest;
}

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
