// The real presence process, with gateways' trackers in the test: what it decides, and what happens when it dies.

import { afterEach, beforeEach, expect, test } from "vitest";
import { type PeerDirectory, watchPeers } from "#core/fleet/peers.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import type { PresenceOrder } from "../../gateway/presence/changes.ts";
import type { PresenceEntry } from "../../gateway/presence/presence.ts";
import { RemotePresenceStore } from "../../gateway/presence/remote-store.ts";
import { StoreTracker } from "../../gateway/presence/tracker.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { until } from "../harness/until.ts";

const TOPIC = "shop.chat";
const SECRET = "a test's peer secret";
const PLACED = { messageId: "", deliveredTo: 1, exact: false, dropped: false, reason: undefined, notDelivered: {} };

let fleet: TestFleet;
let peers: PeerDirectory;
let closers: (() => Promise<void>)[] = [];
const log = createLog("silent", {});

beforeEach(async () => {
  fleet = await startFleet({ operators: 0, routers: 0, gateways: 0 });
  peers = watchPeers(`folder:${fleet.peersFolder}`, log);
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  closers = [];
  await peers.close();
  await fleet.close();
});

/** What subscribers were told: `+alice`, `-alice`, with the count of the highest version. */
interface Told {
  readonly changes: string[];
  count: number;
  version: number;
}

function newTold(): Told {
  return { changes: [], count: 0, version: 0 };
}

function hear(told: Told, { update }: PresenceOrder): void {
  for (const { userId } of update.joined) told.changes.push(`+${userId}`);
  for (const { userId } of update.left) told.changes.push(`-${userId}`);
  if (update.version > told.version) [told.count, told.version] = [update.count, update.version];
}

function track(incarnation: string, told: Told, clock: Clock = SYSTEM_CLOCK): StoreTracker {
  const tracker = new StoreTracker({
    store: new RemotePresenceStore(peers, secretIdentity(SECRET)),
    place: (order) => {
      hear(told, order);
      return Promise.resolve(PLACED);
    },
    incarnation,
    log,
    registry: createRegistry("gateway"),
    clock,
  });
  closers.push(() => tracker.close());
  return tracker;
}

function entryOf(gateway: string, userId: string, tab = 1, info?: string): PresenceEntry {
  return {
    topicId: TOPIC,
    userId,
    info,
    connectionId: `${gateway}-${userId}-${tab}`,
    subscriptionId: "s1",
    subscribedAtMs: 5,
  };
}

async function usersAt(tracker: StoreTracker): Promise<string> {
  const { page, stale } = await tracker.snapshot(TOPIC, 1_000, undefined);
  const users = new Set(page?.members.map(({ userId }) => userId));
  return `${stale ? "stale " : ""}${[...users].sort().join(",")}`;
}

async function answersAt(tracker: StoreTracker): Promise<void> {
  await until(async () => !(await tracker.snapshot("shop.other", 1, undefined)).stale, "the store answers");
}

test("a snapshot holds what its gateway told before, and what others told", async () => {
  const told = newTold();
  const [one, two] = [track("g1", told), track("g2", told)];
  await answersAt(one);
  one.joined(entryOf("g1", "alice", 1, '{"name":"Alice"}'));
  expect(await usersAt(one)).toBe("alice");
  expect(await usersAt(two)).toBe("alice");
  const { page } = await two.snapshot(TOPIC, 1_000, undefined);
  expect(page?.members).toEqual([entryOf("g1", "alice", 1, '{"name":"Alice"}')]);
  await until(() => told.changes.join() === "+alice", "alice is told of");
});

test("a user's first tab and last tab are told, over both gateways, and nothing in between", async () => {
  const told = newTold();
  const [one, two] = [track("g1", told), track("g2", told)];
  await answersAt(one);
  await answersAt(two);
  one.joined(entryOf("g1", "alice", 1));
  await usersAt(one);
  two.joined(entryOf("g2", "alice", 1));
  two.joined(entryOf("g2", "bob", 1));
  await usersAt(two);
  one.left(entryOf("g1", "alice", 1));
  expect(await usersAt(one)).toBe("alice,bob");
  two.left(entryOf("g2", "alice", 1));
  expect(await usersAt(two)).toBe("bob");
  await until(() => told.changes.join() === "+alice,+bob,-alice", "each is told once");
  expect(told.count).toBe(1);
});

test("a gateway that ends takes its users with it at once; another one tells of it", async () => {
  const told = newTold();
  const [one, two] = [track("g1", newTold()), track("g2", told)];
  await answersAt(one);
  await answersAt(two);
  one.joined(entryOf("g1", "alice"));
  await usersAt(one);
  await one.close();
  expect(await usersAt(two)).toBe("");
  await until(() => told.changes.join() === "-alice", "alice left");
});

