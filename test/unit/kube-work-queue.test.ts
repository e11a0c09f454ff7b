// The work queue of the operator, with time in the hand.

import pino from "pino";
import { afterEach, expect, test } from "vitest";
import { createRegistry } from "#core/runtime/metrics.ts";
import { KubeError } from "../../operator/kube/api.ts";
import { WorkQueue } from "../../operator/kube/work-queue.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { metricIn } from "../harness/metrics.ts";
import { settled } from "../harness/settled.ts";

const queues: WorkQueue[] = [];

afterEach(async () => {
  for (const queue of queues.splice(0)) await queue.close();
});

/** A queue whose handler waits until it is let go on, and then fails where `failures` has an error for the key. */
function queueOf(concurrency = 2) {
  const clock = new HandClock();
  const registry = createRegistry("operator");
  const handled: string[] = [];
  const inHand = new Map<string, () => void>();
  const failures = new Map<string, Error>();
  const state = { holds: false };
  const queue = new WorkQueue({
    name: "topics",
    concurrency,
    clock,
    registry,
    log: pino({ level: "silent" }),
    random: () => 1,
    handle: async (key) => {
      handled.push(key);
      if (state.holds) await new Promise<void>((resolve) => inHand.set(key, resolve));
      inHand.delete(key);
      const failure = failures.get(key);
      if (failure !== undefined) throw failure;
    },
  });
  queues.push(queue);
  const pass = async (ms: number): Promise<void> => {
    await settled();
    clock.advance(ms);
    await settled();
  };
  return { clock, registry, queue, handled, inHand, failures, state, pass };
}

function away(retryAfterMs?: number): KubeError {
  return new KubeError("nobody there", { status: 0, reason: "NoAnswer", retryAfterMs });
}

test("a key that is added several times before it is handled is handled once", async () => {
  const { queue, handled } = queueOf();
  for (let round = 0; round < 3; round++) for (const key of ["a", "b", "c"]) queue.add(key);
  expect(queue.depth).toBe(3);
  expect(handled).toEqual([]);
  await settled();
  expect(handled).toEqual(["a", "b", "c"]);
  expect(queue.depth).toBe(0);
});

test("no more keys are in hand than it has workers, and none twice", async () => {
  const { queue, handled, inHand, state } = queueOf(2);
  state.holds = true;
  for (const key of ["a", "b", "c"]) queue.add(key);
  await settled();
  queue.add("a");
  queue.add("a");
  await settled();
  expect([...inHand.keys()]).toEqual(["a", "b"]);
  inHand.get("a")?.();
  await settled();
  expect(handled).toEqual(["a", "b", "c"]);
  inHand.get("b")?.();
  await settled();
  expect(handled).toEqual(["a", "b", "c", "a"]);
  state.holds = false;
  for (const release of inHand.values()) release();
  await settled();
  expect(handled).toHaveLength(4);
});

test("a key that fails waits longer and longer, up to a minute, and others do not wait for it", async () => {
  const { clock, queue, handled, failures } = queueOf();
  failures.set("bad", new Error("wrong"));
  queue.add("bad");
  const waits: number[] = [];
  let lastMs = clock.monotonic();
  for (let tries = 1; tries < 14; tries++) {
    await settled();
    while (handled.length === tries) {
      clock.advance(10);
      await settled();
      if (clock.monotonic() - lastMs > 70_000) break;
    }
    waits.push(clock.monotonic() - lastMs);
    lastMs = clock.monotonic();
  }
  expect(waits.slice(0, 5)).toEqual([50, 100, 200, 400, 800]);
  expect(waits.at(-1)).toBe(60_000);
  queue.add("good");
  await settled();
  expect(handled.at(-1)).toBe("good");
});

test("after a success its next failure waits as the first one did", async () => {
  const { queue, handled, failures, pass } = queueOf();
  failures.set("a", new Error("wrong"));
  queue.add("a");
  for (const ms of [50, 100, 200]) await pass(ms);
  expect(handled).toHaveLength(4);
  failures.clear();
  await pass(400);
  expect(handled).toHaveLength(5);
  failures.set("a", new Error("wrong again"));
  queue.add("a");
  await settled();
  await pass(50);
  expect(handled).toHaveLength(7);
});

test("a key that is added while it waits after a failure is handled at once, and no more often", async () => {
  const { queue, handled, failures, pass } = queueOf();
  failures.set("a", new Error("wrong"));
  queue.add("a");
  await settled();
  failures.clear();
  queue.add("a");
  await settled();
  expect(handled).toHaveLength(2);
  await pass(120_000);
  expect(handled).toHaveLength(2);
});

test("what the API server asks for is waited for", async () => {
  const { queue, handled, failures, pass } = queueOf();
  failures.set("a", new KubeError("slow down", { status: 429, reason: "TooManyRequests", retryAfterMs: 7_000 }));
  queue.add("a");
  await settled();
  failures.clear();
  queue.add("b");
  await pass(6_900);
  // The whole queue was asked.
  expect(handled).toEqual(["a"]);
  await pass(100);
  expect(handled.toSorted()).toEqual(["a", "a", "b"]);
});

