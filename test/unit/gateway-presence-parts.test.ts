import { expect, test } from "vitest";
import { createRegistry } from "#core/runtime/metrics.ts";
import { ordersOf, ordersOfReaped, type PresenceOrder } from "../../gateway/presence/changes.ts";
import { presenceFrame } from "../../gateway/presence/frames.ts";
import { Ledger } from "../../gateway/presence/ledger.ts";
import { MemoryStore } from "../../gateway/presence/memory-store.ts";
import { PAGE_BYTES_MAX } from "../../gateway/presence/page.ts";
import type { PresenceEntry, PresencePage } from "../../gateway/presence/presence.ts";
import { Teller } from "../../gateway/presence/teller.ts";
import { HandClock } from "../harness/hand-clock.ts";

const TOPIC = "shop.chat";

function entryOf(userId: string, tab = 1, info?: string): PresenceEntry {
  return { topicId: TOPIC, userId, info, connectionId: `g-${userId}-${tab}`, subscriptionId: "s1", subscribedAtMs: 5 };
}

function pageOf(members: readonly PresenceEntry[], count: number): PresencePage {
  return { members, count, version: 1, nextCursor: undefined };
}

test("the first frame lists each user once, with the info that the token wrote", () => {
  const page = pageOf([entryOf("alice", 1, '{"n":12345678901234567890}'), entryOf("alice", 2), entryOf('b"ob\n')], 2);
  expect(presenceFrame(TOPIC, 7, { page, stale: false })).toBe(
    '{"type":"presence","topic_id":"shop.chat","count":2,"connections":7,' +
      '"subscribers":[{"user_id":"alice","info":{"n":12345678901234567890}},{"user_id":"b\\"ob\\n"}]}',
  );
});

test("a frame of a store that does not answer says stale, and nothing that is not known", () => {
  expect(presenceFrame(TOPIC, 7, { page: pageOf([entryOf("alice")], 1), stale: true })).toBe(
    '{"type":"presence","topic_id":"shop.chat","count":1,"connections":7,"subscribers":[{"user_id":"alice"}],"stale":true}',
  );
  expect(presenceFrame(TOPIC, 7, { page: undefined, stale: true })).toBe(
    '{"type":"presence","topic_id":"shop.chat","connections":7,"stale":true}',
  );
});

test("a Topic that only counts gets its connections alone", () => {
  expect(presenceFrame(TOPIC, 7)).toBe('{"type":"presence","topic_id":"shop.chat","connections":7}');
});

test("a join whose leave came before it was sent is never sent", () => {
  const ledger = new Ledger();
  ledger.join(entryOf("alice"));
  ledger.leave(entryOf("alice"));
  expect([ledger.nextBatch(), ledger.held, ledger.pending]).toEqual([undefined, 0, 0]);
});

test("a leave that comes while its join is under way is sent after it", () => {
  const ledger = new Ledger();
  ledger.join(entryOf("alice"));
  const batch = ledger.nextBatch();
  ledger.leave(entryOf("alice"));
  expect(ledger.nextBatch()).toBe(batch);
  if (batch !== undefined) ledger.applied(batch);
  const next = ledger.nextBatch();
  expect(next?.operations.map(({ kind }) => kind)).toEqual(["leave"]);
  if (next !== undefined) ledger.applied(next);
  expect(ledger.held).toBe(0);
});

test("what the store has is not told again; a user's new info is", () => {
  const ledger = new Ledger();
  ledger.join(entryOf("alice"));
  const first = ledger.nextBatch();
  if (first !== undefined) ledger.applied(first);
  ledger.join(entryOf("alice"));
  expect(ledger.nextBatch()).toBeUndefined();
  ledger.leave(entryOf("alice"));
  ledger.join(entryOf("alice", 1, '{"name":"Alice"}'));
  expect(ledger.nextBatch()?.operations).toEqual([{ kind: "join", entry: entryOf("alice", 1, '{"name":"Alice"}') }]);
});

test("a connection that becomes another user's is a leave and a join", () => {
  const ledger = new Ledger();
  const anonymous = { ...entryOf("alice"), userId: "anonymous:g-alice-1" };
  ledger.join(anonymous);
  const first = ledger.nextBatch();
  if (first !== undefined) ledger.applied(first);
  ledger.leave(anonymous);
  ledger.join(entryOf("alice"));
  const told = ledger.nextBatch()?.operations.map(({ kind, entry }) => `${kind} ${entry.userId}`);
  expect(told).toEqual(["leave anonymous:g-alice-1", "join alice"]);
});

test("a store that came back empty is sent who was there as such, and nothing of who left", () => {
  const ledger = new Ledger();
  for (const user of ["alice", "bob"]) ledger.join(entryOf(user));
  const first = ledger.nextBatch();
  if (first !== undefined) ledger.applied(first);
  ledger.leave(entryOf("bob"));
  ledger.join(entryOf("carol"));
  ledger.emptied("restarted");
  const again = ledger.nextBatch();
  const told = again?.operations.map(({ kind, entry, resent }) => `${kind} ${entry.userId} ${resent === true}`);
  expect(told?.sort()).toEqual(["join alice true", "join carol false"]);
  expect(ledger.held).toBe(2);
});

