// Owns: `POST /api/v1/topics/{topic_id}/publish` and the batch `POST /api/v1/publish`. A batch is started in its order,
// so that a publisher's messages to one topic keep theirs, and each message has its own outcome; but what is not of the
// shape of a batch is refused whole, before any of it is published.

import type { FastifyInstance } from "fastify";
import { BATCH_BYTES_MAX, BATCH_MESSAGES_MAX } from "#core/domain/limits.ts";
import type { Caller, PublishInput } from "#core/edge/edge.ts";
import { readPublishFields } from "#core/edge/publish-fields.ts";
import { readFields } from "../body.ts";
import type { HttpDeps } from "../deps.ts";
import { problemMembers } from "../problem.ts";
import { published } from "../views.ts";

export function publishRoutes(app: FastifyInstance, { edge }: HttpDeps): void {
  app.post<{ Params: { topicId: string } }>("/api/v1/topics/:topicId/publish", async (request) => {
    const input = readFields(request.body, (fields) => readPublishFields(fields, request.params.topicId));
    return published(await edge.publish(request.caller, input), input.receipt);
  });

  app.post("/api/v1/publish", { config: { bodyBytesMax: BATCH_BYTES_MAX } }, async (request) => {
    const inputs = readFields(request.body, (fields) => {
      const messages = fields.optionalObjects("messages", BATCH_MESSAGES_MAX, (message) => readPublishFields(message));
      return messages ?? fields.fail("messages", "is missing");
    });
    return { results: await Promise.all(inputs.map((input) => outcomeOf(edge, request.caller, input))) };
  });
}

async function outcomeOf(edge: HttpDeps["edge"], caller: Caller, input: PublishInput): Promise<object> {
  try {
    return published(await edge.publish(caller, input), input.receipt);
  } catch (error) {
    return { error: problemMembers(error) };
  }
}
