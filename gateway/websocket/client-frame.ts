// Owns: what a WebSocket client may say, parsed: the whole grammar of docs/protocol.md, strict in fields. Pure.

import { type JsonFields, readJsonObject } from "#core/domain/json-text.ts";
import type { PublishInput } from "#core/edge/edge.ts";
import { readPublishFields } from "#core/edge/publish-fields.ts";
import { EarshotError } from "#core/runtime/errors.ts";

export type ClientFrame =
  | {
      readonly type: "subscribe";
      readonly id: string | undefined;
      readonly topicId: string;
      readonly echo: boolean;
      readonly presence: boolean;
    }
  | { readonly type: "unsubscribe"; readonly id: string | undefined; readonly topicId: string }
  | { readonly type: "publish"; readonly id: string | undefined; readonly input: PublishInput }
  | { readonly type: "token"; readonly id: string | undefined; readonly token: string }
  | { readonly type: "ping"; readonly id: string | undefined };

export type ClientFrameResult =
  | { readonly kind: "frame"; readonly frame: ClientFrame }
  /** Told to the client; the connection goes on. */
  | {
      readonly kind: "refused";
      readonly error: EarshotError;
      readonly id: string | undefined;
      readonly topicId: string | undefined;
    }
  /** Not a JSON object: not this protocol at all (4400). */
  | { readonly kind: "foreign"; readonly message: string };

const TYPES = ["subscribe", "unsubscribe", "publish", "token", "ping"] as const;

/** Characters of an `id`, which is given back with the answer. */
const ID_LENGTH_MAX = 128;

/** Characters of a token: what HTTP headers would bear. */
const TOKEN_LENGTH_MAX = 16_384;

/** Parses one frame's bytes (UTF-8 was checked by the WebSocket library). */
export function parseClientFrame(bytes: Uint8Array): ClientFrameResult {
  let id: string | undefined;
  let topicId: string | undefined;
  const read = readJsonObject(bytes, (fields): ClientFrame => {
    // Both first: whatever else is wrong, the answer names what it answers.
    if (fields.kind("topic_id") === "string") topicId = fields.string("topic_id").slice(0, ID_LENGTH_MAX * 4);
    id = readId(fields);
    return readFrame(fields, id);
  });
  if (read.ok) return { kind: "frame", frame: read.value };
  if (read.code === "invalid_json") return { kind: "foreign", message: read.message };
  return { kind: "refused", error: new EarshotError(read.code, read.message), id, topicId };
}

function readFrame(fields: JsonFields, id: string | undefined): ClientFrame {
  const type = fields.choice("type", TYPES);
  switch (type) {
    case "subscribe":
      return {
        type,
        id,
        topicId: fields.string("topic_id"),
        echo: fields.optionalBoolean("echo") ?? true,
        presence: fields.optionalBoolean("presence") ?? false,
      };
    case "unsubscribe":
      return { type, id, topicId: fields.string("topic_id") };
    case "publish":
      return { type, id, input: readPublishFields(fields) };
    case "token":
      refuseTopicId(fields);
      return { type, id, token: readToken(fields) };
    case "ping":
      refuseTopicId(fields);
      return { type, id };
  }
}

function readId(fields: JsonFields): string | undefined {
  const id = fields.optionalString("id");
  if (id !== undefined && id.length > ID_LENGTH_MAX) fields.fail("id", `has at most ${ID_LENGTH_MAX} characters`);
  return id;
}

/** It was looked at already, so it counts as known. */
function refuseTopicId(fields: JsonFields): void {
  if (fields.has("topic_id")) fields.fail("topic_id", "is not a field here");
}

function readToken(fields: JsonFields): string {
  const token = fields.string("token");
  if (token.length > TOKEN_LENGTH_MAX) fields.fail("token", `has at most ${TOKEN_LENGTH_MAX} characters`);
  return token;
}
