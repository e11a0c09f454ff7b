// Owns: publishes and their outcomes on the wire between an edge and the router that sequences them. Used by both ends:
// core/fleet/publish-stream.ts sends orders, router/ reads them and answers.

import { create } from "@bufbuild/protobuf";
import { type Code, DROP_REASONS, type DropReason, isCode } from "../domain/codes.ts";
import { EarshotError } from "../runtime/errors.ts";
import { type Eviction as ProtoEviction, EvictionSchema, RecordKind } from "#proto/earshot/internal/v1/link_pb.ts";
import {
  type Outcome,
  OutcomeSchema,
  type PresenceUpdate as ProtoPresenceUpdate,
  PresenceUpdateSchema,
  type Publish,
  PublishSchema,
} from "#proto/earshot/internal/v1/router_pb.ts";
import { Receipt } from "#proto/earshot/v1/topic_types_pb.ts";
import type { Eviction, EvictionTarget, PresenceUpdate, PublishOrder, PublishResult } from "./publish-order.ts";
import { type Parsed, priorityCodec } from "./topic-codec.ts";

/** What stands in Outcome.code when a router refuses a publish unhandled: the sender may try the next in the list. */
export const WRONG_ROUTER = "wrong_router";

/** What a router said of one publish. */
export type Answer =
  | { readonly kind: "done"; readonly result: PublishResult }
  | { readonly kind: "wrong_router" }
  | { readonly kind: "failed"; readonly error: EarshotError };

/** `id` is unique on the stream, `epoch` that of the map the sender placed it by. */
export function orderToProto(order: PublishOrder, id: bigint, epoch: number): Publish {
  const publish = create(PublishSchema);
  publish.id = id;
  publish.epoch = BigInt(epoch);
  publish.topicId = order.topicId;
  switch (order.kind) {
    case "message":
      publish.payload = order.payload;
      publish.binary = order.binary;
      publish.publisherId = order.publisherId;
      if (order.priority !== undefined) publish.priority = priorityCodec.to(order.priority);
      if (order.receipt === "gateway") publish.receipt = Receipt.GATEWAY;
      publish.originConnectionId = order.originConnectionId;
      publish.excludeConnectionId = order.excludeConnectionId;
      break;
    case "presence":
      publish.kind = RecordKind.PRESENCE;
      publish.presence = presenceToProto(order.update);
      break;
    case "evict":
      publish.kind = RecordKind.EVICT;
      publish.eviction = evictionToProto(order.eviction);
      break;
  }
  return publish;
}

/** The payload stays a view of what was decoded. Priorities and receipts of a newer version read as the default. */
export function protoToOrder(publish: Publish): Parsed<PublishOrder> {
  const { topicId } = publish;
  switch (publish.kind) {
    case RecordKind.UNSPECIFIED:
      return {
        ok: true,
        value: {
          kind: "message",
          topicId,
          payload: publish.payload,
          binary: publish.binary,
          publisherId: publish.publisherId,
          priority: priorityCodec.from(publish.priority),
          receipt: publish.receipt === Receipt.GATEWAY ? "gateway" : "router",
          originConnectionId: publish.originConnectionId,
          excludeConnectionId: publish.excludeConnectionId,
        },
      };
    case RecordKind.PRESENCE:
      if (publish.presence === undefined) return { ok: false, reason: "presence is missing" };
      return { ok: true, value: { kind: "presence", topicId, update: presenceFromProto(publish.presence) } };
    case RecordKind.EVICT: {
      if (publish.eviction === undefined) return { ok: false, reason: "eviction is missing" };
      const eviction = evictionFromProto(publish.eviction);
      return eviction.ok ? { ok: true, value: { kind: "evict", topicId, eviction: eviction.value } } : eviction;
    }
    default:
      return { ok: false, reason: `kind ${publish.kind} is not known here` };
  }
}

export function evictionToProto({ target, reason }: Eviction): ProtoEviction {
  return "connectionKey" in target
    ? create(EvictionSchema, { connectionKey: target.connectionKey, reason })
    : create(EvictionSchema, { userId: target.userId, connectionId: target.connectionId ?? "", reason });
}

