import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CODES, type Code } from "#core/domain/codes.ts";
import { SHARD_COUNT } from "#core/domain/limits.ts";
import type { Router, ShardMap } from "#core/domain/shard-map.ts";
import type { Subject, Topic } from "#core/domain/topic.ts";
import {
  orderToProto,
  outcomeToAnswer,
  protoToOrder,
  refusalToOutcome,
  resultToOutcome,
  WRONG_ROUTER,
} from "#core/fleet/publish-codec.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import { NO_ROUTER, shardMapFromProto, shardMapToProto } from "#core/fleet/shard-map-codec.ts";
import { recordToTopic, topicToRecord } from "#core/fleet/topic-codec.ts";
import { ShardMapSchema, TopicRecordSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { OutcomeSchema, PublishSchema } from "#proto/earshot/internal/v1/router_pb.ts";

const text = fc.string({ minLength: 1, maxLength: 20 });
const count = fc.nat({ max: 1_000_000 });
const anySubject: fc.Arbitrary<Subject> = fc.oneof(
  text.map((name) => ({ kind: "User" as const, name })),
  text.map((name) => ({ kind: "Group" as const, name })),
  fc.tuple(text, text).map(([namespace, name]) => ({ kind: "ServiceAccount" as const, namespace, name })),
  fc.constant({ kind: "ChannelUser" as const }),
);
const subjects = fc.array(anySubject, { maxLength: 4 });
const label = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
const anyTopic: fc.Arbitrary<Topic> = fc
  .record({
    namespace: label,
    name: label,
    createdAtMs: fc.nat(),
    httpManaged: fc.boolean(),
    policy: fc.record({
      permissions: fc.constantFrom(
        "Public" as const,
        "Private" as const,
        "PublishOnly" as const,
        "SubscribeOnly" as const,
      ),
      owner: fc.option(text, { nil: undefined }),
      publishers: subjects,
      subscribers: subjects,
      channels: fc.constantFrom("None" as const, "Dynamic" as const),
      presence: fc.constantFrom("None" as const, "Count" as const, "Members" as const),
      slowConsumer: fc.constantFrom("DropOldest" as const, "DropNewest" as const, "Disconnect" as const),
      maxMessageBytes: fc.integer({ min: 1, max: 1024 * 1024 }),
      batchWindowMilliseconds: fc.nat({ max: 1_000 }),
      priority: fc.constantFrom("Normal" as const, "Low" as const),
      maxPublishesPerSecond: count,
      maxSubscribers: count,
      maxChannels: count,
    }),
  })
  .map((topic) => ({ ...topic, key: `${topic.namespace}.${topic.name}` }));

test("a Topic comes back from the wire as it was", () => {
  fc.assert(
    fc.property(anyTopic, (topic) => {
      const bytes = toBinary(TopicRecordSchema, topicToRecord(topic));
      expect(recordToTopic(fromBinary(TopicRecordSchema, bytes))).toEqual({ ok: true, value: topic });
    }),
  );
});

const anyRouters = fc.integer({ min: 0, max: 5 }).map((many) =>
  Array.from(
    { length: many },
    (_, n): Router => ({
      incarnation: `inc${n}`,
      name: `router-${n}`,
      address: `127.0.0.1:${4000 + n}`,
      node: `n${n % 2}`,
      zone: "",
    }),
  ),
);
const anyMap: fc.Arbitrary<ShardMap> = fc
  .record({ epoch: fc.integer({ min: 1, max: 2 ** 40 }), routers: anyRouters, seed: fc.nat() })
  .map(({ epoch, routers, seed }) => ({
    epoch,
    routers,
    shards: Array.from({ length: SHARD_COUNT }, (_, shard) => {
      if (routers.length === 0 || (seed + shard) % 7 === 0) return [];
      const at = (place: number) => routers.slice(place % routers.length).slice(0, 1);
      const primary = (seed * 31 + shard) % routers.length;
      return routers.length === 1 || shard % 5 === 0 ? at(primary) : [...at(primary), ...at(primary + 1)];
    }),
  }));

test("a shard map comes back from the wire as it was", () => {
  fc.assert(
    fc.property(anyMap, (map) => {
      const bytes = toBinary(ShardMapSchema, shardMapToProto(map));
      expect(shardMapFromProto(fromBinary(ShardMapSchema, bytes))).toEqual({ ok: true, value: map });
    }),
    { numRuns: 50 },
  );
});

test("any broken place of a shard map is a reason, never a throw and never a map", () => {
  fc.assert(
    fc.property(anyMap, fc.nat({ max: SHARD_COUNT - 1 }), fc.nat({ max: 7 }), (map, shard, fault) => {
      const proto = shardMapToProto(map);
      const faults: (() => void)[] = [
        () => (proto.epoch = 0n),
        () => (proto.epoch = 2n ** 63n),
        () => void proto.primaries.pop(),
        () => void proto.standbys.push(NO_ROUTER),
        () => (proto.primaries[shard] = map.routers.length),
        () => (proto.standbys[shard] = NO_ROUTER - 1),
        () => proto.routers.push(...shardMapToProto({ ...map, routers: [twin, twin] }).routers),
        () => {
          proto.primaries[shard] = NO_ROUTER;
          proto.standbys[shard] = 0;
        },
      ];
      faults[fault]?.();
      expect(shardMapFromProto(proto).ok).toBe(false);
    }),
    { numRuns: 100 },
  );
});
const twin: Router = { incarnation: "twin", name: "t", address: "127.0.0.1:1", node: "", zone: "" };

test("garbage bytes never make shardMapFromProto or recordToTopic throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const [schema, read] of [
        [ShardMapSchema, shardMapFromProto],
        [TopicRecordSchema, recordToTopic],
      ] as const) {
        let message: unknown;
        try {
          message = fromBinary(schema, bytes);
        } catch {
          continue;
        }
        (read as (value: unknown) => unknown)(message);
      }
    }),
  );
});

