// Speaks over gRPC: one stream, as fast as Earshot takes it, each message with its own outcome. A service does it like
// this; what it needs is @grpc/grpc-js, @bufbuild/protobuf and the generated code of proto/earshot/v1.
//
//   npx node examples/grpc-publisher.ts default.demo 1000
//
// EARSHOT_GRPC is where Earshot answers (default localhost:8081); EARSHOT_TOKEN is a token, where one is needed.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import {
  PublisherService,
  type PublishStreamRequest,
  PublishStreamRequestSchema,
  type PublishStreamResponse,
  PublishStreamResponseSchema,
} from "#proto/earshot/v1/publisher_pb.ts";

const ADDRESS = process.env["EARSHOT_GRPC"] ?? "localhost:8081";
const TOKEN = process.env["EARSHOT_TOKEN"] ?? "";

/** Milliseconds for all of it: a stream without a deadline waits for ever. */
const DEADLINE_MS = 30_000;

const OPTIONS: grpc.ClientOptions = {
  // A router or gateway that vanished without a word is found out within 3.5 s.
  "grpc.keepalive_time_ms": 2_000,
  "grpc.keepalive_timeout_ms": 1_500,
  "grpc.keepalive_permit_without_calls": 1,
  // A message that was sent is never sent again by itself: Earshot says which ones may be.
  "grpc.enable_retries": 0,
};

type Stream = grpc.ClientDuplexStream<PublishStreamRequest, PublishStreamResponse>;

function openStream(client: grpc.Client): Stream {
  const { name } = PublisherService.method.publishStream;
  const metadata = new grpc.Metadata();
  if (TOKEN !== "") metadata.set("authorization", `Bearer ${TOKEN}`);
  return client.makeBidiStreamRequest(
    `/${PublisherService.typeName}/${name}`,
    (request: PublishStreamRequest) => Buffer.from(toBinary(PublishStreamRequestSchema, request)),
    (bytes: Buffer) => fromBinary(PublishStreamResponseSchema, bytes),
    metadata,
    { deadline: Date.now() + DEADLINE_MS },
  );
}

async function publishAll(stream: Stream, topicId: string, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) {
    const message = { topicId, content: { case: "payload" as const, value: JSON.stringify({ number }) } };
    const wantsMore = stream.write(create(PublishStreamRequestSchema, { id: BigInt(number), message }));
    // Full: HTTP/2 holds us back while too many messages are without an outcome.
    if (!wantsMore) await new Promise((resolve) => stream.once("drain", resolve));
  }
  stream.end();
}

const [topicId = "default.demo", count = "10"] = process.argv.slice(2);
const client = new grpc.Client(ADDRESS, grpc.credentials.createInsecure(), OPTIONS);
const stream = openStream(client);
const outcomes = new Map<string, number>();
let delivered = 0n;

stream.on("data", ({ outcome }: PublishStreamResponse) => {
  const what = outcome.case === "error" ? outcome.value.code : outcome.value?.dropped ? outcome.value.reason : "spoken";
  outcomes.set(what ?? "", (outcomes.get(what ?? "") ?? 0) + 1);
  if (outcome.case === "result") delivered += outcome.value.deliveredTo;
});
stream.on("error", (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
stream.on("close", () => {
  const shown = [...outcomes].map(([what, number]) => `${number} ${what}`).join(", ");
  process.stdout.write(`${shown}; handed to ${delivered} subscriptions in all\n`);
  client.close();
});
await publishAll(stream, topicId, Number(count));
