import { EventEmitter } from "node:events";
import { create, fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { Topic } from "#core/domain/topic.ts";
import {
  InterestBatchSchema,
  InterestConfirmSchema,
  LinkHelloSchema,
  type RouterFrame,
  RouterFrameSchema,
} from "#proto/earshot/internal/v1/link_pb.ts";
import { InterestTable } from "../../router/interest.ts";
import { Admissions, InterestIntake, type IntakeDeps } from "../../router/links/interest-intake.ts";
import { Link, type LinkCall } from "../../router/links/link.ts";
import { BATCH_RECORD, frameBytes, writeVarint } from "../../router/links/wire.ts";
import { Placement } from "../../router/placement.ts";
import type { QueuedRecord } from "../../router/record.ts";
import { SpokenMemory } from "../../router/spoken-memory.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { mapOf, routerAt } from "../harness/hand-map.ts";
import { handTopic } from "../harness/router-rig.ts";

/** A gateway's stream that takes everything or nothing. */
class HandCall extends EventEmitter {
  readonly frames: RouterFrame["frame"][] = [];
  writableNeedDrain = false;

  /** Tells that the last batch was taken. */
  taken: () => void = () => undefined;

  write(bytes: Uint8Array, taken?: () => void): boolean {
    this.frames.push(fromBinary(RouterFrameSchema, bytes).frame);
    if (taken !== undefined) this.taken = taken;
    return true;
  }

  end(): void {
    this.emit("ended");
  }

  get missed() {
    return this.frames.flatMap((frame) => (frame.case === "overflow" ? [frame.value.missed] : []));
  }

  get states() {
    return this.frames.flatMap((frame) => (frame.case === "confirm" ? frame.value.states : []));
  }
}

function handLink(clock: HandClock, incarnation = "g0"): { link: Link; call: HandCall; measured: string[] } {
  const measured: string[] = [];
  const call = new HandCall();
  const link = new Link({
    call: call as unknown as LinkCall,
    gateway: create(LinkHelloSchema, { incarnation }),
    clock,
    dropped: () => {},
    dead: () => {},
    flushSoon: () => {},
    batchSent: (records, waitedMs) => measured.push(`${records} sent after ${waitedMs}`),
    batchHandedOn: (tookMs) => measured.push(`handed on after ${tookMs}`),
  });
  return { link, call, measured };
}

class Table {
  readonly clock = new HandClock();
  readonly topics = new Map<string, Topic>();
  readonly placement = new Placement("me");
  readonly table = new InterestTable<Link>({ last: 0 }, new SpokenMemory(0));
  readonly deps: IntakeDeps = {
    table: this.table,
    placement: this.placement,
    admission: { admit: () => true },
    topic: (key) => this.topics.get(key),
    clock: this.clock,
  };

  constructor(topic: Topic) {
    this.topics.set(topic.key, topic);
    this.placement.apply(mapOf(1, [routerAt("me")]));
  }

  link(incarnation: string) {
    const { link, call } = handLink(this.clock, incarnation);
    const intake = new InterestIntake(link, this.deps, new Admissions(), () => {});
    const ask = (topicId: string, count: number) => {
      intake.take(create(InterestBatchSchema, { interests: [{ topicId, count }] }));
      return call.states.at(-1);
    };
    return { link, ask };
  }
}

test("a batch is measured by its oldest record: until it is written, and until the gateway has handed it on", () => {
  const clock = new HandClock();
  const { link, call, measured } = handLink(clock);
  const record = (): QueuedRecord => {
    const framed = Buffer.from([BATCH_RECORD, 0]);
    return { framed, topicId: "shop.chat", kind: "message", low: false, atMs: clock.monotonic(), receiptId: 0 };
  };
  link.push(record());
  link.flush();
  link.push(record());
  clock.advance(30);
  link.push(record());
  call.taken();
  expect(measured.splice(0)).toEqual(["1 sent after 0", "2 sent after 30"]);
  clock.advance(20);
  link.confirmed(2);
  expect(measured).toEqual(["handed on after 50", "handed on after 50"]);
});

test("a confirm speaks of what the gateway has heard: it goes behind what is queued, but never waits for a slow gateway", () => {
  const { link, call } = handLink(new HandClock());
  const framed = Buffer.alloc(64 * 1024);
  framed[0] = BATCH_RECORD;
  writeVarint(framed, 1, framed.length - 4);
  const record: QueuedRecord = { framed, topicId: "shop.chat", kind: "message", low: false, atMs: 0, receiptId: 0 };
  const confirm = frameBytes({ case: "confirm", value: create(InterestConfirmSchema) });
  const sent = (): (string | undefined)[] => call.frames.splice(0).map((frame) => frame.case);
  link.push(record);
  link.sendBehind(confirm);
  expect(sent()).toEqual(["batch", "confirm"]);
  // The batch is being written: the next one waits, and what goes behind it too.
  link.push(record);
  link.sendBehind(confirm);
  expect(sent()).toEqual([]);
  call.taken();
  expect(sent()).toEqual(["batch", "confirm"]);
  // 2 MiB are in flight and not confirmed: nothing more is sent, but for what must not be late.
  for (let records = 0; records < 40; records++) {
    link.push(record);
    call.taken();
  }
  sent();
  link.push(record);
  link.sendBehind(confirm);
  expect(sent()).toEqual(["confirm"]);
  link.close();
});

test("topics that a link missed something of are told in frames of a bounded size, each topic once", () => {
  const { link, call } = handLink(new HandClock());
  // 64 KiB with tag and length: 128 of them fill a link.
  const framed = Buffer.alloc(64 * 1024);
  framed[0] = BATCH_RECORD;
  writeVarint(framed, 1, framed.length - 4);
  const record = { framed, kind: "message", low: false, atMs: 0, receiptId: 0 } as const;
  call.writableNeedDrain = true;
  const topics = Array.from({ length: 10_000 }, (_, n) => `shop.chat:${n}`);
  for (const topicId of topics) link.push({ ...record, topicId } satisfies QueuedRecord);
  call.writableNeedDrain = false;
  link.flush();
  expect(call.missed.map((missed) => missed.length)).toEqual([4_096, 4_096, 10_000 - 128 - 2 * 4_096]);
  expect(call.missed.flat().map(({ topicId }) => topicId)).toEqual(topics.slice(0, -128));
  link.close();
});

test("a gateway that links anew finds the places that its ended link still holds for a moment", () => {
  const room = new Table(handTopic("shop.small", { maxSubscribers: 3 }));
  const before = room.link("g0");
  expect(before.ask("shop.small", 3)).toMatchObject({ granted: 3, refusal: "" });
  expect(room.link("g1").ask("shop.small", 1)).toMatchObject({ granted: 0, refusal: "topic_full" });
  before.link.close();
  const anew = room.link("g0");
  expect(anew.ask("shop.small", 3)).toMatchObject({ granted: 3, refusal: "" });
  expect(anew.ask("shop.small", 4)).toMatchObject({ granted: 3, refusal: "topic_full" });
});

test("when a topic spoke last is never told as longer ago than it was", () => {
  const room = new Table(handTopic("shop.chat"));
  const { ask } = room.link("g0");
  ask("shop.chat", 1);
  const entry = room.table.get("shop.chat");
  if (entry === undefined) throw new Error("no entry");
  entry.spokenAtMs = room.clock.monotonic() - 10.7;
  expect(ask("shop.chat", 2)?.lastSpokenMsAgo).toBe(10);
});
