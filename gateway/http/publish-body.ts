// Owns: the fields of a publish as HTTP bodies have them (and WebSocket `publish` frames, which are the same): from
// checked JSON to a PublishInput. Pure. Elsewhere: rights, sizes and rates (core/edge).

import type { JsonFields } from "#core/domain/json-text.ts";
import type { Priority } from "#core/domain/topic.ts";
import type { PublishInput } from "#core/edge/edge.ts";

const PRIORITIES: readonly Priority[] = ["Normal", "Low"];
const RECEIPTS: readonly PublishInput["receipt"][] = ["router", "gateway"];

/** RFC 4648, section 4: whole groups, padding only at the end. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Reads `payload`, `encoding`, `priority`, `receipt` and `exclude_connection_id`. */
export function readPublish(fields: JsonFields, topicId: string): PublishInput {
  const encoding = fields.optionalChoice("encoding", ["base64"]);
  return {
    topicId,
    content: encoding === undefined ? { kind: "json", text: fields.raw("payload") } : readBase64(fields),
    priority: fields.optionalChoice("priority", PRIORITIES),
    receipt: fields.optionalChoice("receipt", RECEIPTS) ?? "router",
    excludeConnectionId: fields.optionalString("exclude_connection_id") ?? "",
  };
}

function readBase64(fields: JsonFields): PublishInput["content"] {
  const text = fields.string("payload");
  if (!BASE64.test(text)) fields.fail("payload", "must be base64 (RFC 4648, section 4, with padding)");
  const bytes = Buffer.from(text, "base64");
  // Bits beyond the last byte must be zero, else two texts would mean the same bytes.
  if (bytes.toString("base64") !== text) fields.fail("payload", "must be base64 without stray bits at its end");
  return { kind: "binary", bytes };
}
