// Owns: how things look in HTTP answers: our types in, plain objects with the API's own field names out. Pure.

import type { Permissions } from "#core/domain/topic.ts";
import type { PublishInput, TopicView } from "#core/edge/edge.ts";
import type { PublishResult } from "#core/fleet/publish-order.ts";

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

export function timeOf(ms: number): string {
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
