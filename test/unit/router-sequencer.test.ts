import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { Topic, TopicPolicy } from "#core/domain/topic.ts";
import { parseTopicId } from "#core/domain/topic-id.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import { RecordBatchSchema, RecordSchema } from "#proto/earshot/internal/v1/link_pb.ts";
import { InterestTable, type MessageCounter } from "../../router/interest.ts";
import { Receipts } from "../../router/links/receipts.ts";
import { Placement } from "../../router/placement.ts";
import type { QueuedRecord } from "../../router/record.ts";
import { ALL_HELD_BYTES_MAX, BatchWindows } from "../../router/sequencer/batch-windows.ts";
import { Drops } from "../../router/sequencer/drops.ts";
import { PresenceFrames } from "../../router/sequencer/presence.ts";
import { RateLimits } from "../../router/sequencer/rate-limits.ts";
import { type Sequenced, Sequencer } from "../../router/sequencer/sequencer.ts";
import { SpokenMemory } from "../../router/spoken-memory.ts";
import { RouterStats } from "../../router/stats.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { mapOf, routerAt } from "../harness/hand-map.ts";
import { messageOrder } from "../harness/router-publisher.ts";
import { handTopic } from "../harness/router-rig.ts";

class Ear {
  readonly records: QueuedRecord[] = [];
  full = false;
  open = true;

  push(record: QueuedRecord): boolean {
    if (this.full || !this.open) return false;
    this.records.push(record);
    return true;
  }

  get envelopes(): readonly Record<string, unknown>[] {
    return this.records.map(({ framed }) => {
      const [bytes = new Uint8Array()] = fromBinary(RecordBatchSchema, framed).records;
      return JSON.parse(Buffer.from(fromBinary(RecordSchema, bytes).envelope).toString()) as Record<string, unknown>;
    });
  }
}

/** A sequencer with everything around it but streams. */
class Desk {
  readonly clock = new HandClock();
  readonly counter: MessageCounter = { last: 0 };
  readonly stats = new RouterStats();
  readonly drops = new Drops();
  readonly spoken = new SpokenMemory(this.clock.monotonic());
  readonly table = new InterestTable<Ear>(this.counter, this.spoken);
  readonly receipts = new Receipts<Ear>(this.stats);
  readonly windows = new BatchWindows<Ear>(this.clock);
  readonly placement = new Placement("me");
  readonly topics = new Map<string, Topic>();
  readonly presence = new PresenceFrames<Ear>({
    presenceOf: (key) => this.topics.get(key)?.policy.presence ?? "None",
    emit: (entry, frame) => this.sequencer.emitPresence(entry, frame),
  });
  warm = true;
  readonly sequencer = new Sequencer<Ear>({
    incarnation: "me",
    clock: this.clock,
    counter: this.counter,
    table: this.table,
    topic: (key) => this.topics.get(key),
    placement: this.placement,
    warmth: { isWarm: () => this.warm },
    spoken: this.spoken,
    receipts: this.receipts,
    presence: this.presence,
    windows: this.windows,
    rateLimits: new RateLimits(),
    drops: this.drops,
    stats: this.stats,
  });

  constructor(policy: Partial<TopicPolicy> = {}) {
    this.placement.apply(mapOf(1, [routerAt("me")]));
    this.topics.set("shop.chat", handTopic("shop.chat", policy));
  }

  hear(id: string, count: number, presenceCount = 0, ear = new Ear()): Ear {
    const topicId = parseTopicId(id);
    if (!topicId.ok) throw new Error(topicId.reason);
    this.table.set({ link: ear, topicId: topicId.value, count, presenceCount }, this.clock.monotonic());
    return ear;
  }

  say(order: PublishOrder): PublishResult | string {
    const sequenced = this.sequencer.sequence(order);
    if (sequenced instanceof Promise) throw new Error("it waits for receipts");
    return answerOf(sequenced);
  }
}

function answerOf(sequenced: Sequenced): PublishResult | string {
  return sequenced.kind === "done" ? sequenced.result : sequenced.code;
}

test("one record is made and shared by every link with interest; a lingering one gets none", () => {
  const desk = new Desk();
  const [one, two, gone] = [desk.hear("shop.chat", 2), desk.hear("shop.chat", 1), desk.hear("shop.chat", 4)];
  desk.hear("shop.chat", 0, 0, gone);
  const result = desk.say(messageOrder("shop.chat", { n: 1 }));
  expect(result).toEqual({
    messageId: "me-1",
    deliveredTo: 3,
    exact: false,
    dropped: false,
    reason: undefined,
    notDelivered: {},
  });
  expect(one.records).toHaveLength(1);
  expect(two.records[0]).toBe(one.records[0]);
  expect(gone.records).toEqual([]);
});

