// Owns: a Record's bytes (proto earshot.internal.v1.Record) as they stand in every batch that carries it: built in one
// buffer, payload copied once, field by field in the order of the proto. test/property/router-record.test.ts decodes
// them with protobuf-es.

import { BATCH_RECORD, lengthTag, varintSize, varintTag, writeVarint } from "../links/wire.ts";
import type { QueuedRecord, RecordKindName } from "../record.ts";
import { BINARY_OPEN, BINARY_TAIL, JSON_TAIL } from "./envelope.ts";

const TOPIC_ID = lengthTag(1);
const ENVELOPE = lengthTag(2);
const KIND = varintTag(3);
const SEQ = varintTag(4);
const RECEIPT_ID = varintTag(5);
const LOW_PRIORITY = varintTag(6);
const ORIGIN = lengthTag(7);
const EXCLUDE = lengthTag(8);
const ROUTER_TIME = varintTag(9);

const KINDS: Readonly<Record<RecordKindName, number>> = { message: 0, presence: 1, evict: 2 };

/** An envelope as its parts. */
export type EnvelopeParts =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  /** `head` and a payload: JSON as it is, or any bytes as base64. */
  | { readonly kind: "message"; readonly head: string; readonly payload: Uint8Array; readonly binary: boolean };

export interface RecordParts {
  readonly topicId: string;
  readonly kind: RecordKindName;
  readonly envelope: EnvelopeParts;
  readonly seq: number;
  readonly receiptId: number;
  readonly low: boolean;
  readonly originConnectionId: string;
  readonly excludeConnectionId: string;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
  /** Monotonic. */
  readonly atMs: number;
}

export function buildRecord(parts: RecordParts): QueuedRecord {
  const { topicId, kind, envelope, receiptId, low, atMs } = parts;
  return { framed: framed(parts, envelopeSize(envelope)), topicId, kind, low, atMs, receiptId };
}

function framed(parts: RecordParts, envelopeBytes: number): Buffer {
  const { topicId, kind, seq, receiptId, low, originConnectionId, excludeConnectionId, nowMs } = parts;
  const originBytes = originConnectionId === "" ? 0 : Buffer.byteLength(originConnectionId);
  const excludeBytes = excludeConnectionId === "" ? 0 : Buffer.byteLength(excludeConnectionId);
  const size =
    lengthDelimitedSize(topicId.length) +
    lengthDelimitedSize(envelopeBytes) +
    varintFieldSize(KINDS[kind]) +
    varintFieldSize(seq) +
    varintFieldSize(receiptId) +
    (low ? 2 : 0) +
    lengthDelimitedSize(originBytes) +
    lengthDelimitedSize(excludeBytes) +
    varintFieldSize(nowMs);
  const target = Buffer.allocUnsafe(1 + varintSize(size) + size);
  target[0] = BATCH_RECORD;
  let at = writeVarint(target, 1, size);
  at = writeHead(target, at, TOPIC_ID, topicId.length);
  at += target.write(topicId, at, "latin1");
  at = writeHead(target, at, ENVELOPE, envelopeBytes);
  at = writeEnvelope(target, at, parts.envelope);
  at = writeNumber(target, at, KIND, KINDS[kind]);
  at = writeNumber(target, at, SEQ, seq);
  at = writeNumber(target, at, RECEIPT_ID, receiptId);
  if (low) at = writeNumber(target, at, LOW_PRIORITY, 1);
  at = writeText(target, at, { tag: ORIGIN, text: originConnectionId, bytes: originBytes });
  at = writeText(target, at, { tag: EXCLUDE, text: excludeConnectionId, bytes: excludeBytes });
  writeNumber(target, at, ROUTER_TIME, nowMs);
  return target;
}

/** Proto3 leaves out what is 0 or empty. */
function lengthDelimitedSize(bytes: number): number {
  return bytes === 0 ? 0 : 1 + varintSize(bytes) + bytes;
}

function varintFieldSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value);
}

function writeHead(target: Buffer, at: number, tag: number, bytes: number): number {
  if (bytes === 0) return at;
  target[at] = tag;
  return writeVarint(target, at + 1, bytes);
}

function writeNumber(target: Buffer, at: number, tag: number, value: number): number {
  if (value === 0) return at;
  target[at] = tag;
  return writeVarint(target, at + 1, value);
}

function writeText(target: Buffer, at: number, field: { tag: number; text: string; bytes: number }): number {
  if (field.bytes === 0) return at;
  const start = writeHead(target, at, field.tag, field.bytes);
  return start + target.write(field.text, start);
}

function envelopeSize(envelope: EnvelopeParts): number {
  switch (envelope.kind) {
    case "text":
      return Buffer.byteLength(envelope.text);
    case "bytes":
      return envelope.bytes.length;
    case "message": {
      const head = Buffer.byteLength(envelope.head);
      if (!envelope.binary) return head + envelope.payload.length + 1;
      return head + BINARY_OPEN.length + base64Length(envelope.payload.length) + BINARY_TAIL.length;
    }
  }
}

function writeEnvelope(target: Buffer, start: number, envelope: EnvelopeParts): number {
  switch (envelope.kind) {
    case "text":
      return start + target.write(envelope.text, start);
    case "bytes":
      target.set(envelope.bytes, start);
      return start + envelope.bytes.length;
    case "message": {
      const { head, payload, binary } = envelope;
      let at = start + target.write(head, start);
      if (!binary) {
        target.set(payload, at);
        at += payload.length;
        target[at] = JSON_TAIL;
        return at + 1;
      }
      at += target.write(BINARY_OPEN, at, "latin1");
      const view = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
      at += target.write(view.toString("base64"), at, "latin1");
      return at + target.write(BINARY_TAIL, at, "latin1");
    }
  }
}

function base64Length(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}
