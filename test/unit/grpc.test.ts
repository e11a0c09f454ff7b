import { create } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import {
  bindService,
  createGrpcServer,
  fromStatus,
  GrpcClient,
  type Handlers,
  listenGrpc,
} from "#core/runtime/grpc.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { LinkService, RouterFrameSchema } from "#proto/earshot/internal/v1/link_pb.ts";
import {
  AdmitChannelRequestSchema,
  CountSubscriptionsResponseSchema,
  RouterService,
} from "#proto/earshot/internal/v1/router_pb.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function serve(peerSecret?: string): Promise<number> {
  const server = createGrpcServer(peerSecret === undefined ? {} : { judge: secretIdentity(peerSecret).judge });
  const router: Handlers<typeof RouterService> = {
    countSubscriptions: async (request) =>
      create(CountSubscriptionsResponseSchema, { counts: request.topicIds.map((id) => BigInt(id.length)) }),
    describeTopic: async () => {
      throw new EarshotError("topic_not_found", "nowhere");
    },
    admitChannel: async () => {
      throw new Error("a secret detail");
    },
    publishStream: (call) => call.end(),
  };
  bindService(server, RouterService, router);
  bindService(server, LinkService, {
    open: (call) => {
      call.on("data", () => call.write(create(RouterFrameSchema, { frame: { case: "heartbeat", value: {} } })));
      call.on("end", () => call.end());
    },
  });
  const port = await listenGrpc(server, "127.0.0.1", 0);
  closers.push(() => server.forceShutdown());
  return port;
}

function dial(port: number, bearer?: string): GrpcClient {
  const client = new GrpcClient(`127.0.0.1:${port}`, bearer);
  closers.push(() => client.close());
  return client;
}

const unavailable = (message: string): EarshotError => new EarshotError("shard_unavailable", message);

test("a unary call reaches its typed handler", async () => {
  const client = dial(await serve());
  const answer = await client.unary(
    RouterService.method.countSubscriptions,
    { $typeName: "earshot.internal.v1.CountSubscriptionsRequest", topicIds: ["a", "bcd"] },
    5_000,
  );
  expect(answer.counts).toEqual([1n, 3n]);
});

test("an EarshotError keeps its code on the way; what is not one tells nothing", async () => {
  const client = dial(await serve());
  const asked = client.unary(
    RouterService.method.describeTopic,
    { $typeName: "earshot.internal.v1.DescribeTopicRequest", topicId: "a" },
    5_000,
  );
  const error = await asked.catch((failure: unknown) => fromStatus(failure, unavailable));
  expect(error).toMatchObject({ code: "topic_not_found", message: "nowhere" });
  const hidden = client.unary(
    RouterService.method.admitChannel,
    create(AdmitChannelRequestSchema, { topic: "a" }),
    5_000,
  );
  await expect(hidden).rejects.toThrow("internal error");
});

test("a call without the peer secret is refused, with it served", async () => {
  const port = await serve("s3cret");
  const request = { $typeName: "earshot.internal.v1.CountSubscriptionsRequest" as const, topicIds: [] };
  await expect(dial(port).unary(RouterService.method.countSubscriptions, request, 5_000)).rejects.toThrow(
    "peer secret",
  );
  await expect(dial(port, "wrong").unary(RouterService.method.countSubscriptions, request, 5_000)).rejects.toThrow(
    "peer secret",
  );
  expect((await dial(port, "s3cret").unary(RouterService.method.countSubscriptions, request, 5_000)).counts).toEqual(
    [],
  );
});

test("a bidirectional stream carries messages both ways and ends", async () => {
  const stream = dial(await serve()).bidi(LinkService.method.open);
  const frames: string[] = [];
  stream.on("data", (frame) => frames.push(frame.frame.case ?? "none"));
  const ended = new Promise((resolve) => stream.on("end", resolve));
  stream.write({
    $typeName: "earshot.internal.v1.GatewayFrame",
    frame: { case: "heartbeat", value: { $typeName: "earshot.internal.v1.Heartbeat" } },
  });
  stream.end();
  await ended;
  expect(frames).toEqual(["heartbeat"]);
});
