// Owns: what a publish must pass before a router may have it: the caller's right, a payload that is what it says, the
// Topic's size. Everything here happens before the first await, so publishes reach the placer in the order of the calls.

import { MESSAGE_BYTES_MAX } from "../domain/limits.ts";
import { publicIdOf } from "../domain/principal.ts";
import type { PublishOrder, PublishResult } from "../fleet/publish-order.ts";
import { EarshotError } from "../runtime/errors.ts";
import { type Caller, type Edge, EXCLUDE_CONNECTION_ID_LENGTH_MAX, type PublishInput } from "./edge.ts";
import { parseJsonText } from "./json-body.ts";

/** What the edge needs of core/fleet/placer.ts. */
export interface EdgePlacer {
  place(order: PublishOrder): Promise<PublishResult>;
  /** Subscriptions of exactly these topic ids, in their order; undefined where they could not be asked for. */
  countSubscriptions(topicIds: readonly string[]): Promise<readonly (number | undefined)[] | undefined>;
}

/** Throws, or hands the message on. */
export function publish(
  caller: Caller,
  input: PublishInput,
  context: { readonly authorize: Edge["authorize"]; readonly placer: EdgePlacer },
): Promise<PublishResult> {
  const { topicId, topic } = context.authorize("publish", caller.principal, input.topicId);
  if (input.excludeConnectionId.length > EXCLUDE_CONNECTION_ID_LENGTH_MAX) {
    throw new EarshotError(
      "invalid_request",
      `exclude_connection_id has at most ${EXCLUDE_CONNECTION_ID_LENGTH_MAX} characters`,
      { field: "exclude_connection_id" },
    );
  }
  return context.placer.place({
    kind: "message",
    topicId: topicId.id,
    payload: payloadOf(input.content, topic.policy.maxMessageBytes),
    binary: input.content.kind === "binary",
    publisherId: publicIdOf(caller.principal, caller.connectionId),
    priority: input.priority,
    receipt: input.receipt,
    originConnectionId: caller.connectionId,
    excludeConnectionId: input.excludeConnectionId,
  });
}

function payloadOf(content: PublishInput["content"], maxBytes: number): Uint8Array {
  if (content.kind === "binary") {
    checkSize(content.bytes.length, maxBytes);
    return content.bytes;
  }
  // A character is a byte at least: what is hopeless is refused before it is parsed.
  checkSize(content.text.length > MESSAGE_BYTES_MAX ? Buffer.byteLength(content.text) : 0, maxBytes);
  const text = parseJsonText(content.text, "payload");
  const payload = Buffer.from(text, "utf8");
  checkSize(payload.length, maxBytes);
  return payload;
}

function checkSize(bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw new EarshotError("message_too_large", `the payload has ${bytes} bytes, this topic takes ${maxBytes} at most`, {
    field: "payload",
  });
}