test("while the API server is away, an outage costs a try now and then, however many keys wait", async () => {
  const { queue, handled, failures, pass } = queueOf(8);
  for (let index = 0; index < 1_000; index++) {
    failures.set(`key-${index}`, away());
    queue.add(`key-${index}`);
  }
  await settled();
  for (let second = 0; second < 60; second++) await pass(1_000);
  // Those in hand when it began, then one each 0.2, 0.4, ... 10 s.
  expect(handled.length).toBeLessThan(8 + 14);
  expect(handled.length).toBeGreaterThan(8 + 5);
  failures.clear();
  handled.length = 0;
  await pass(10_000);
  for (let turn = 0; turn < 100; turn++) await settled();
  await pass(60_000);
  for (let turn = 0; turn < 100; turn++) await settled();
  expect(new Set(handled).size).toBe(1_000);
  expect(handled.length).toBe(1_000);
});

test("an answer that refuses one key shows that the API server is there", async () => {
  const { queue, handled, failures, pass } = queueOf(1);
  failures.set("a", away());
  queue.add("a");
  await settled();
  failures.set("b", new KubeError("no", { status: 403, reason: "Forbidden" }));
  for (const key of ["b", "c", "d"]) queue.add(key);
  await pass(200);
  expect(handled).toEqual(expect.arrayContaining(["a", "b", "c", "d"]));
});

test("a key is added later at the earliest of the times that were asked for, or when it is added before", async () => {
  const { queue, handled, pass } = queueOf();
  queue.addAfter("a", 5_000);
  queue.addAfter("a", 1_000);
  queue.addAfter("a", 9_000);
  queue.addAfter("b", 1_000);
  queue.add("b");
  await settled();
  expect(handled).toEqual(["b"]);
  await pass(999);
  expect(handled).toEqual(["b"]);
  await pass(1);
  expect(handled).toEqual(["b", "a"]);
  await pass(60_000);
  expect(handled).toEqual(["b", "a"]);
});

test("closing lets what is in hand come to its end, and begins nothing more", async () => {
  const { clock, queue, handled, inHand, state, failures } = queueOf(1);
  state.holds = true;
  failures.set("a", new Error("wrong"));
  for (const key of ["a", "b"]) queue.add(key);
  queue.addAfter("c", 10);
  await settled();
  let isClosed = false;
  const closed = queue.close().then(() => (isClosed = true));
  await settled();
  expect(isClosed).toBe(false);
  inHand.get("a")?.();
  await closed;
  queue.add("d");
  queue.addAfter("e", 1);
  clock.advance(100_000);
  await settled();
  expect(handled).toEqual(["a"]);
  expect(clock.pending).toBe(0);
});

test("what hangs does not hold up closing for longer than a component may take", async () => {
  const { clock, queue, state } = queueOf(1);
  state.holds = true;
  queue.add("a");
  await settled();
  const closed = queue.close();
  clock.advance(1_000);
  await closed;
  expect(clock.pending).toBe(0);
});

test("it counts what controller-runtime counts, under its names", async () => {
  const { clock, registry, queue, inHand, failures, state, pass } = queueOf(1);
  const metric = async (name: string, labels = 'name="topics"'): Promise<number> =>
    metricIn(await registry.metrics(), name, labels);
  expect(await metric("workqueue_adds_total")).toBe(0);
  expect(await metric("workqueue_work_duration_seconds_count")).toBe(0);
  state.holds = true;
  for (const key of ["a", "b"]) queue.add(key);
  await settled();
  clock.advance(3_000);
  expect(await metric("workqueue_adds_total")).toBe(2);
  expect(await metric("workqueue_depth")).toBe(1);
  expect(await metric("workqueue_unfinished_work_seconds")).toBe(3);
  failures.set("a", new Error("wrong"));
  state.holds = false;
  inHand.get("a")?.();
  await settled();
  failures.clear();
  await pass(50);
  expect(await metric("workqueue_depth")).toBe(0);
  expect(await metric("workqueue_retries_total")).toBe(1);
  expect(await metric("workqueue_work_duration_seconds_count")).toBe(3);
  expect(await metric("workqueue_work_duration_seconds_sum")).toBe(3);
  expect(await metric("workqueue_queue_duration_seconds_sum")).toBe(3);
  const labels = 'controller="topics",result=';
  expect(await metric("controller_runtime_reconcile_total", `${labels}"success"`)).toBe(2);
  expect(await metric("controller_runtime_reconcile_total", `${labels}"error"`)).toBe(1);
  expect(await metric("controller_runtime_reconcile_errors_total", 'controller="topics"')).toBe(1);
  expect(await metric("controller_runtime_reconcile_time_seconds_count", 'controller="topics"')).toBe(3);
});

test("handlers that wait for nothing do not hold the event loop", async () => {
  const { queue, handled } = queueOf(4);
  for (let index = 0; index < 10_000; index++) queue.add(`key-${index}`);
  let turns = 0;
  while (handled.length < 10_000) {
    turns += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(turns).toBeGreaterThan(1_000);
});
