// A gateway's tracker against a store that fails when it likes, in a hand's clock.

import { expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import type { PresenceEmptied, PresenceOperation, PresenceStore } from "../../gateway/presence/presence.ts";
import { StoreTracker } from "../../gateway/presence/tracker.ts";
import { HandClock } from "../harness/hand-clock.ts";

const PLACED = { messageId: "", deliveredTo: 1, exact: false, dropped: false, reason: undefined, notDelivered: {} };
const PAGE = { members: [], count: 0, version: 1, nextCursor: undefined };
const ENTRY = {
  topicId: "shop.chat",
  userId: "alice",
  info: undefined,
  connectionId: "c1",
  subscriptionId: "s1",
  subscribedAtMs: 1,
};

/** Says when it was renewed, and does what a test makes of it. */
class FickleStore implements PresenceStore {
  renewals = 0;
  batches: (readonly PresenceOperation[])[] = [];
  toldAll = 0;
  isThere = true;
  refuses = false;
  #listener: ((why: PresenceEmptied) => void) | undefined;

  apply(_gateway: string, operations: readonly PresenceOperation[]) {
    if (!this.isThere || this.refuses) return Promise.reject(new EarshotError("presence_unavailable"));
    this.batches.push(operations);
    return Promise.resolve(operations.map(() => ({ changed: true, count: 1, version: 1 })));
  }
  list() {
    return this.isThere ? Promise.resolve(PAGE) : Promise.reject(new EarshotError("presence_unavailable"));
  }
  renewLease() {
    this.renewals += 1;
    return this.isThere ? Promise.resolve() : Promise.reject(new EarshotError("presence_unavailable"));
  }
  reap() {
    return Promise.resolve();
  }
  onGone() {}
  onEmptied(listener: (why: PresenceEmptied) => void) {
    this.#listener = listener;
  }
  allTold() {
    this.toldAll += 1;
  }
  empty(why: PresenceEmptied) {
    this.#listener?.(why);
  }
  close() {
    return Promise.resolve();
  }
}

function open() {
  const [store, clock] = [new FickleStore(), new HandClock()];
  const tracker = new StoreTracker({
    store,
    place: () => Promise.resolve(PLACED),
    incarnation: "g1",
    log: createLog("silent", {}),
    registry: createRegistry("gateway"),
    clock,
  });
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 5) {
      clock.advance(5);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { store, clock, tracker, pass };
}

test("a batch that fails the moment a renewal ends does not end the renewals", async () => {
  const { store, tracker, pass } = open();
  await pass(50);
  store.isThere = false;
  await pass(500);
  tracker.joined(ENTRY);
  // The renewal that finds it again is followed by the batch, which is refused at once.
  [store.isThere, store.refuses] = [true, true];
  await pass(2_000);
  const { renewals } = store;
  await pass(2_000);
  expect(store.renewals).toBeGreaterThan(renewals);
  store.refuses = false;
  await pass(500);
  expect(store.batches).toMatchObject([[{ kind: "join" }]]);
  await tracker.close();
});

test("after an outage longer than a lease lists are stale for a while, after a shorter one they are not", async () => {
  const { store, tracker, pass } = open();
  const isStale = async (): Promise<boolean> => (await tracker.snapshot("shop.chat", 10, undefined)).stale;
  await pass(100);
  expect(await isStale()).toBe(false);
  for (const [outageMs, stale] of [
    [500, false],
    [3_000, true],
  ] as const) {
    store.isThere = false;
    await pass(outageMs);
    expect(await isStale()).toBe(true);
    store.isThere = true;
    await pass(600);
    expect(await isStale()).toBe(stale);
  }
  await pass(1_000);
  expect(await isStale()).toBe(false);
  await tracker.close();
});

test("a store in other hands is told all again, and then that it was all", async () => {
  const { store, tracker, pass } = open();
  tracker.joined(ENTRY);
  await pass(100);
  expect(store.batches).toHaveLength(1);
  store.empty("moved");
  const { toldAll } = store;
  await pass(10);
  expect(store.toldAll).toBe(toldAll);
  await pass(500);
  expect(store.batches[1]).toEqual([{ kind: "join", entry: ENTRY }]);
  expect(store.toldAll).toBeGreaterThan(toldAll);
  await tracker.close();
});
