import { beforeEach, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { createRegistry, type Registry } from "#core/runtime/metrics.ts";
import type { PresencePage, PresenceStore } from "../../gateway/presence/presence.ts";
import { KEPT_BYTES_MAX, KEPT_MS, Snapshots } from "../../gateway/presence/snapshots.ts";
import { HandClock } from "../harness/hand-clock.ts";

const TOPIC = { topicId: "shop.chat", limit: 1_000, cursor: undefined };

interface Read {
  readonly topicId: string;
  resolve(page: PresencePage): void;
  reject(error: Error): void;
}

let reads: Read[];
let registry: Registry;
let flushes: number;
let clock: HandClock;
let snapshots: Snapshots;
let settles: number | "never";

/** A snapshot when the gateway's last change was `change`, or the store is known to be gone. */
function take(query: { topicId: string; limit: number; cursor: string | undefined }, change: number | "never") {
  settles = change;
  return snapshots.take(query);
}

beforeEach(() => {
  reads = [];
  registry = createRegistry("gateway");
  flushes = 0;
  clock = new HandClock();
  const store: Pick<PresenceStore, "list"> = {
    list: (topicId) =>
      new Promise((resolve, reject) => {
        reads.push({ topicId, resolve, reject });
      }),
  };
  snapshots = new Snapshots({
    store: store as PresenceStore,
    clock,
    registry,
    flush: () => {
      flushes += 1;
    },
    settles: () => settles,
  });
});

function pageOf(users: readonly string[], version = 1, nextCursor?: string): PresencePage {
  const members = users.map((userId) => ({
    topicId: TOPIC.topicId,
    userId,
    info: undefined,
    connectionId: `g-${userId}`,
    subscriptionId: "s1",
    subscribedAtMs: 1,
  }));
  return { members, count: users.length, version, nextCursor };
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("a crowd that comes at once costs two reads, and everybody's read began after they came", async () => {
  const crowd = Array.from({ length: 1_000 }, () => take(TOPIC, 0));
  await turn();
  expect(reads).toHaveLength(1);
  reads[0]?.resolve(pageOf(["alice"]));
  await turn();
  expect(reads).toHaveLength(2);
  const late = take(TOPIC, 0);
  await turn();
  reads[1]?.resolve(pageOf(["alice", "bob"], 2));
  await turn();
  expect(reads).toHaveLength(3);
  reads[2]?.resolve(pageOf(["alice", "bob", "carol"], 3));
  const counts = (await Promise.all([...crowd, late])).map(({ page }) => page?.count);
  expect([counts[0], counts[1], counts[999], counts[1_000]]).toEqual([1, 2, 2, 3]);
  const after = take(TOPIC, 0);
  await turn();
  expect(reads).toHaveLength(4);
  reads[3]?.resolve(pageOf([]));
  await after;
});

test("a snapshot waits for what its gateway told before, and has it sent at once", async () => {
  const snapshot = take(TOPIC, 5);
  await turn();
  expect([reads.length, flushes]).toEqual([0, 1]);
  snapshots.settled(4);
  await turn();
  expect(reads).toHaveLength(0);
  snapshots.settled(6);
  await turn();
  expect(reads).toHaveLength(1);
  reads[0]?.resolve(pageOf(["alice"]));
  expect(await snapshot).toMatchObject({ stale: false, page: { count: 1 } });
});

test("after 200 ms what was known last is given as stale; where nothing was, nothing", async () => {
  const first = take(TOPIC, 0);
  await turn();
  reads[0]?.resolve(pageOf(["alice", "bob"]));
  await first;
  const [known, unknown] = [take(TOPIC, 0), take({ ...TOPIC, topicId: "shop.other" }, 0)];
  await turn();
  clock.advance(199);
  let done = false;
  void known.then(() => {
    done = true;
  });
  await turn();
  expect(done).toBe(false);
  clock.advance(1);
  expect(await known).toMatchObject({ stale: true, page: { count: 2 } });
  expect(await unknown).toMatchObject({ stale: true, page: undefined });
});

test("a store that is known to be gone is not waited for", async () => {
  expect(await take(TOPIC, "never")).toMatchObject({ stale: true, page: undefined });
  const waiting = take(TOPIC, 7);
  snapshots.interrupted();
  expect(await waiting).toMatchObject({ stale: true, page: undefined });
  expect([reads.length, clock.pending]).toEqual([0, 0]);
});

test("a read that fails is stale, a cursor that is none is the caller's mistake", async () => {
  const failing = take(TOPIC, 0);
  await turn();
  reads[0]?.reject(new EarshotError("presence_unavailable"));
  expect(await failing).toMatchObject({ stale: true, page: undefined });
  const wrong = take({ ...TOPIC, cursor: "nonsense" }, 0);
  await turn();
  reads[1]?.reject(new EarshotError("invalid_request", "cursor must be ..."));
  await expect(wrong).rejects.toMatchObject({ code: "invalid_request" });
});

test("a known page is cut to what was asked for, and a page cut short replaces no whole one", async () => {
  const whole = take(TOPIC, 0);
  await turn();
  reads[0]?.resolve(pageOf(["alice", "bob", "carol"], 1));
  await whole;
  const short = take({ ...TOPIC, limit: 1 }, 0);
  await turn();
  reads[1]?.resolve({ ...pageOf(["alice"], 2, "next"), count: 3 });
  await short;
  const stale = await take({ ...TOPIC, limit: 2 }, "never");
  expect(stale.page?.members.map(({ userId }) => userId)).toEqual(["alice", "bob"]);
  expect([stale.page?.count, stale.page?.nextCursor]).toEqual([3, undefined]);
});

test("pages are kept up to a number of bytes; the one read longest ago is forgotten", async () => {
  const users = Array.from({ length: 100 }, (_, index) => `u${index}`);
  const { members, ...rest } = pageOf(users);
  const info = JSON.stringify("x".repeat(4_000));
  const read = async (topicId: string): Promise<void> => {
    const snapshot = take({ ...TOPIC, topicId }, 0);
    await turn();
    reads.at(-1)?.resolve({ ...rest, members: members.map((entry) => ({ ...entry, info })) });
    await snapshot;
  };
  const known = async (topicId: string) => (await take({ ...TOPIC, topicId }, "never")).page?.count;
  const fitting = Math.floor(KEPT_BYTES_MAX / (100 * 4_200));
  for (let index = 0; index < fitting; index++) await read(`shop.t${index}`);
  expect(await known("shop.t0")).toBe(100);
  for (let index = fitting; index < fitting + 5; index++) await read(`shop.t${index}`);
  expect([await known("shop.t0"), await known(`shop.t${fitting + 4}`)]).toEqual([undefined, 100]);
});

test("a page that was read ten minutes ago goes when another one is kept", async () => {
  const read = async (topicId: string): Promise<void> => {
    const snapshot = take({ ...TOPIC, topicId }, 0);
    await turn();
    reads.at(-1)?.resolve(pageOf(["alice"]));
    await snapshot;
  };
  const known = async (topicId: string) => (await take({ ...TOPIC, topicId }, "never")).page?.count;
  await read("shop.early");
  clock.advance(KEPT_MS - 1);
  await read("shop.late");
  expect(await known("shop.early")).toBe(1);
  clock.advance(1);
  expect(await known("shop.early")).toBe(1);
  await read("shop.later");
  expect([await known("shop.early"), await known("shop.late")]).toEqual([undefined, 1]);
});

test("a store that was started anew is stale until everybody is back, by what was known before it", async () => {
  const before = take(TOPIC, 0);
  await turn();
  reads[0]?.resolve(pageOf(["alice", "bob"], 1));
  await before;
  snapshots.incompleteFor(1_500);
  const [known, unknown] = [take(TOPIC, 0), take({ ...TOPIC, topicId: "shop.other" }, 0)];
  await turn();
  reads[1]?.resolve(pageOf(["alice"], 2));
  reads[2]?.resolve(pageOf(["carol"], 2));
  expect(await known).toMatchObject({ stale: true, page: { count: 2 } });
  expect(await unknown).toMatchObject({ stale: true, page: { count: 1 } });
  clock.advance(1_500);
  const whole = take(TOPIC, 0);
  await turn();
  reads[3]?.resolve(pageOf(["alice"], 3));
  expect(await whole).toEqual({ stale: false, page: pageOf(["alice"], 3) });
});

test("who was given a stale list gets a whole one when there is one, by one read a topic", async () => {
  const stale = await take(TOPIC, "never");
  const lists = Promise.all([stale.fresh?.(), stale.fresh?.(), (await take(TOPIC, "never")).fresh?.()]);
  for (let look = 0; look < 3; look++) {
    clock.advance(250);
    await turn();
  }
  expect(reads).toHaveLength(0);
  settles = 0;
  clock.advance(250);
  await turn();
  expect(reads).toHaveLength(1);
  reads[0]?.reject(new EarshotError("presence_unavailable"));
  await turn();
  clock.advance(250);
  await turn();
  reads[1]?.resolve(pageOf(["alice"]));
  for (const list of await lists) expect(list).toEqual({ stale: false, page: pageOf(["alice"]) });
  clock.advance(1_000);
  expect([reads.length, clock.pending]).toEqual([2, 0]);
});

test("whole lists are read a few at a time, whoever waits", async () => {
  const topics = Array.from({ length: 20 }, (_, index) => ({ ...TOPIC, topicId: `shop.t${index}` }));
  const stale = await Promise.all(topics.map((topic) => take(topic, "never")));
  const lists = Promise.all(stale.map(async (one) => one.fresh?.()));
  settles = 0;
  clock.advance(250);
  await turn();
  expect(reads).toHaveLength(8);
  for (let served = 0; served < 20; served++) {
    reads[served]?.resolve(pageOf(["alice"]));
    await turn();
  }
  expect((await lists).every((list) => list?.stale === false)).toBe(true);
});

test("10,000 topics may be waited for, one more is not, and none after the end", async () => {
  for (let index = 0; index <= 10_000; index++) {
    void (await take({ ...TOPIC, topicId: `shop.t${index}` }, "never")).fresh?.();
  }
  const owed = await registry.getSingleMetric("earshot_presence_lists_owed")?.get();
  expect(owed?.values[0]?.value).toBe(10_000);
  snapshots.close();
  expect(clock.pending).toBe(0);
});

test("who waits for a whole list while one is read gets the next one", async () => {
  const first = snapshots.whole(TOPIC);
  settles = 0;
  clock.advance(250);
  await turn();
  const second = snapshots.whole(TOPIC);
  reads[0]?.resolve(pageOf(["alice"], 1));
  expect((await first).page?.count).toBe(1);
  await turn();
  clock.advance(250);
  await turn();
  reads[1]?.resolve(pageOf(["alice", "bob"], 2));
  expect((await second).page?.count).toBe(2);
});
