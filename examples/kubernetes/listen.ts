// Listens from a pod for ever, over gRPC: opens the next stream before the old one ends where a gateway asks for it, and comes
// back by itself when a stream breaks. The Deployment in subscriber.yaml runs it.
//
//   npx node examples/kubernetes/listen.ts shop.orders
//
// EARSHOT_GRPC is where subscribers are served (host:port); EARSHOT_TOKEN_FILE is the projected ServiceAccount token.

import { readFileSync } from "node:fs";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import {
  type SubscribeRequest,
  SubscribeRequestSchema,
  type SubscribeResponse,
  SubscribeResponseSchema,
  SubscriberService,
} from "#proto/earshot/v1/subscriber_pb.ts";

const ADDRESS = process.env["EARSHOT_GRPC"] ?? "localhost:8081";
const TOKEN_FILE = process.env["EARSHOT_TOKEN_FILE"] ?? "";

/** Milliseconds before a broken stream is opened anew, half of them by chance: not everybody at once. */
const AGAIN_MS = 2_000;

interface Stream {
  close(): void;
}

/** One stream, on a connection of its own: the next one may lead to another gateway. */
function listen(
  topicIds: string[],
  events: { subscribed(): void; move(delayMs: number): void; broken(): void },
): Stream {
  const client = new grpc.Client(ADDRESS, grpc.credentials.createInsecure(), {
    "grpc.keepalive_time_ms": 2_000,
    "grpc.keepalive_timeout_ms": 1_500,
    "grpc.use_local_subchannel_pool": 1,
  });
  const metadata = new grpc.Metadata();
  if (TOKEN_FILE !== "") metadata.set("authorization", `Bearer ${readFileSync(TOKEN_FILE, "utf8").trim()}`);
  const call = client.makeServerStreamRequest(
    `/${SubscriberService.typeName}/${SubscriberService.method.subscribe.name}`,
    (message: SubscribeRequest) => Buffer.from(toBinary(SubscribeRequestSchema, message)),
    (bytes: Buffer) => fromBinary(SubscribeResponseSchema, bytes),
    create(SubscribeRequestSchema, { topicIds }),
    metadata,
  );
  let isClosed = false;
  const close = (): void => {
    isClosed = true;
    call.cancel();
    client.close();
  };
  call.on("data", ({ event }: SubscribeResponse) => {
    if (event.case === "message")
      take(event.value.messageId, `${event.value.topicId} ${String(event.value.content.value)}`);
    else if (event.case === "subscribed") events.subscribed();
    else if (event.case === "reconnect") events.move(event.value.delayMs);
    else if (event.case === "gap") process.stderr.write(`messages were missed: ${event.value.reason}\n`);
  });
  const over = (why: string): void => {
    if (isClosed) return;
    process.stderr.write(`${why}\n`);
    close();
    events.broken();
  };
  call.on("error", (error) => over(error.message));
  call.on("end", () => over("the stream ended"));
  return { close };
}

/** Ids of the last messages: while one stream takes over from another, both bring them. */
const known = new Set<string>();
const KNOWN_MAX = 1_000;

function take(messageId: string, line: string): void {
  if (known.has(messageId)) return;
  known.add(messageId);
  for (const oldest of known) {
    if (known.size <= KNOWN_MAX) break;
    known.delete(oldest);
  }
  process.stdout.write(`${line}\n`);
}

const topicIds = process.argv.slice(2);
let current: Stream | undefined;

function open(): void {
  const stream: Stream = listen(topicIds, {
    subscribed: () => {
      if (current !== stream) current?.close();
      current = stream;
      process.stderr.write("listening\n");
    },
    move: (delayMs) => setTimeout(open, delayMs),
    broken: () => {
      if (current === stream) current = undefined;
      if (current === undefined) setTimeout(open, AGAIN_MS / 2 + (Math.random() * AGAIN_MS) / 2);
    },
  });
}

for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(0));
open();
