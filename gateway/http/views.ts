// Owns: how things look in HTTP answers: our types in, plain objects with the API's own field names out. Pure.

import type { Permissions } from "#core/domain/topic.ts";
import type { PublishInput, TopicView } from "#core/edge/edge.ts";
import type { PublishResult } from "#core/fleet/publish-order.ts";
import type { ShardMap } from "#core/domain/shard-map.ts";
import { ownersOf } from "#core/domain/shard-map.ts";
import type { DescribeTopicResponse } from "#proto/earshot/internal/v1/router_pb.ts";
import type { PresencePage } from "../presence/presence.ts";

/** Permissions as HTTP writes them. */
export const PERMISSION_WORDS = {
  PUBLIC: "Public",
  PRIVATE: "Private",
  PUBLISH_ONLY: "PublishOnly",
  SUBSCRIBE_ONLY: "SubscribeOnly",
} as const satisfies Record<string, Permissions>;

export type PermissionWord = keyof typeof PERMISSION_WORDS;

const WORD_OF: Readonly<Record<Permissions, PermissionWord>> = {
  Public: "PUBLIC",
  Private: "PRIVATE",
  PublishOnly: "PUBLISH_ONLY",
  SubscribeOnly: "SUBSCRIBE_ONLY",
};

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

/** `201` of a create, `200` of a change. */
export function topicChanged(topic: TopicView, ready: boolean): Record<string, unknown> {
  return {
    topic_id: topic.topicId,
    name: topic.name,
    permissions: WORD_OF[topic.permissions],
    owner_id: topic.ownerId ?? null,
    created_at: timeOf(topic.createdAtMs),
    ready,
  };
}

export function topicSeen(topic: TopicView): Record<string, unknown> {
  return {
    topic_id: topic.topicId,
    name: topic.name,
    owner_id: topic.ownerId ?? null,
    created_at: timeOf(topic.createdAtMs),
    subscriber_count: topic.subscriberCount ?? null,
    permissions: WORD_OF[topic.permissions],
  };
}

/** The answer to a publish; also the fields of a WebSocket's `published`. */
export function published(result: PublishResult, receipt: PublishInput["receipt"]): Record<string, unknown> {
  return {
    message_id: result.messageId,
    delivered_to: result.deliveredTo,
    exact: result.exact,
    dropped: result.dropped,
    ...(result.reason === undefined ? {} : { reason: result.reason }),
    ...(receipt === "gateway" ? { not_delivered: result.notDelivered } : {}),
  };
}

/** JSON text of a page of `/subscribers`. `info` goes in as the text it is: its numbers and keys are the token's own. */
export function subscribersText(page: PresencePage, connections: number | undefined, stale: boolean): string {
  const subscribers = page.members.map(({ userId, info, subscriptionId, connectionId, subscribedAtMs }) => {
    const rest = JSON.stringify({
      subscription_id: subscriptionId,
      connection_id: connectionId,
      subscribed_at: timeOf(subscribedAtMs),
    });
    return `{"user_id":${JSON.stringify(userId)},"info":${info ?? "null"},${rest.slice(1)}`;
  });
  const rest = JSON.stringify({
    count: page.count,
    connections: connections ?? null,
    next_cursor: page.nextCursor ?? null,
    ...(stale ? { stale: true } : {}),
  });
  return `{"subscribers":[${subscribers.join(",")}],${rest.slice(1)}`;
}

/** Why did nobody hear it: as the topic's router and this gateway's map see it. Numbers are far below 2^53. */
export function routeSeen(topicId: string, map: ShardMap, seen: DescribeTopicResponse): Record<string, unknown> {
  return {
    shard: seen.shard,
    epoch: Number(seen.epoch),
    routers: ownersOf(map, topicId).map(({ name, incarnation }) => ({ id: name, incarnation })),
    gateways: seen.gateways.map(({ gatewayName, gatewayIncarnation, subscriptions }) => ({
      id: gatewayName,
      incarnation: gatewayIncarnation,
      subscriptions,
    })),
    last_drops: seen.lastDrops.map(({ atMs, reason, count }) => ({
      at: timeOf(Number(atMs)),
      reason,
      count: Number(count),
    })),
  };
}
