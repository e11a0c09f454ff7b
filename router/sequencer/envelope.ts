// Owns: the JSON text that clients read, built once at the router: the envelope of a message, and presence frames.
// Invariant: a payload's bytes are copied, never parsed; nothing built here has a line end in it.
// Elsewhere: how it travels (build-record.ts), the first presence frame of a subscription (gateway/presence/frames.ts).

import type { PresenceMember } from "#core/fleet/publish-order.ts";

export interface EnvelopeHead {
  readonly topicId: string;
  readonly messageId: string;
  readonly seq: number;
  readonly publisherId: string;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
}

/** Everything before the payload. */
export function envelopeHead({ topicId, messageId, seq, publisherId, nowMs }: EnvelopeHead): string {
  // A topic id is ASCII without quotes by its grammar, a message id is ours.
  return `{"type":"message","topic_id":"${topicId}","message_id":"${messageId}","seq":${seq},"publisher_id":${quoted(publisherId)},"timestamp":"${timestamp(nowMs)}","payload":`;
}

/** Everything behind a JSON payload (a brace), and around a binary one. */
export const JSON_TAIL = 0x7d;
export const BINARY_OPEN = '"';
export const BINARY_TAIL = '","encoding":"base64"}';

/** A Topic with presence Count: the number of subscriptions. */
export function countFrame(topicId: string, connections: number): string {
  return `{"type":"presence","topic_id":"${topicId}","connections":${connections}}`;
}

/** What changed in a member list; without `changes` (too many to list) the numbers alone. */
export function membersFrame(
  topicId: string,
  numbers: { readonly count: number; readonly connections: number },
  changes: { readonly joined: readonly PresenceMember[]; readonly left: readonly PresenceMember[] } | undefined,
): string {
  const head = `{"type":"presence","topic_id":"${topicId}","count":${numbers.count},"connections":${numbers.connections}`;
  if (changes === undefined) return `${head}}`;
  const left = changes.left.map(({ userId }) => `{"user_id":${quoted(userId)}}`);
  return `${head},"joined":[${changes.joined.map(memberText).join(",")}],"left":[${left.join(",")}]}`;
}

function memberText({ userId, info }: PresenceMember): string {
  const text = info === undefined ? "" : `,"info":${info.replaceAll(/[\n\r]/g, " ")}`;
  return `{"user_id":${quoted(userId)}${text}}`;
}

let quotedId = "";
let quotedText = '""';

/** JSON.stringify, remembering the last one: bursts come from one publisher. */
function quoted(id: string): string {
  if (id !== quotedId) {
    quotedText = JSON.stringify(id);
    quotedId = id;
  }
  return quotedText;
}

let timestampMs = Number.NaN;
let timestampText = "";

/** ISO 8601 with milliseconds and Z, remembering the last one: many messages share a millisecond. */
function timestamp(nowMs: number): string {
  if (nowMs !== timestampMs) {
    timestampText = new Date(nowMs).toISOString();
    timestampMs = nowMs;
  }
  return timestampText;
}
