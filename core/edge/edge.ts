// Owns: what every door (HTTP, WebSocket, SSE, gRPC; gateway or router) asks before it lets anything in. One object per
// process, built by core/edge/create-edge.ts. Every refusal is an EarshotError whose message is for the user.
// Elsewhere: the rules (core/domain/access.ts), where a publish goes (core/fleet/placer.ts).

import type { Action } from "../domain/access.ts";
import type { Principal } from "../domain/principal.ts";
import type { Channels, Permissions, Presence, Priority, Subject, Topic } from "../domain/topic.ts";
import type { TopicId } from "../domain/topic-id.ts";
import type { PublishResult } from "../fleet/publish-order.ts";

/** Characters of a connection id that a caller names: ours have about 20. */
export const EXCLUDE_CONNECTION_ID_LENGTH_MAX = 64;

/** A topic id that a principal may do something with, and the Topic that governs it. */
export interface Granted {
  readonly topicId: TopicId;
  readonly topic: Topic;
}

/** A publish as a door parsed it: checked for shape, not yet for rights. */
export interface PublishInput {
  readonly topicId: string;
  /** JSON text as it was written, or bytes (base64 already decoded). */
  readonly content:
    | { readonly kind: "json"; readonly text: string }
    | { readonly kind: "binary"; readonly bytes: Uint8Array };
  readonly priority: Priority | undefined;
  readonly receipt: "router" | "gateway";
  readonly excludeConnectionId: string;
}

/** Ways in by which one can publish. */
export const DOORS = ["http", "websocket", "grpc"] as const;
export type Door = (typeof DOORS)[number];

/** Who calls: for rights, rate limits and `publisher_id`. */
export interface Caller {
  readonly principal: Principal;
  /** Address for limits: the client's, behind trusted proxies. */
  readonly address: string;
  /** Connection the call came over (WebSocket), or a fresh id for one call. */
  readonly connectionId: string;
  readonly door: Door;
}

/** A Topic as the API shows it. */
export interface TopicView {
  readonly topicId: string;
  readonly name: string;
  readonly ownerId: string | undefined;
  readonly createdAtMs: number;
  readonly permissions: Permissions;
  readonly channels: Channels;
  readonly presence: Presence;
  /** Subscriptions of exactly this id; undefined where a router could not be asked. */
  readonly subscriberCount: number | undefined;
}

/** Fields of a Topic that HTTP and gRPC may set; undefined: default (create) or unchanged (update). */
export interface TopicFields {
  readonly permissions: Permissions | undefined;
  readonly channels: Channels | undefined;
  readonly presence: Presence | undefined;
  readonly publishers: readonly Subject[] | undefined;
  readonly subscribers: readonly Subject[] | undefined;
}

export interface Edge {
  /**
   * Proves a token; undefined is the anonymous principal. With the caller's `address`, one that sends many bad tokens is
   * refused before the next is looked at. Throws unauthenticated, token_expired, rate_limited, overloaded, forbidden.
   */
  authenticate(token: string | undefined, address?: string): Promise<Principal>;
  /** Takes one call from the caller's buckets. Throws rate_limited. */
  admitCall(caller: Caller): void;
  /** Throws topic_id_invalid, topic_not_found, unauthenticated, forbidden. */
  authorize(action: Action, principal: Principal, topicId: string): Granted;
  /** Checks everything and hands the message on. Throws any code that a publish can meet. */
  publish(caller: Caller, input: PublishInput): Promise<PublishResult>;
  readonly topics: TopicCalls;
}

/** The topic calls of HTTP and gRPC. Every one checks the caller's rights. */
export interface TopicCalls {
  create(
    caller: Caller,
    namespace: string | undefined,
    name: string,
    fields: TopicFields,
  ): Promise<{ topic: TopicView; ready: boolean }>;
  update(caller: Caller, topicId: string, fields: TopicFields): Promise<{ topic: TopicView; ready: boolean }>;
  get(caller: Caller, topicId: string): Promise<TopicView>;
  /** Only Topics that the caller may see, in the order of their ids. */
  list(
    caller: Caller,
    limit: number,
    cursor: string | undefined,
  ): Promise<{ topics: readonly TopicView[]; nextCursor: string | undefined }>;
  delete(caller: Caller, topicId: string): Promise<void>;
}
