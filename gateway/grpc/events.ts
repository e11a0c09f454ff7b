// Owns: what WebSocket clients read as JSON, as the typed events of SubscriberService, encoded. Envelopes are taken apart
// by their fixed order of fields, so that a payload stays the very text that was spoken; a flight does this once for all
// its gRPC recipients. Pure.

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CODES } from "#core/domain/codes.ts";
import { type SubscribeResponse, SubscribeResponseSchema } from "#proto/earshot/v1/subscriber_pb.ts";
import type { ControlFrame } from "../sessions/control-frame.ts";

type Event = NonNullable<MessageInitShape<typeof SubscribeResponseSchema>["event"]>;

/** The encoded event of a frame; undefined for frames that gRPC clients have no use for. */
export function encodeGrpcControl(frame: ControlFrame): Buffer | undefined {
  const event = controlEvent(frame);
  return event === undefined ? undefined : encode(event);
}

/** The encoded event of a router's frame (message or presence). */
export function encodeGrpcEnvelope(envelope: Uint8Array): Buffer {
  const text = Buffer.from(envelope.buffer, envelope.byteOffset, envelope.byteLength).toString("utf8");
  return encode(text.startsWith('{"type":"presence"') ? presenceEvent(text) : messageEvent(text));
}

function encode(event: Event): Buffer {
  const message: SubscribeResponse = create(SubscribeResponseSchema, { event });
  const bytes = toBinary(SubscribeResponseSchema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function controlEvent(frame: ControlFrame): Event | undefined {
  switch (frame.type) {
    case "welcome": {
      const { connectionId, connectionKey, userId, tokenExpiresAtMs } = frame;
      const expiry = tokenExpiresAtMs === undefined ? {} : { tokenExpiresAt: timestampFromMs(tokenExpiresAtMs) };
      return { case: "welcome", value: { connectionId, connectionKey, userId, ...expiry } };
    }
    case "subscribed": {
      const { topicId, subscriptionId, position, count } = frame;
      const seq = position === undefined ? {} : { seq: BigInt(position.seq) };
      const incarnation = position?.incarnation ?? "";
      return { case: "subscribed", value: { topicId, subscriptionId, incarnation, ...seq, count: BigInt(count) } };
    }
    case "unsubscribed":
      return { case: "unsubscribed", value: { topicId: frame.topicId, reason: frame.reason } };
    case "error": {
      const { code, message, topicId = "" } = frame;
      return { case: "error", value: { topicId, code, message, retryable: CODES[code].retryable } };
    }
    case "gap": {
      const missed = frame.missed === undefined ? {} : { missed: BigInt(frame.missed) };
      return { case: "gap", value: { topicId: frame.topicId, reason: frame.reason, ...missed } };
    }
    case "reconnect":
      return { case: "reconnect", value: { delayMs: frame.delayMs, closesInMs: frame.closesInMs } };
    case "presence":
      return presenceEvent(frame.json);
    case "published":
    case "token":
    case "token_expiring":
    case "pong":
      return undefined;
  }
}

const BEFORE_PAYLOAD = ',"payload":';
const BINARY_END = ',"encoding":"base64"}';

interface EnvelopeHead {
  readonly topic_id: string;
  readonly message_id: string;
  readonly seq: number;
  readonly publisher_id: string;
  readonly timestamp: string;
}

function messageEvent(text: string): Event {
  // A quote inside a JSON string has a backslash before it, so the first match is the field itself.
  const at = text.indexOf(BEFORE_PAYLOAD);
  const head = JSON.parse(`${text.slice(0, at)}}`) as EnvelopeHead;
  const isBinary = text.endsWith(BINARY_END);
  const raw = text.slice(at + BEFORE_PAYLOAD.length, isBinary ? -BINARY_END.length : -1);
  return {
    case: "message",
    value: {
      topicId: head.topic_id,
      messageId: head.message_id,
      seq: BigInt(head.seq),
      publisherId: head.publisher_id,
      timestamp: timestampFromMs(Date.parse(head.timestamp)),
      content: isBinary
        ? { case: "binary", value: Buffer.from(JSON.parse(raw) as string, "base64") }
        : { case: "payload", value: raw },
    },
  };
}

interface PresenceJson {
  readonly topic_id: string;
  readonly count?: number;
  readonly connections?: number;
  readonly subscribers?: readonly MemberJson[];
  readonly joined?: readonly MemberJson[];
  readonly left?: readonly MemberJson[];
  readonly stale?: boolean;
}

interface MemberJson {
  readonly user_id: string;
  readonly info?: unknown;
}

function presenceEvent(text: string): Event {
  const presence = JSON.parse(text) as PresenceJson;
  const { count, connections } = presence;
  return {
    case: "presence",
    value: {
      topicId: presence.topic_id,
      ...(count === undefined ? {} : { count: BigInt(count) }),
      ...(connections === undefined ? {} : { connections: BigInt(connections) }),
      subscribers: members(presence.subscribers),
      joined: members(presence.joined),
      left: members(presence.left),
      stale: presence.stale ?? false,
    },
  };
}

function members(list: readonly MemberJson[] | undefined): { userId: string; info: string }[] {
  return (list ?? []).map(({ user_id: userId, info }) => ({
    userId,
    info: info === undefined ? "" : JSON.stringify(info),
  }));
}