function evictionFromProto(proto: ProtoEviction): Parsed<Eviction> {
  const { userId, connectionId, connectionKey, reason } = proto;
  if (reason !== "requested" && reason !== "removed")
    return { ok: false, reason: `reason ${reason} is not known here` };
  if ((userId === "") === (connectionKey === "")) {
    return { ok: false, reason: "exactly one of user_id and connection_key names whom to evict" };
  }
  const target: EvictionTarget =
    connectionKey === "" ? { userId, connectionId: connectionId === "" ? undefined : connectionId } : { connectionKey };
  return { ok: true, value: { target, reason } };
}

function presenceToProto(update: PresenceUpdate): ProtoPresenceUpdate {
  return create(PresenceUpdateSchema, {
    count: BigInt(update.count),
    version: BigInt(update.version),
    joined: update.joined.map(({ userId, info }) => ({ userId, info: info ?? "" })),
    left: update.left.map(({ userId, info }) => ({ userId, info: info ?? "" })),
  });
}

function presenceFromProto(proto: ProtoPresenceUpdate): PresenceUpdate {
  const member = ({ userId, info }: { userId: string; info: string }) => ({
    userId,
    info: info === "" ? undefined : info,
  });
  return {
    count: Number(proto.count),
    version: Number(proto.version),
    joined: proto.joined.map(member),
    left: proto.left.map(member),
  };
}

/** `sequence` is the part of the result's message id behind the router's incarnation; 0 where it has no message id. */
export function resultToOutcome(id: bigint, result: PublishResult): Outcome {
  const outcome = create(OutcomeSchema);
  outcome.id = id;
  outcome.sequence = sequenceOf(result.messageId);
  outcome.deliveredTo = BigInt(result.deliveredTo);
  outcome.exact = result.exact;
  outcome.dropped = result.dropped;
  outcome.reason = result.reason ?? "";
  for (const [reason, count] of Object.entries(result.notDelivered)) outcome.notDelivered[reason] = BigInt(count);
  return outcome;
}

export function refusalToOutcome(id: bigint, code: Code | typeof WRONG_ROUTER): Outcome {
  return create(OutcomeSchema, { id, code });
}

/** What a router's outcome means; `incarnation` is that router's. */
export function outcomeToAnswer(outcome: Outcome, incarnation: string): Answer {
  const { code } = outcome;
  if (code === WRONG_ROUTER) return { kind: "wrong_router" };
  // A code of a newer version: something became of the publish, and nobody here knows what.
  if (code !== "") return { kind: "failed", error: new EarshotError(isCode(code) ? code : "publish_unknown") };
  const notDelivered: Record<string, number> = {};
  for (const [reason, count] of Object.entries(outcome.notDelivered)) notDelivered[reason] = Number(count);
  return {
    kind: "done",
    result: {
      messageId: outcome.sequence === 0n ? "" : `${incarnation}-${outcome.sequence}`,
      deliveredTo: Number(outcome.deliveredTo),
      exact: outcome.exact,
      dropped: outcome.dropped,
      reason: isDropReason(outcome.reason) ? outcome.reason : undefined,
      notDelivered,
    },
  };
}

function sequenceOf(messageId: string): bigint {
  return messageId === "" ? 0n : BigInt(messageId.slice(messageId.lastIndexOf("-") + 1));
}

function isDropReason(reason: string): reason is DropReason {
  return Object.hasOwn(DROP_REASONS, reason);
}

/** Bytes that an order weighs against the caps of queues: what it holds, and a little for being held. */
export function weightOf(order: PublishOrder): number {
  const common = ORDER_OVERHEAD_BYTES + order.topicId.length;
  switch (order.kind) {
    case "message":
      return common + order.payload.byteLength;
    case "presence": {
      let bytes = common;
      for (const { userId, info } of order.update.joined) bytes += userId.length + (info?.length ?? 0);
      for (const { userId } of order.update.left) bytes += userId.length;
      return bytes;
    }
    case "evict":
      return common;
  }
}

/** What the other fields weigh: ids and flags. */
const ORDER_OVERHEAD_BYTES = 64;
