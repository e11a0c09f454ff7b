// Owns: the three kinds of record a sequencer makes: of a message, of a presence frame, of an eviction.
// Elsewhere: their bytes (build-record.ts), the text in them (envelope.ts).

import type { PublishOrder } from "#core/fleet/publish-order.ts";
import type { QueuedRecord } from "../record.ts";
import { buildRecord, type EnvelopeParts } from "./build-record.ts";
import { envelopeHead } from "./envelope.ts";

export type MessageOrder = Extract<PublishOrder, { kind: "message" }>;

/** What sequencing adds to a message. */
export interface Stamp {
  readonly messageId: string;
  readonly seq: number;
  readonly low: boolean;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
  /** Monotonic. */
  readonly atMs: number;
}

export function messageRecord(order: MessageOrder, stamp: Stamp, receiptId: number): QueuedRecord {
  const { topicId, publisherId, payload, binary, originConnectionId, excludeConnectionId } = order;
  const { messageId, seq, low, nowMs, atMs } = stamp;
  const head = envelopeHead({ topicId, messageId, seq, publisherId, nowMs });
  return buildRecord({
    topicId,
    kind: "message",
    envelope: { kind: "message", head, payload, binary },
    seq,
    receiptId,
    low,
    originConnectionId,
    excludeConnectionId,
    nowMs,
    atMs,
  });
}

/** A presence frame's text, or an encoded Eviction. */
export type BareContent =
  | { readonly kind: "presence"; readonly frame: string }
  | { readonly kind: "evict"; readonly bytes: Uint8Array };

export function bareRecord(
  topicId: string,
  content: BareContent,
  stamp: Pick<Stamp, "seq" | "nowMs" | "atMs">,
  receiptId: number,
): QueuedRecord {
  const envelope: EnvelopeParts =
    content.kind === "presence" ? { kind: "text", text: content.frame } : { kind: "bytes", bytes: content.bytes };
  const parts = { topicId, kind: content.kind, envelope, receiptId, low: false };
  return buildRecord({ ...parts, ...stamp, originConnectionId: "", excludeConnectionId: "" });
}
