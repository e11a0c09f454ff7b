import { beforeEach, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import type { PresencePage, PresenceStore } from "../../gateway/presence/presence.ts";
import { Snapshots } from "../../gateway/presence/snapshots.ts";
import { HandClock } from "../harness/hand-clock.ts";

const TOPIC = { topicId: "shop.chat", limit: 1_000, cursor: undefined };

interface Read {
  readonly topicId: string;
  resolve(page: PresencePage): void;
  reject(error: Error): void;
}

let reads: Read[];
let flushes: number;
let clock: HandClock;
let snapshots: Snapshots;

beforeEach(() => {
  reads = [];
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
    registry: createRegistry("gateway"),
    flush: () => {
      flushes += 1;
    },
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
  const crowd = Array.from({ length: 1_000 }, () => snapshots.take(TOPIC, 0));
  await turn();
  expect(reads).toHaveLength(1);
  reads[0]?.resolve(pageOf(["alice"]));
  await turn();
  expect(reads).toHaveLength(2);
  const late = snapshots.take(TOPIC, 0);
  await turn();
  reads[1]?.resolve(pageOf(["alice", "bob"], 2));
  await turn();
  expect(reads).toHaveLength(3);
  reads[2]?.resolve(pageOf(["alice", "bob", "carol"], 3));
  const counts = (await Promise.all([...crowd, late])).map(({ page }) => page?.count);
  expect([counts[0], counts[1], counts[999], counts[1_000]]).toEqual([1, 2, 2, 3]);
  const after = snapshots.take(TOPIC, 0);
  await turn();
  expect(reads).toHaveLength(4);
  reads[3]?.resolve(pageOf([]));
  await after;
});

test("a snapshot waits for what its gateway told before, and has it sent at once", async () => {
  const snapshot = snapshots.take(TOPIC, 5);
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
  const first = snapshots.take(TOPIC, 0);
  await turn();
  reads[0]?.resolve(pageOf(["alice", "bob"]));
  await first;
  const [known, unknown] = [snapshots.take(TOPIC, 0), snapshots.take({ ...TOPIC, topicId: "shop.other" }, 0)];
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
  expect(await unknown).toEqual({ stale: true, page: undefined });
});

test("a store that is known to be gone is not waited for", async () => {
  expect(await snapshots.take(TOPIC, "never")).toEqual({ stale: true, page: undefined });
  const waiting = snapshots.take(TOPIC, 7);
  snapshots.interrupted();
  expect(await waiting).toEqual({ stale: true, page: undefined });
  expect([reads.length, clock.pending]).toEqual([0, 0]);
});

test("a read that fails is stale, a cursor that is none is the caller's mistake", async () => {
  const failing = snapshots.take(TOPIC, 0);
  await turn();
  reads[0]?.reject(new EarshotError("presence_unavailable"));
  expect(await failing).toEqual({ stale: true, page: undefined });
  const wrong = snapshots.take({ ...TOPIC, cursor: "nonsense" }, 0);
  await turn();
  reads[1]?.reject(new EarshotError("invalid_request", "cursor must be ..."));
  await expect(wrong).rejects.toMatchObject({ code: "invalid_request" });
});

test("a known page is cut to what was asked for, and a page cut short replaces no whole one", async () => {
  const whole = snapshots.take(TOPIC, 0);
  await turn();
  reads[0]?.resolve(pageOf(["alice", "bob", "carol"], 1));
  await whole;
  const short = snapshots.take({ ...TOPIC, limit: 1 }, 0);
  await turn();
  reads[1]?.resolve({ ...pageOf(["alice"], 2, "next"), count: 3 });
  await short;
  const stale = await snapshots.take({ ...TOPIC, limit: 2 }, "never");
  expect(stale.page?.members.map(({ userId }) => userId)).toEqual(["alice", "bob"]);
  expect([stale.page?.count, stale.page?.nextCursor]).toEqual([3, undefined]);
});

test("pages are kept up to 100,000 subscriptions; the one read longest ago is forgotten", async () => {
  const users = Array.from({ length: 1_000 }, (_, index) => `u${index}`);
  const read = async (topicId: string): Promise<void> => {
    const snapshot = snapshots.take({ ...TOPIC, topicId }, 0);
    await turn();
    reads.at(-1)?.resolve(pageOf(users));
    await snapshot;
  };
  for (let index = 0; index < 100; index++) await read(`shop.t${index}`);
  expect((await snapshots.take({ ...TOPIC, topicId: "shop.t0" }, "never")).page?.count).toBe(1_000);
  await read("shop.t100");
  expect((await snapshots.take({ ...TOPIC, topicId: "shop.t0" }, "never")).page).toBeUndefined();
  expect((await snapshots.take({ ...TOPIC, topicId: "shop.t1" }, "never")).page?.count).toBe(1_000);
});