test("after a lease that ran out everything is new, and who left meanwhile is forgotten", () => {
  const ledger = new Ledger();
  for (const user of ["alice", "bob"]) ledger.join(entryOf(user));
  const first = ledger.nextBatch();
  if (first !== undefined) ledger.applied(first);
  ledger.leave(entryOf("bob"));
  ledger.emptied("lapsed");
  expect(ledger.nextBatch()?.operations).toEqual([{ kind: "join", entry: entryOf("alice") }]);
  expect(ledger.held).toBe(1);
});

test("a batch has 1,000 operations at most, and the rest is in the next", () => {
  const ledger = new Ledger();
  for (let index = 0; index < 1_001; index++) ledger.join(entryOf(`u${index}`));
  const batch = ledger.nextBatch();
  expect([batch?.operations.length, ledger.pending]).toEqual([1_000, 1]);
  if (batch !== undefined) ledger.applied(batch);
  expect(ledger.nextBatch()?.operations).toHaveLength(1);
});

test("churn while the store is gone costs nothing", () => {
  const ledger = new Ledger();
  for (let index = 0; index < 10_000; index++) {
    ledger.join(entryOf(`u${index}`));
    ledger.leave(entryOf(`u${index}`));
  }
  expect([ledger.held, ledger.pending]).toEqual([0, 0]);
});

test("who came and went within a batch is not mentioned, the count and version are the last", () => {
  const decision = (changed: boolean, count: number, version: number) => ({ changed, count, version });
  const orders = ordersOf(
    [
      { kind: "join", entry: entryOf("alice", 1, '{"a":1}') },
      { kind: "join", entry: entryOf("bob") },
      { kind: "leave", entry: entryOf("bob") },
      { kind: "leave", entry: entryOf("carol") },
      { kind: "join", entry: entryOf("dave", 2) },
      { kind: "leave", entry: entryOf("erin") },
      { kind: "join", entry: entryOf("erin", 2) },
    ],
    [
      decision(true, 3, 11),
      decision(true, 4, 12),
      decision(true, 3, 13),
      decision(true, 2, 14),
      decision(false, 2, 14),
      decision(true, 1, 15),
      decision(true, 2, 16),
    ],
  );
  expect(orders).toEqual([
    {
      kind: "presence",
      topicId: TOPIC,
      update: {
        count: 2,
        version: 16,
        joined: [{ userId: "alice", info: '{"a":1}' }],
        left: [{ userId: "carol", info: undefined }],
      },
    },
  ]);
});

test("users gone with their gateway are told in orders of 1,000", () => {
  const reaped = Array.from({ length: 1_001 }, (_, index) => ({
    topicId: TOPIC,
    userId: `u${index}`,
    count: 0,
    version: index,
  }));
  const orders = ordersOfReaped(reaped);
  expect(orders.map(({ update }) => update.left.length)).toEqual([1_000, 1]);
  expect(new Set(orders.map(({ update }) => update.version))).toEqual(new Set([1_000]));
});

const ORDER: PresenceOrder = {
  kind: "presence",
  topicId: TOPIC,
  update: { count: 1, version: 1, joined: [], left: [] },
};
const PLACED = { messageId: "", deliveredTo: 1, exact: false, dropped: false, reason: undefined, notDelivered: {} };

