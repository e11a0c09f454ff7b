// Owns: publishes on the public gRPC wire: the proto's request as the edge's input, results and errors back.

import { create } from "@bufbuild/protobuf";
import type { PublishResult } from "../fleet/publish-order.ts";
import { priorityCodec } from "../fleet/topic-codec.ts";
import { EarshotError } from "../runtime/errors.ts";
import {
  type PublishOutcome,
  PublishOutcomeSchema,
  type PublishRequest,
  type PublishResponse,
  PublishResponseSchema,
} from "#proto/earshot/v1/publisher_pb.ts";
import { type Error as ErrorMessage, ErrorSchema, Priority, Receipt } from "#proto/earshot/v1/topic_types_pb.ts";
import type { PublishInput } from "./edge.ts";

/** Throws invalid_request. `path` stands before the fields' names: `messages[3].`. */
export function publishInput(request: PublishRequest, path = ""): PublishInput {
  const { topicId, content, excludeConnectionId } = request;
  return {
    topicId,
    content: contentOf(content, path),
    priority: request.priority === Priority.UNSPECIFIED ? undefined : known(priorityCodec.from(request.priority), path),
    receipt: receiptOf(request.receipt, path),
    excludeConnectionId,
  };
}

function contentOf(content: PublishRequest["content"], path: string): PublishInput["content"] {
  switch (content.case) {
    case "payload":
      return { kind: "json", text: content.value };
    case "binary":
      return { kind: "binary", bytes: content.value };
    case undefined:
      throw wrong(`${path}payload`, "is missing: one of payload and binary must be set");
  }
}

function known<T>(priority: T | undefined, path: string): T {
  if (priority === undefined) throw wrong(`${path}priority`, "is not a value of Priority");
  return priority;
}

function receiptOf(receipt: Receipt, path: string): "router" | "gateway" {
  switch (receipt) {
    case Receipt.UNSPECIFIED:
      return "router";
    case Receipt.GATEWAY:
      return "gateway";
    default:
      throw wrong(`${path}receipt`, "is not a value of Receipt");
  }
}

function wrong(field: string, reason: string): EarshotError {
  return new EarshotError("invalid_request", `${field} ${reason}`, { field });
}

/** Payload bytes of a request, for limits on many together. */
export function contentBytes(request: PublishRequest | undefined): number {
  switch (request?.content.case) {
    case "payload":
      return Buffer.byteLength(request.content.value);
    case "binary":
      return request.content.value.length;
    case undefined:
      return 0;
  }
}

export function publishResponse(result: PublishResult): PublishResponse {
  const { messageId, deliveredTo, exact, dropped, reason = "", notDelivered } = result;
  return create(PublishResponseSchema, {
    messageId,
    deliveredTo: BigInt(deliveredTo),
    exact,
    dropped,
    reason,
    notDelivered: Object.fromEntries(Object.entries(notDelivered).map(([why, count]) => [why, BigInt(count)])),
  });
}

function errorMessage(error: EarshotError): ErrorMessage {
  return create(ErrorSchema, { code: error.code, message: error.message, retryable: error.retryable });
}

export function publishOutcome(result: PublishResult | EarshotError): PublishOutcome {
  const outcome: PublishOutcome["outcome"] =
    result instanceof EarshotError
      ? { case: "error", value: errorMessage(result) }
      : { case: "result", value: publishResponse(result) };
  return create(PublishOutcomeSchema, { outcome });
}