test("a gateway that is frozen loses its users after its lease, and tells of them again when it wakes", async () => {
  const [told, toldByFrozen] = [newTold(), newTold()];
  const clock = new HandClock();
  const two = track("g2", told);
  const frozen = track("g1", toldByFrozen, clock);
  await answersAt(two);
  await until(() => {
    frozen.joined(entryOf("g1", "alice"));
    clock.advance(10);
    return toldByFrozen.changes.length > 0;
  }, "alice is told of");
  await until(async () => (await usersAt(two)) === "alice", "alice is there");
  await until(() => told.changes.join() === "-alice", "alice left, since the lease ran out");
  await until(() => {
    clock.advance(100);
    return toldByFrozen.changes.join() === "+alice,+alice";
  }, "alice is told of again");
  expect(await usersAt(two)).toBe("alice");
});

test("a store that is killed: stale meanwhile, and whole again within 2 s of its successor's start", async () => {
  const told = newTold();
  const [one, two] = [track("g1", told), track("g2", told)];
  await answersAt(one);
  await answersAt(two);
  for (const user of ["alice", "bob", "carol"]) one.joined(entryOf("g1", user));
  for (const user of ["carol", "dave"]) two.joined(entryOf("g2", user));
  await usersAt(one);
  expect(await usersAt(two)).toBe("alice,bob,carol,dave");
  await until(() => told.changes.length === 4, "all are told of");

  let owed = 0;
  for (const tracker of [one, two]) {
    tracker.onListsOwed(() => {
      owed += 1;
    });
  }
  fleet.kill("presence-0");
  await fleet.ended("presence-0");
  const startedAtMs = performance.now();
  await until(async () => (await usersAt(two)) === "stale alice,bob,carol,dave", "the last page is known to be stale");
  one.left(entryOf("g1", "bob"));
  one.left(entryOf("g1", "carol"));
  two.joined(entryOf("g2", "erin"));
  two.joined(entryOf("g2", "nobody"));
  two.left(entryOf("g2", "nobody"));
  expect((await two.snapshot("shop.never", 10, undefined)).page).toBeUndefined();
  expect(performance.now() - startedAtMs).toBeLessThan(5_000);

  await fleet.start("presence-0");
  const backAtMs = performance.now();
  await until(async () => (await usersAt(one)) === "alice,carol,dave,erin", "the first gateway sees all again");
  await until(async () => (await usersAt(two)) === "alice,carol,dave,erin", "the second gateway sees all again");
  expect(performance.now() - backAtMs).toBeLessThan(2_000);
  await until(() => told.changes.length === 5, "who came meanwhile is told, and nobody twice");
  expect(told.changes[4]).toBe("+erin");
  expect(owed).toBe(2);
  const { page, stale } = await one.whole(TOPIC, 1_000);
  expect([page?.count, stale]).toEqual([4, false]);
});

test("a store that is frozen delays nobody by more than the deadline, and loses nothing", async () => {
  const told = newTold();
  const one = track("g1", told);
  await answersAt(one);
  one.joined(entryOf("g1", "alice"));
  await usersAt(one);
  fleet.kill("presence-0", "SIGSTOP");
  one.joined(entryOf("g1", "bob"));
  const atMs = performance.now();
  expect(await usersAt(one)).toBe("stale alice");
  expect(performance.now() - atMs).toBeLessThan(400);
  await until(async () => {
    const startMs = performance.now();
    await one.snapshot(TOPIC, 10, undefined);
    return performance.now() - startMs < 5;
  }, "a store that is known to be gone delays nobody");
  fleet.kill("presence-0", "SIGCONT");
  await until(async () => (await usersAt(one)) === "alice,bob", "it goes on where it was");
  await until(() => told.changes.join() === "+alice,+bob", "each is told once");
});

test("pages go on behind their cursor, and a cursor that is none is refused", async () => {
  const one = track("g1", newTold());
  await answersAt(one);
  for (let index = 0; index < 2_500; index++) one.joined(entryOf("g1", `u${String(index).padStart(4, "0")}`));
  const users: string[] = [];
  let cursor: string | undefined;
  do {
    const { page } = await until(async () => {
      const snapshot = await one.snapshot(TOPIC, 1_000, cursor);
      return snapshot.stale ? undefined : snapshot;
    }, "a page");
    expect(page?.count).toBe(2_500);
    users.push(...(page?.members.map(({ userId }) => userId) ?? []));
    cursor = page?.nextCursor;
  } while (cursor !== undefined);
  expect(users).toHaveLength(2_500);
  expect(new Set(users).size).toBe(2_500);
  await expect(one.snapshot(TOPIC, 10, "nonsense")).rejects.toMatchObject({ code: "invalid_request", field: "cursor" });
});

test("its probes tell that it is ready, and its metrics what it holds", async () => {
  const one = track("g1", newTold());
  await answersAt(one);
  one.joined(entryOf("g1", "alice"));
  await usersAt(one);
  expect(await fleet.notReady("presence-0")).toEqual([]);
  const metrics = await fleet.metrics("presence-0");
  expect(metrics).toMatch(/earshot_presence_store_size\{kind="entries",role="presence"\} 1\n/);
  fleet.kill("presence-0", "SIGTERM");
  expect(await fleet.ended("presence-0")).toBe(0);
  await until(() => peers.list("presence").length === 0, "it took its endpoint file away");
});