const info = fc.option(text, { nil: undefined });
const members = fc.array(fc.record({ userId: text, info }), { maxLength: 3 });
const anyOrder: fc.Arbitrary<PublishOrder> = fc.oneof(
  fc.record({
    kind: fc.constant("message" as const),
    topicId: text,
    payload: fc.uint8Array({ maxLength: 50 }),
    binary: fc.boolean(),
    publisherId: text,
    priority: fc.constantFrom("Normal" as const, "Low" as const, undefined),
    receipt: fc.constantFrom("router" as const, "gateway" as const),
    originConnectionId: fc.string(),
    excludeConnectionId: fc.string(),
  }),
  fc.record({
    kind: fc.constant("presence" as const),
    topicId: text,
    update: fc.record({ count, version: count, joined: members, left: members }),
  }),
  fc.record({
    kind: fc.constant("evict" as const),
    topicId: text,
    eviction: fc.record({
      reason: fc.constantFrom("requested" as const, "removed" as const),
      target: fc.oneof(
        fc.record({ userId: text, connectionId: fc.option(text, { nil: undefined }) }),
        fc.record({ connectionKey: text }),
      ),
    }),
  }),
);

test("a publish comes back from the wire as it was", () => {
  fc.assert(
    fc.property(anyOrder, fc.bigInt({ min: 1n, max: 2n ** 50n }), count, (order, id, epoch) => {
      const publish = fromBinary(PublishSchema, toBinary(PublishSchema, orderToProto(order, id, epoch)));
      expect([publish.id, publish.epoch]).toEqual([id, BigInt(epoch)]);
      expect(protoToOrder(publish)).toEqual({ ok: true, value: order });
    }),
  );
});

test("a publish whose kind and content disagree is refused with a reason", () => {
  expect(protoToOrder(create(PublishSchema, { kind: 1 }))).toEqual({ ok: false, reason: "presence is missing" });
  expect(protoToOrder(create(PublishSchema, { kind: 2 }))).toEqual({ ok: false, reason: "eviction is missing" });
  expect(protoToOrder(create(PublishSchema, { kind: 9 as 1 })).ok).toBe(false);
  for (const eviction of [
    { reason: "requested" },
    { reason: "requested", userId: "a", connectionKey: "b" },
    { reason: "whim", userId: "a" },
  ]) {
    expect(protoToOrder(create(PublishSchema, { kind: 2, eviction })).ok).toBe(false);
  }
});

const anyResult: fc.Arbitrary<PublishResult> = fc.record({
  messageId: fc.oneof(
    fc.constant(""),
    fc.bigInt({ min: 1n, max: 2n ** 60n }).map((n) => `r3a-${n}`),
  ),
  deliveredTo: count,
  exact: fc.boolean(),
  dropped: fc.boolean(),
  reason: fc.constantFrom("no_subscribers" as const, "backpressure" as const, undefined),
  notDelivered: fc.dictionary(label, count, { maxKeys: 3, noNullPrototype: true }),
});

test("what became of a publish comes back from the wire as it was", () => {
  fc.assert(
    fc.property(anyResult, (result) => {
      const outcome = fromBinary(OutcomeSchema, toBinary(OutcomeSchema, resultToOutcome(5n, result)));
      expect(outcomeToAnswer(outcome, "r3a")).toEqual({ kind: "done", result });
    }),
  );
});

test("every code comes back as its error; a code of another version is publish_unknown", () => {
  for (const code of Object.keys(CODES) as Code[]) {
    expect(outcomeToAnswer(refusalToOutcome(1n, code), "r")).toMatchObject({ kind: "failed", error: { code } });
  }
  expect(outcomeToAnswer(refusalToOutcome(1n, WRONG_ROUTER), "r")).toEqual({ kind: "wrong_router" });
  const newer = create(OutcomeSchema, { id: 1n, code: "from_the_future" });
  expect(outcomeToAnswer(newer, "r")).toMatchObject({ kind: "failed", error: { code: "publish_unknown" } });
});
