// Speaks from a pod: one message after the other over gRPC, each with a deadline, and again only where Earshot says that it
// may be. The Job in publisher.yaml runs it.
//
//   npx node examples/kubernetes/publish.ts shop.orders 10
//
// EARSHOT_GRPC is where publishers are served (host:port); EARSHOT_TOKEN_FILE is the projected ServiceAccount token.

import { readFileSync } from "node:fs";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import {
  PublisherService,
  type PublishRequest,
  PublishRequestSchema,
  type PublishResponse,
  PublishResponseSchema,
} from "#proto/earshot/v1/publisher_pb.ts";

const ADDRESS = process.env["EARSHOT_GRPC"] ?? "localhost:8081";
const TOKEN_FILE = process.env["EARSHOT_TOKEN_FILE"] ?? "";

/** Milliseconds for one try. */
const DEADLINE_MS = 5_000;

/** Tries of one message: a Topic that was just made, or a router that just died, is there again within these. */
const TRIES = 20;
const AGAIN_MS = 500;

/** Errors of which nothing was done (docs/errors.md: retryable), or which pass when a Topic was just made. */
const AGAIN = ["shard_unavailable", "backpressure", "overloaded", "draining", "rate_limited", "topic_not_found"];

const client = new grpc.Client(ADDRESS, grpc.credentials.createInsecure(), {
  "grpc.keepalive_time_ms": 2_000,
  "grpc.keepalive_timeout_ms": 1_500,
  "grpc.enable_retries": 0,
});

function publish(topicId: string, payload: string): Promise<PublishResponse> {
  const metadata = new grpc.Metadata();
  // Read each time: the kubelet renews it.
  if (TOKEN_FILE !== "") metadata.set("authorization", `Bearer ${readFileSync(TOKEN_FILE, "utf8").trim()}`);
  const request = create(PublishRequestSchema, { topicId, content: { case: "payload", value: payload } });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      `/${PublisherService.typeName}/${PublisherService.method.publish.name}`,
      (message: PublishRequest) => Buffer.from(toBinary(PublishRequestSchema, message)),
      (bytes: Buffer) => fromBinary(PublishResponseSchema, bytes),
      request,
      metadata,
      { deadline: Date.now() + DEADLINE_MS },
      (error, response) => (error === null && response !== undefined ? resolve(response) : reject(error)),
    );
  });
}

async function publishOrTryAgain(topicId: string, payload: string): Promise<PublishResponse> {
  for (let tried = 1; ; tried++) {
    try {
      return await publish(topicId, payload);
    } catch (error) {
      const code = (error as Partial<grpc.ServiceError>).metadata?.get("earshot-code")[0];
      if (tried === TRIES || typeof code !== "string" || !AGAIN.includes(code)) throw error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

const [topicId = "shop.orders", count = "10"] = process.argv.slice(2);
let delivered = 0n;
for (let number = 1; number <= Number(count); number++) {
  const { deliveredTo } = await publishOrTryAgain(topicId, JSON.stringify({ order: number }));
  delivered += deliveredTo;
}
process.stdout.write(`${count} spoken on ${topicId}; handed to ${delivered} subscriptions in all\n`);
client.close();
