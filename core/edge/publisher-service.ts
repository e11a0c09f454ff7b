// Owns: earshot.v1.PublisherService. Every call is proven and admitted once; a stream too, its messages are bounded by
// what is under way instead (publish-stream.ts).

import { create } from "@bufbuild/protobuf";
import { BATCH_BYTES_MAX, BATCH_MESSAGES_MAX } from "../domain/limits.ts";
import type { Clock } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import { bindService, type CallContext, type Handlers, type Server, toStatus } from "../runtime/grpc.ts";
import type { Log } from "../runtime/log.ts";
import {
  type PublishBatchRequest,
  PublishBatchResponseSchema,
  type PublishRequest,
  PublisherService,
} from "#proto/earshot/v1/publisher_pb.ts";
import type { Edge, PublishInput } from "./edge.ts";
import { admitCaller } from "./grpc-caller.ts";
import { publishBatch } from "./publish-batch.ts";
import { contentBytes, publishInput, publishOutcome, publishResponse } from "./publish-messages.ts";
import { type PublishCall, PublishStream } from "./publish-stream.ts";

export interface PublisherContext {
  readonly edge: Edge;
  readonly clock: Clock;
  readonly log: Log;
  /** Streams that are open, so that a draining server can end them. */
  readonly streams: Set<PublishStream>;
  readonly draining: () => boolean;
}

export function bindPublisherService(server: Server, context: PublisherContext): void {
  const { edge } = context;
  const handlers: Handlers<typeof PublisherService> = {
    publish: async (request, call) => {
      const caller = await admitCaller(edge, call);
      checkWaiting(call);
      return publishResponse(await edge.publish(caller, publishInput(request)));
    },
    publishBatch: async (request, call) => {
      checkBatch(request);
      const caller = await admitCaller(edge, call);
      checkWaiting(call);
      const results = await publishBatch(edge, caller, request.messages.map(inputOrError));
      return create(PublishBatchResponseSchema, { results: results.map(publishOutcome) });
    },
    publishStream: (call) => {
      openStream(call, context).catch((error: unknown) => call.emit("error", toStatus(error)));
    },
  };
  bindService(server, PublisherService, handlers);
}

/** A caller whose deadline has passed while its token was looked at would never learn of the message. */
function checkWaiting(call: CallContext): void {
  if (call.isCancelled()) throw new EarshotError("backpressure", "the call was over before anything was done");
}

function checkBatch({ messages }: PublishBatchRequest): void {
  if (messages.length > BATCH_MESSAGES_MAX) {
    const message = `messages has ${messages.length} items, at most ${BATCH_MESSAGES_MAX} are allowed`;
    throw new EarshotError("invalid_request", message, { field: "messages" });
  }
  const bytes = messages.reduce((sum, message) => sum + contentBytes(message), 0);
  if (bytes > BATCH_BYTES_MAX) {
    const message = `the payloads have ${bytes} bytes together, at most ${BATCH_BYTES_MAX} are allowed`;
    throw new EarshotError("message_too_large", message, { field: "messages" });
  }
}

function inputOrError(request: PublishRequest, index: number): PublishInput | EarshotError {
  try {
    return publishInput(request, `messages[${index}].`);
  } catch (error) {
    if (error instanceof EarshotError) return error;
    throw error;
  }
}

async function openStream(call: PublishCall, { edge, clock, log, streams, draining }: PublisherContext): Promise<void> {
  const caller = await admitCaller(edge, { metadata: call.metadata, peer: call.getPeer() });
  if (call.cancelled) return;
  const stream = new PublishStream(call, { edge, caller, clock, log, onOver: () => streams.delete(stream) });
  streams.add(stream);
  if (draining()) stream.drain();
}
