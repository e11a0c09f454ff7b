import { expect, test } from "vitest";
import { type HotState, nextHot } from "../../operator/reconcile/hot.ts";

const THRESHOLDS = { on: 1_000, off: 800 };

/** Runs a Topic's counts, one a second, and answers when it changed and to what. */
function run(counts: readonly number[]): string[] {
  let state: HotState | undefined;
  const changes: string[] = [];
  for (const [second, count] of counts.entries()) {
    const before = state?.hot ?? false;
    state = nextHot(state, count, second * 1_000, THRESHOLDS);
    if ((state?.hot ?? false) !== before) changes.push(`${second}: ${state?.hot ?? false}`);
  }
  return changes;
}

function seconds(count: number, subscriptions: number): number[] {
  return Array.from({ length: count }, () => subscriptions);
}

test("a Topic is hot at 1,000 subscriptions at once, and not at 999", () => {
  expect(run([0, 999, 1_000])).toEqual(["2: true"]);
  expect(run(seconds(100, 999))).toEqual([]);
});

test("it cools down when it has been below 800 for a minute, not at 800 and not after shorter dips", () => {
  expect(run([1_000, ...seconds(200, 799)])).toEqual(["0: true", "61: false"]);
  expect(run([1_000, ...seconds(200, 800)])).toEqual(["0: true"]);
  const dips = [1_000, ...Array.from({ length: 10 }, () => [...seconds(50, 0), 900]).flat()];
  expect(run(dips)).toEqual(["0: true"]);
});

test("it changes at most once a minute, however its counts swing", () => {
  const swing = Array.from({ length: 600 }, (_, second) => (second % 2 === 0 ? 2_000 : 0));
  expect(run(swing)).toEqual(["0: true"]);
  const slow = [1_000, ...seconds(61, 0), ...seconds(120, 5_000)];
  expect(run(slow)).toEqual(["0: true", "61: false", "121: true"]);
});

test("a Topic that nobody reports costs nothing", () => {
  expect(nextHot(undefined, 0, 0, THRESHOLDS)).toBeUndefined();
  let state = nextHot(undefined, 1_000, 0, THRESHOLDS);
  for (const nowMs of [1_000, 62_000, 122_000]) state = nextHot(state, 0, nowMs, THRESHOLDS);
  expect(state).toBeUndefined();
});