test("every message has the next message id of the process and the next seq of its topic", () => {
  const desk = new Desk();
  const [a, b] = [desk.hear("shop.chat:a", 1), desk.hear("shop.chat:b", 1)];
  for (const id of ["shop.chat:a", "shop.chat:b", "shop.chat:b", "shop.chat:a"]) desk.say(messageOrder(id, 1));
  const idsOf = (ear: Ear) => ear.envelopes.map(({ message_id: id, seq }) => [id, seq]);
  expect(idsOf(a)).toEqual([
    ["me-1", 1],
    ["me-4", 2],
  ]);
  expect(idsOf(b)).toEqual([
    ["me-2", 1],
    ["me-3", 2],
  ]);
});

test("a Topic that this router does not know yet is served by the defaults", () => {
  const desk = new Desk();
  const ear = desk.hear("shop.new", 1);
  expect(desk.say(messageOrder("shop.new", 1))).toMatchObject({ deliveredTo: 1 });
  expect(ear.records).toHaveLength(1);
});

test("a router outside the list refuses every kind unhandled", () => {
  const desk = new Desk();
  const ear = desk.hear("shop.chat", 1, 1);
  desk.placement.apply(mapOf(2, [routerAt("other")]));
  const update = { count: 1, version: 1, joined: [], left: [] };
  const eviction = { target: { userId: "alice", connectionId: undefined }, reason: "requested" } as const;
  expect(desk.say(messageOrder("shop.chat", 1))).toBe("wrong_router");
  expect(desk.say({ kind: "presence", topicId: "shop.chat", update })).toBe("wrong_router");
  expect(desk.say({ kind: "evict", topicId: "shop.chat", eviction })).toBe("wrong_router");
  expect([ear.records.length, desk.counter.last, desk.stats.messages]).toEqual([0, 0, 0]);
});

test("a standby sequences what it is given", () => {
  const desk = new Desk();
  desk.hear("shop.chat", 1);
  desk.placement.apply(mapOf(2, [routerAt("other"), routerAt("me")]));
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1 });
});

test("a cold router says wrong_router where it would say 0, and delivers where somebody listens", () => {
  const desk = new Desk();
  desk.warm = false;
  const ear = desk.hear("shop.chat", 1);
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1 });
  expect(desk.say(messageOrder("shop.chat:a", 1))).toBe("wrong_router");
  desk.hear("shop.chat", 0, 0, ear);
  expect(desk.say(messageOrder("shop.chat", 1))).toBe("wrong_router");
  desk.warm = true;
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 0, reason: "no_subscribers" });
});

test("what nobody hears still counts as spoken, and is exact with a receipt", () => {
  const desk = new Desk();
  expect(desk.say(messageOrder("shop.chat:a", 1))).toMatchObject({ messageId: "me-1", exact: false, dropped: true });
  expect(desk.say(messageOrder("shop.chat:a", 1, { receipt: "gateway" }))).toMatchObject({
    exact: true,
    deliveredTo: 0,
  });
  expect(desk.table.spokenAtMs("shop.chat:a")).toBe(desk.clock.monotonic());
  expect(desk.table.seqOf("shop.chat:a")).toBe(2);
  expect(desk.drops.of("shop.chat:a")).toMatchObject([{ reason: "no_subscribers", count: 2 }]);
});

test("a topic id that is none is refused, not counted", () => {
  const desk = new Desk();
  expect(desk.say(messageOrder("no dot", 1))).toBe("topic_id_invalid");
  expect(desk.counter.last).toBe(0);
});

test("links that let a message go are not counted; when all do it is backpressure", () => {
  const desk = new Desk();
  const [full, well] = [desk.hear("shop.chat", 2), desk.hear("shop.chat", 1)];
  full.full = true;
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1, dropped: false });
  well.full = true;
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({
    deliveredTo: 0,
    dropped: true,
    reason: "backpressure",
  });
  expect(desk.stats.dropped.backpressure).toBe(1);
});

test("a publish may lower its priority, or raise it above its Topic's", () => {
  const desk = new Desk({ priority: "Low" });
  const ear = desk.hear("shop.chat", 1);
  for (const priority of [undefined, "Normal", "Low"] as const) desk.say(messageOrder("shop.chat", 1, { priority }));
  expect(ear.records.map(({ low }) => low)).toEqual([true, false, true]);
});