/** Lets promises that are settled go on. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function droppedOf(registry: ReturnType<typeof createRegistry>): Promise<number> {
  return (await registry.getSingleMetric("earshot_presence_changes_dropped_total")?.get())?.values[0]?.value ?? 0;
}

test("a change that no router takes is tried again, and given up after 10 s", async () => {
  const clock = new HandClock();
  const registry = createRegistry("gateway");
  let tries = 0;
  const teller = new Teller(
    () => {
      tries += 1;
      return tries === 3 || tries > 100 ? Promise.resolve(PLACED) : Promise.reject(new Error("no router"));
    },
    clock,
    registry,
  );
  teller.tell([ORDER]);
  for (let index = 0; index < 4; index++) {
    await turn();
    clock.advance(1_000);
  }
  expect([tries, teller.outstanding, await droppedOf(registry)]).toEqual([3, 0, 0]);
  teller.tell([ORDER]);
  for (let index = 0; index < 15; index++) {
    await turn();
    clock.advance(1_000);
  }
  expect([teller.outstanding, clock.pending, await droppedOf(registry)]).toEqual([0, 0, 1]);
});

test("10,000 changes may be on their way; one more is dropped and counted", async () => {
  const registry = createRegistry("gateway");
  const teller = new Teller(() => new Promise(() => {}), new HandClock(), registry);
  teller.tell(Array.from({ length: 10_000 }, () => ORDER));
  expect([teller.outstanding, await droppedOf(registry)]).toEqual([10_000, 0]);
  teller.tell([ORDER]);
  expect([teller.outstanding, await droppedOf(registry)]).toEqual([10_000, 1]);
});

test("a store that is full takes no more, counts that, and takes again when somebody left", () => {
  const store = new MemoryStore({ startedAtMs: 0, firstVersion: 0, entriesMax: 2 });
  const lease = store.renewLease("g", 6_000, 0) ?? "";
  const touch = (batch: number, kind: "join" | "leave", user: string) =>
    store.apply("g", lease, batch, [{ kind, entry: entryOf(user) }], 0)?.[0];
  expect(touch(1, "join", "alice")).toMatchObject({ changed: true, count: 1 });
  expect(touch(2, "join", "bob")).toMatchObject({ changed: true, count: 2 });
  expect(touch(3, "join", "carol")).toMatchObject({ changed: false, count: 2 });
  expect(touch(4, "leave", "carol")).toMatchObject({ changed: false, count: 2 });
  expect(store.sizes).toMatchObject({ entries: 2, refused: 1 });
  expect(touch(5, "leave", "alice")).toMatchObject({ changed: true, count: 1 });
  expect(touch(6, "join", "carol")).toMatchObject({ changed: true, count: 2 });
});

test("a store whose members say too much of themselves takes no more, and again when they say less or leave", () => {
  const store = new MemoryStore({ startedAtMs: 0, firstVersion: 0, infoLengthMax: 100 });
  const lease = store.renewLease("g", 6_000, 0) ?? "";
  let batch = 0;
  const touch = (kind: "join" | "leave", user: string, length: number) => {
    batch += 1;
    return store.apply("g", lease, batch, [{ kind, entry: entryOf(user, 1, "x".repeat(length)) }], 0)?.[0]?.changed;
  };
  expect([touch("join", "alice", 60), touch("join", "bob", 40), touch("join", "carol", 1)]).toEqual([
    true,
    true,
    false,
  ]);
  expect(store.sizes).toMatchObject({ entries: 2, refused: 1 });
  touch("join", "alice", 10);
  expect([touch("join", "carol", 51), touch("join", "carol", 50)]).toEqual([false, true]);
  for (const user of ["alice", "bob", "carol"]) expect(touch("leave", user, 0)).toBe(true);
  expect(touch("join", "dave", 100)).toBe(true);
});

test("a page ends before it is too large for a connection, and the next one goes on", () => {
  const store = new MemoryStore({ startedAtMs: 0, firstVersion: 0 });
  const lease = store.renewLease("g", 6_000, 0) ?? "";
  const info = JSON.stringify("x".repeat(10_000));
  const operations = Array.from({ length: 100 }, (_, index) => ({
    kind: "join" as const,
    entry: entryOf(`u${index}`, 1, info),
  }));
  store.apply("g", lease, 1, operations, 0);
  let pages = 0;
  let listed = 0;
  let cursor: string | undefined;
  do {
    const page = store.list(TOPIC, 1_000, cursor, 0);
    expect(presenceFrame(TOPIC, 100, { page, stale: false }).length).toBeLessThan(PAGE_BYTES_MAX);
    pages += 1;
    listed += page.members.length;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  expect([pages, listed]).toEqual([4, 100]);
});

test("a lease of another store or another time applies nothing", () => {
  const store = new MemoryStore({ startedAtMs: 0, firstVersion: 0 });
  expect(store.apply("g", "1", 1, [{ kind: "join", entry: entryOf("alice") }], 0)).toBeUndefined();
  const first = store.renewLease("g", 6_000, 0) ?? "";
  expect(store.renewLease("g", 6_000, 500)).toBe(first);
  for (let nowMs = 1_000; nowMs <= 6_500; nowMs += 500) store.reap(nowMs);
  const second = store.renewLease("g", 6_000, 6_500) ?? "";
  expect(second).not.toBe(first);
  expect(store.apply("g", first, 1, [{ kind: "join", entry: entryOf("alice") }], 6_500)).toBeUndefined();
  expect(store.apply("g", second, 1, [{ kind: "join", entry: entryOf("alice") }], 6_500)).toHaveLength(1);
});

test("while a store hears nobody at all, no lease runs out: it stood still, or could not be reached", () => {
  const store = new MemoryStore({ startedAtMs: 0, firstVersion: 0 });
  const [one, two] = [store.renewLease("g1", 1_200, 0) ?? "", store.renewLease("g2", 1_200, 0) ?? ""];
  store.apply("g1", one, 1, [{ kind: "join", entry: entryOf("alice") }], 0);
  expect(store.list(TOPIC, 10, undefined, 60_000).count).toBe(1);
  expect(store.renewLease("g2", 1_200, 60_400)).toBe(two);
  expect(store.renewLease("g2", 1_200, 60_800)).toBe(two);
  expect(store.reap(61_199)).toEqual([]);
  expect(store.reap(61_200)).toMatchObject([{ userId: "alice", count: 0 }]);
});
