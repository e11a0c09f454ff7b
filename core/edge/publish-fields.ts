// Owns: the fields of a publish as HTTP, batch publish and WebSocket write them, read once for all three.

import type { JsonFields } from "../domain/json-text.ts";
import { EXCLUDE_CONNECTION_ID_LENGTH_MAX, type PublishInput } from "./edge.ts";

/**
 * Reads `payload`, `encoding`, `priority`, `receipt` and `exclude_connection_id`. `topicId` comes from the path, or from
 * the field `topic_id` when it is undefined. The payload of `encoding: "base64"` arrives decoded.
 */
export function readPublishFields(fields: JsonFields, topicId?: string): PublishInput {
  return {
    topicId: topicId ?? fields.string("topic_id"),
    content: readContent(fields),
    priority: fields.optionalChoice("priority", ["Normal", "Low"]),
    receipt: fields.optionalChoice("receipt", ["router", "gateway"]) ?? "router",
    excludeConnectionId: readConnectionId(fields),
  };
}

function readContent(fields: JsonFields): PublishInput["content"] {
  const encoding = fields.optionalChoice("encoding", ["base64"]);
  if (encoding === undefined) return { kind: "json", text: fields.raw("payload") };
  const bytes = decodeBase64(fields.string("payload"));
  if (bytes === undefined) fields.fail("payload", "must be base64 (RFC 4648, section 4), as its encoding says");
  return { kind: "binary", bytes };
}

function readConnectionId(fields: JsonFields): string {
  const id = fields.optionalString("exclude_connection_id") ?? "";
  if (id.length <= EXCLUDE_CONNECTION_ID_LENGTH_MAX) return id;
  return fields.fail("exclude_connection_id", `has at most ${EXCLUDE_CONNECTION_ID_LENGTH_MAX} characters`);
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Bytes of canonical base64; undefined for anything else, which Buffer would quietly skip over. */
export function decodeBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0 || !BASE64.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  // The bits behind the last byte must be 0 (RFC 4648, section 3.5), or two texts would mean the same bytes.
  const tail = text.slice(-4);
  return bytes.subarray(bytes.length - (bytes.length % 3 || 3)).toString("base64") === tail ? bytes : undefined;
}
