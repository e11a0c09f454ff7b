// Owns: presence types on the wire (earshot.internal.v1 presence.proto), both ways. Pure. Counts and versions are below
// 2^53 (versions begin at microseconds since the epoch), so plain numbers hold them.

import { create } from "@bufbuild/protobuf";
import {
  type MemberSubscription,
  MemberSubscriptionSchema,
  PresenceDecisionSchema,
  PresenceOperationSchema,
  type PresenceDecision as WireDecision,
  type PresenceOperation as WireOperation,
  type ReapedMember,
  ReapedMemberSchema,
} from "#proto/earshot/internal/v1/presence_pb.ts";
import type { PresenceDecision, PresenceEntry, PresenceOperation, PresenceReaped } from "./presence.ts";

export function toOperation({ kind, entry, resent }: PresenceOperation): WireOperation {
  const { topicId, userId, info, connectionId, subscriptionId, subscribedAtMs } = entry;
  return create(PresenceOperationSchema, {
    topicId,
    userId,
    info: info ?? "",
    connectionId,
    subscriptionId,
    subscribedAtMs: BigInt(subscribedAtMs),
    leave: kind === "leave",
    resent: resent === true,
  });
}

export function fromOperation(wire: WireOperation): PresenceOperation {
  return { kind: wire.leave ? "leave" : "join", entry: fromMember(wire.topicId, wire), resent: wire.resent };
}

export function toMember({ userId, info, connectionId, subscriptionId, subscribedAtMs }: PresenceEntry) {
  return create(MemberSubscriptionSchema, {
    userId,
    info: info ?? "",
    connectionId,
    subscriptionId,
    subscribedAtMs: BigInt(subscribedAtMs),
  });
}

type MemberFields = Pick<MemberSubscription, "userId" | "info" | "connectionId" | "subscriptionId" | "subscribedAtMs">;

export function fromMember(topicId: string, wire: MemberFields): PresenceEntry {
  return {
    topicId,
    userId: wire.userId,
    info: wire.info === "" ? undefined : wire.info,
    connectionId: wire.connectionId,
    subscriptionId: wire.subscriptionId,
    subscribedAtMs: Number(wire.subscribedAtMs),
  };
}

export function toDecision({ changed, count, version }: PresenceDecision): WireDecision {
  return create(PresenceDecisionSchema, { changed, count: BigInt(count), version: BigInt(version) });
}

export function fromDecision({ changed, count, version }: WireDecision): PresenceDecision {
  return { changed, count: Number(count), version: Number(version) };
}

export function toReaped({ topicId, userId, count, version }: PresenceReaped): ReapedMember {
  return create(ReapedMemberSchema, { topicId, userId, count: BigInt(count), version: BigInt(version) });
}

export function fromReaped({ topicId, userId, count, version }: ReapedMember): PresenceReaped {
  return { topicId, userId, count: Number(count), version: Number(version) };
}
