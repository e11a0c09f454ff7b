// How long whoever lost something waits before the next try: the supervisor's figures are taken as an example.

import { expect, test } from "vitest";
import { Backoff } from "#core/runtime/backoff.ts";

const RESTARTS = { firstMs: 500, maxMs: 30_000 };

test("the longest wait doubles with every try up to its cap, and stays there", () => {
  const backoff = new Backoff({ ...RESTARTS, random: () => 1 });
  const waits = Array.from({ length: 9 }, () => backoff.next());
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
});

test("the shortest wait is half of the longest", () => {
  const backoff = new Backoff({ ...RESTARTS, random: () => 0 });
  const waits = Array.from({ length: 8 }, () => backoff.next());
  expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
});

test("after a thousand tries the wait is still a number at its cap, and a success begins anew", () => {
  const backoff = new Backoff({ ...RESTARTS, random: () => 1 });
  for (let tries = 0; tries < 1_000; tries++) backoff.next();
  expect(backoff.next()).toBe(30_000);
  backoff.reset();
  expect(backoff.next()).toBe(500);
});