test("above its rate a topic id's messages are refused before they are sequenced", () => {
  const desk = new Desk({ maxPublishesPerSecond: 2 });
  const ear = desk.hear("shop.chat", 1);
  const answers = Array.from({ length: 4 }, () => desk.say(messageOrder("shop.chat", 1)));
  expect(answers.slice(2)).toEqual(["rate_limited", "rate_limited"]);
  expect([ear.records.length, desk.counter.last]).toEqual([2, 2]);
  desk.clock.advance(500);
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1 });
});

test("a batch window holds messages together, in order, and a change of who listens ends it", () => {
  const desk = new Desk({ batchWindowMilliseconds: 100 });
  const ear = desk.hear("shop.chat", 1);
  desk.table.listen({
    beforeMembership: (entry) => desk.windows.flush(entry),
    changed: () => undefined,
  });
  for (const n of [0, 1]) desk.say(messageOrder("shop.chat", n));
  desk.clock.advance(99);
  expect(ear.records).toEqual([]);
  desk.clock.advance(1);
  expect(ear.envelopes.map(({ payload }) => payload)).toEqual([0, 1]);
  desk.say(messageOrder("shop.chat", 2));
  const late = desk.hear("shop.chat", 1);
  expect([ear.records.length, late.records.length]).toEqual([3, 0]);
  desk.clock.advance(1_000);
  expect(late.records).toEqual([]);
});

test("a batch window that holds 256 KiB ends early", () => {
  const desk = new Desk({ batchWindowMilliseconds: 1_000 });
  const ear = desk.hear("shop.chat", 1);
  for (let n = 0; n < 4; n++) desk.say(messageOrder("shop.chat", "x".repeat(65_000)));
  expect(ear.records).toEqual([]);
  desk.say(messageOrder("shop.chat", "x".repeat(65_000)));
  expect(ear.records).toHaveLength(5);
});

test("batch windows that hold 64 MiB together let the oldest go", () => {
  const desk = new Desk({ batchWindowMilliseconds: 1_000, channels: "Dynamic" });
  const ears: Ear[] = [];
  const say = (): void => {
    const id = `shop.chat:${String(ears.length).padStart(5, "0")}`;
    ears.push(desk.hear(id, 1));
    desk.say(messageOrder(id, "x".repeat(65_000)));
  };
  say();
  const room = Math.floor(ALL_HELD_BYTES_MAX / (desk.windows.bytes + 8));
  while (ears.length < room) say();
  expect(ears.flatMap((ear) => ear.records)).toEqual([]);
  while (ears.length < room + 2) say();
  expect(ears.slice(0, 3).map((ear) => ear.records.length)).toEqual([1, 1, 0]);
  expect(desk.windows.bytes).toBeLessThanOrEqual(ALL_HELD_BYTES_MAX);
  desk.clock.advance(1_000);
  expect([desk.windows.bytes, desk.windows.size]).toEqual([0, 0]);
});

test("receipts wait for every link that has the message, and links that let it go are known", async () => {
  const desk = new Desk();
  const ear = desk.hear("shop.chat", 2);
  const waiting = desk.sequencer.sequence(messageOrder("shop.chat", 1, { receipt: "gateway" }));
  const [record] = ear.records;
  expect(record?.receiptId).toBe(1);
  desk.receipts.answer(ear, 1, 0, { slow_consumer: 2 });
  expect(answerOf(await waiting)).toMatchObject({
    deliveredTo: 0,
    exact: true,
    dropped: true,
    reason: "backpressure",
    notDelivered: { slow_consumer: 2 },
  });
});

test("a link that has ended and whose interest is still there is neither counted nor waited for", async () => {
  const desk = new Desk();
  const [ended, well] = [desk.hear("shop.chat", 2), desk.hear("shop.chat", 1)];
  ended.open = false;
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1 });
  const waiting = desk.sequencer.sequence(messageOrder("shop.chat", 1, { receipt: "gateway" }));
  desk.receipts.answer(well, 1, 1, {});
  expect(answerOf(await waiting)).toMatchObject({ deliveredTo: 1, exact: true });
  well.open = false;
  const nobody = await desk.sequencer.sequence(messageOrder("shop.chat", 1, { receipt: "gateway" }));
  expect(answerOf(nobody)).toMatchObject({ deliveredTo: 0, dropped: true, reason: "no_subscribers" });
});

