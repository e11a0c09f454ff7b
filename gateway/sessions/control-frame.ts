// Owns: every frame that a gateway says of itself (not forwarded from a router), and its JSON as docs/protocol.md has it.
// The union is in our words; snake_case begins here. SSE carries the same JSON; gRPC has typed events (gateway/grpc).

import type { Code, GapReason, UnsubscribeReason } from "#core/domain/codes.ts";
import { CODES } from "#core/domain/codes.ts";
import type { PublishInput } from "#core/edge/edge.ts";
import type { PublishResult } from "#core/fleet/publish-order.ts";
import { published } from "../http/views.ts";

export type ControlFrame =
  | {
      readonly type: "welcome";
      readonly connectionId: string;
      readonly connectionKey: string;
      readonly userId: string;
      readonly pingIntervalMs: number;
      readonly tokenExpiresAtMs: number | undefined;
    }
  | {
      readonly type: "subscribed";
      readonly id: string | undefined;
      readonly topicId: string;
      readonly subscriptionId: string;
      /** Of the first-alive router, and the topic's last `seq` there; undefined while it has not confirmed. */
      readonly position: { readonly incarnation: string; readonly seq: number } | undefined;
      readonly count: number;
    }
  | {
      readonly type: "unsubscribed";
      readonly id: string | undefined;
      readonly topicId: string;
      readonly reason: UnsubscribeReason;
    }
  | {
      readonly type: "published";
      readonly id: string | undefined;
      readonly topicId: string;
      readonly result: PublishResult;
      readonly receipt: PublishInput["receipt"];
    }
  | {
      readonly type: "error";
      readonly id: string | undefined;
      readonly topicId: string | undefined;
      readonly code: Code;
      readonly message: string;
    }
  | {
      readonly type: "gap";
      readonly topicId: string;
      /** Undefined where it cannot be known. */
      readonly missed: number | undefined;
      readonly reason: GapReason;
    }
  | {
      readonly type: "token";
      readonly id: string | undefined;
      readonly userId: string;
      readonly tokenExpiresAtMs: number | undefined;
    }
  | { readonly type: "token_expiring"; readonly tokenExpiresAtMs: number }
  | { readonly type: "reconnect"; readonly delayMs: number; readonly closesInMs: number }
  | { readonly type: "pong"; readonly id: string | undefined }
  /** JSON as presence/frames.ts made it. */
  | { readonly type: "presence"; readonly json: string };

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

function timeOrNone(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : timeOf(ms);
}

/** The frame as one line of JSON. */
export function toJson(frame: ControlFrame): string {
  return frame.type === "presence" ? frame.json : JSON.stringify(shape(frame));
}

function shape(frame: Exclude<ControlFrame, { type: "presence" }>): Record<string, unknown> {
  switch (frame.type) {
    case "welcome":
      return {
        type: frame.type,
        connection_id: frame.connectionId,
        connection_key: frame.connectionKey,
        user_id: frame.userId,
        ping_interval_ms: frame.pingIntervalMs,
        token_expires_at: timeOrNone(frame.tokenExpiresAtMs),
      };
    case "subscribed":
      return {
        type: frame.type,
        id: frame.id,
        topic_id: frame.topicId,
        subscription_id: frame.subscriptionId,
        incarnation: frame.position?.incarnation ?? null,
        seq: frame.position?.seq ?? null,
        count: frame.count,
      };
    case "unsubscribed":
      return { type: frame.type, id: frame.id, topic_id: frame.topicId, reason: frame.reason };
    case "published":
      return { type: frame.type, id: frame.id, topic_id: frame.topicId, ...published(frame.result, frame.receipt) };
    case "error":
      return {
        type: frame.type,
        id: frame.id,
        topic_id: frame.topicId,
        code: frame.code,
        message: frame.message,
        retryable: CODES[frame.code].retryable,
      };
    case "gap":
      return { type: frame.type, topic_id: frame.topicId, missed: frame.missed, reason: frame.reason };
    case "token":
      return {
        type: frame.type,
        id: frame.id,
        user_id: frame.userId,
        token_expires_at: timeOrNone(frame.tokenExpiresAtMs),
      };
    case "token_expiring":
      return { type: frame.type, token_expires_at: timeOf(frame.tokenExpiresAtMs) };
    case "reconnect":
      return { type: frame.type, delay_ms: frame.delayMs, closes_in_ms: frame.closesInMs };
    case "pong":
      return { type: frame.type, id: frame.id };
  }
}