test("where every link has ended and its interest is still there, only a warm router answers 0", () => {
  const desk = new Desk();
  desk.hear("shop.chat", 2).open = false;
  const eviction = { target: { userId: "alice", connectionId: undefined }, reason: "requested" } as const;
  desk.warm = false;
  for (const receipt of ["router", "gateway"] as const) {
    expect(desk.say(messageOrder("shop.chat", 1, { receipt }))).toBe("wrong_router");
  }
  expect(desk.say({ kind: "evict", topicId: "shop.chat", eviction })).toBe("wrong_router");
  expect(desk.counter.last).toBe(0);
  desk.warm = true;
  expect(desk.say(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 0, reason: "no_subscribers" });
  expect(desk.say({ kind: "evict", topicId: "shop.chat", eviction })).toMatchObject({ deliveredTo: 0, exact: true });
});

test("presence of a topic that nobody asked it of goes nowhere and is kept nowhere", () => {
  const desk = new Desk({ presence: "Members" });
  const ear = desk.hear("shop.chat", 1);
  const update = { count: 1, version: 1, joined: [{ userId: "alice", info: undefined }], left: [] };
  expect(desk.say({ kind: "presence", topicId: "shop.chat", update })).toMatchObject({ deliveredTo: 0, dropped: true });
  desk.presence.sweep(desk.clock.monotonic() + 10_000);
  expect(ear.records).toEqual([]);
});

test("who joined and left around a time when nobody asked is told to nobody who asks later", () => {
  const desk = new Desk({ presence: "Members" });
  const ear = desk.hear("shop.chat", 1, 1);
  const member = [{ userId: "alice", info: undefined }];
  const say = (update: { joined?: typeof member; left?: typeof member; count: number; version: number }): void => {
    desk.say({ kind: "presence", topicId: "shop.chat", update: { joined: [], left: [], ...update } });
  };
  say({ count: 1, version: 1, joined: [{ userId: "bob", info: undefined }] });
  desk.presence.sweep(desk.clock.monotonic());
  say({ count: 2, version: 2, joined: member });
  desk.hear("shop.chat", 1, 0, ear);
  say({ count: 1, version: 3, left: member });
  desk.hear("shop.chat", 1, 1, ear);
  desk.presence.sweep(desk.clock.monotonic() + 60_000);
  expect(ear.envelopes).toMatchObject([{ count: 1, joined: [{ user_id: "bob" }] }]);
});

test("changes of members are due until their frame is out; a count that changes for ever is not", () => {
  const desk = new Desk({ presence: "Members" });
  desk.hear("shop.chat", 1, 1);
  const entry = desk.table.get("shop.chat");
  if (entry !== undefined) desk.presence.totalChanged(entry);
  expect(desk.presence.membersDue).toBe(false);
  const update = { count: 1, version: 1, joined: [{ userId: "alice", info: undefined }], left: [] };
  desk.say({ kind: "presence", topicId: "shop.chat", update });
  expect(desk.presence.membersDue).toBe(true);
  desk.presence.sweep(desk.clock.monotonic());
  expect(desk.presence.membersDue).toBe(false);
});

test("more changes of a second than a frame lists leave the numbers alone", () => {
  const desk = new Desk({ presence: "Members" });
  const ear = desk.hear("shop.chat", 1, 1);
  for (let n = 0; n <= 1_000; n++) {
    const update = { count: n + 1, version: n + 1, joined: [{ userId: `user-${n}`, info: undefined }], left: [] };
    desk.say({ kind: "presence", topicId: "shop.chat", update });
  }
  desk.presence.sweep(desk.clock.monotonic());
  expect(ear.envelopes).toEqual([{ type: "presence", topic_id: "shop.chat", count: 1_001, connections: 1 }]);
});

test("the last word on each user is in the frame, in whatever order the updates come", () => {
  const desk = new Desk({ presence: "Members" });
  const ear = desk.hear("shop.chat", 1, 1);
  const member = [{ userId: "alice", info: undefined }];
  const joined = { count: 2, version: 7, joined: member, left: [] };
  const left = { count: 1, version: 8, joined: [], left: member };
  const back = { count: 2, version: 9, joined: member, left: [] };
  const gone = { count: 1, joined: [], left: [{ user_id: "alice" }] };
  const here = { count: 2, joined: [{ user_id: "alice" }], left: [] };
  for (const [updates, told] of [
    [[joined, left], gone],
    [[left, joined], gone],
    [[left, back], here],
    [[back, left], here],
  ] as const) {
    for (const update of updates) desk.say({ kind: "presence", topicId: "shop.chat", update });
    desk.presence.sweep(desk.clock.monotonic());
    desk.clock.advance(1_000);
    expect(ear.envelopes.at(-1)).toMatchObject(told);
  }
  expect(ear.envelopes).toHaveLength(4);
});
