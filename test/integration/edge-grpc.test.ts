import { create, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { afterEach, describe, expect, test } from "vitest";
import { BATCH_BYTES_MAX, BATCH_MESSAGES_MAX } from "#core/domain/limits.ts";
import type { EdgeConfig } from "#core/edge/create-edge.ts";
import { HEALTH_WATCHES_MAX } from "#core/edge/grpc-health.ts";
import { createPublicGrpcServer, type PublicGrpc } from "#core/edge/public-grpc.ts";
import { STREAM_OUTSTANDING_BYTES_MAX, STREAM_OUTSTANDING_MAX } from "#core/edge/publish-stream.ts";
import type { PublishResult } from "#core/fleet/publish-order.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { fromStatus, GrpcClient } from "#core/runtime/grpc.ts";
import { createLog } from "#core/runtime/log.ts";
import {
  PublishBatchRequestSchema,
  PublisherService,
  PublishRequestSchema,
  PublishStreamRequestSchema,
  type PublishStreamResponse,
} from "#proto/earshot/v1/publisher_pb.ts";
import {
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  GetTopicRequestSchema,
  ListTopicsRequestSchema,
  TopicService,
  UpdateTopicRequestSchema,
} from "#proto/earshot/v1/topic_pb.ts";
import { Permissions, Priority, Receipt, SubjectKind } from "#proto/earshot/v1/topic_types_pb.ts";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Serving,
  HealthListRequestSchema,
} from "#proto/grpc/health/v1/health_pb.ts";
import { ServerReflection, ServerReflectionRequestSchema } from "#proto/grpc/reflection/v1/reflection_pb.ts";
import {
  ServerReflection as OldReflection,
  ServerReflectionRequestSchema as OldRequestSchema,
} from "#proto/grpc/reflection/v1alpha/reflection_pb.ts";
import { DELIVERED, EDGE_SECRET, type TestEdge, testEdge } from "../harness/edge-stand-ins.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

interface Served extends TestEdge {
  readonly server: PublicGrpc;
  /** A client with the token of a user, or without one. */
  readonly dial: (claims?: { sub: string; exp?: number; [claim: string]: unknown }) => GrpcClient;
  readonly dialToken: (token: string) => GrpcClient;
}

async function serve(config: Partial<EdgeConfig> = {}): Promise<Served> {
  const context = testEdge(config);
  const { edge, clock, registry } = context;
  const server = createPublicGrpcServer({ edge, clock, registry, log: createLog("silent", {}) });
  const port = await server.listen("127.0.0.1", 0);
  closers.push(
    () => edge.close(),
    () => server.close(),
  );
  const connect = (token: string | undefined): GrpcClient => {
    const client = new GrpcClient(`127.0.0.1:${port}`, token);
    closers.push(() => client.close());
    return client;
  };
  return {
    ...context,
    server,
    dialToken: connect,
    dial(claims) {
      const exp = Math.floor(clock.now() / 1000) + 3_600;
      return connect(claims === undefined ? undefined : signToken({ exp, ...claims }, EDGE_SECRET));
    },
  };
}

const DEADLINE_MS = 10_000;
const otherwise = (message: string): EarshotError => new EarshotError("overloaded", `no code: ${message}`);

/** The EarshotError that a call fails with. */
async function failureOf(call: Promise<unknown>): Promise<EarshotError> {
  return await call.then(
    () => new EarshotError("overloaded", "it succeeded"),
    (error: unknown) => fromStatus(error, otherwise),
  );
}

const json = (topicId: string, payload: string) =>
  create(PublishRequestSchema, { topicId, content: { case: "payload", value: payload } });

function publish(client: GrpcClient, request: MessageShape<typeof PublishRequestSchema>) {
  return client.unary(PublisherService.method.publish, request, DEADLINE_MS);
}

describe("Publish", () => {
  test("a payload and what was asked reach the placer; what became of it comes back whole", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    placer.answer = async () => ({ ...DELIVERED, exact: true, notDelivered: { slow_consumer: 2 } });
    const request = create(PublishRequestSchema, {
      ...json("shop.chat", '{"n":12345678901234567890}'),
      priority: Priority.LOW,
      receipt: Receipt.GATEWAY,
      excludeConnectionId: "g1-1",
    });
    expect(await publish(dial({ sub: "alice" }), request)).toMatchObject({
      messageId: "r1-1",
      deliveredTo: 3n,
      exact: true,
      dropped: false,
      reason: "",
      notDelivered: { slow_consumer: 2n },
    });
    expect(placer.orders).toMatchObject([
      { publisherId: "alice", priority: "Low", receipt: "gateway", excludeConnectionId: "g1-1" },
    ]);
    expect(placer.payloads).toEqual(['{"n":12345678901234567890}']);
  });

  test("bytes go as they are", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const value = new Uint8Array([0, 255, 10]);
    await publish(dial(), create(PublishRequestSchema, { topicId: "shop.chat", content: { case: "binary", value } }));
    expect(placer.orders).toMatchObject([{ binary: true }]);
    expect([...((placer.orders[0] as { payload?: Uint8Array }).payload ?? [])]).toEqual([0, 255, 10]);
  });

  test("every refusal carries its code, and the status of its code", async () => {
    const { fleet, placer, dial, dialToken } = await serve();
    fleet.add("shop.chat", { permissions: "SubscribeOnly", maxMessageBytes: 4 });
    fleet.add("shop.open", { permissions: "Public", maxMessageBytes: 4 });
    placer.answer = async () => {
      throw new EarshotError("publish_unknown");
    };
    const alice = dial({ sub: "alice" });
    const cases: readonly (readonly [GrpcClient, string, string, string])[] = [
      [alice, "shop.chat", "1", "forbidden"],
      [dial(), "shop.chat", "1", "unauthenticated"],
      [alice, "shop.nothing", "1", "topic_not_found"],
      [alice, "nonsense", "1", "topic_id_invalid"],
      [alice, "shop.open", "12345", "message_too_large"],
      [alice, "shop.open", "{", "invalid_request"],
      [alice, "shop.open", "1", "publish_unknown"],
      [dialToken("garbage"), "shop.open", "1", "unauthenticated"],
      [dial({ sub: "alice", exp: 1 }), "shop.open", "1", "token_expired"],
    ];
    for (const [client, topicId, payload, code] of cases) {
      expect(await failureOf(publish(client, json(topicId, payload))), code).toMatchObject({ code });
    }
    const nothing = create(PublishRequestSchema, { topicId: "shop.open" });
    expect(await failureOf(publish(alice, nothing))).toMatchObject({ code: "invalid_request" });
    const unknown = create(PublishRequestSchema, { ...json("shop.open", "1"), priority: 9 as Priority });
    expect(await failureOf(publish(alice, unknown))).toMatchObject({ message: "priority is not a value of Priority" });
  });

  test("a bug tells its caller nothing of itself", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    placer.answer = async () => {
      throw new Error("a secret detail");
    };
    expect((await failureOf(publish(dial(), json("shop.chat", "1")))).message).toBe(
      "no code: 13 INTERNAL: internal error",
    );
  });

  test("calls above the limit of a principal are rate limited", async () => {
    const { fleet, dial } = await serve({ requestsPerSecondPerPrincipal: 1 });
    fleet.add("shop.chat", { permissions: "Public" });
    const client = dial({ sub: "alice" });
    for (let index = 0; index < 2; index++) await publish(client, json("shop.chat", "1"));
    expect(await failureOf(publish(client, json("shop.chat", "1")))).toMatchObject({ code: "rate_limited" });
    expect(await publish(dial({ sub: "bob" }), json("shop.chat", "1"))).toMatchObject({ deliveredTo: 3n });
  });

  test("a deadline that passes ends the call, not the server", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    let release = (): void => {};
    placer.answer = () =>
      new Promise((resolve) => {
        release = () => resolve(DELIVERED);
      });
    const client = dial();
    const call = client.unary(PublisherService.method.publish, json("shop.chat", "1"), 200);
    expect((await failureOf(call)).message).toContain("DEADLINE_EXCEEDED");
    release();
    placer.answer = async () => DELIVERED;
    expect(await publish(client, json("shop.chat", "1"))).toMatchObject({ deliveredTo: 3n });
  });

  test("a message on the wire larger than any call needs is refused", async () => {
    const { fleet, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const client = dial();
    expect((await failureOf(publish(client, json("shop.chat", "1".repeat(5 * 1024 * 1024))))).message).toContain(
      "RESOURCE_EXHAUSTED",
    );
    expect(await publish(client, json("shop.chat", "1"))).toMatchObject({ deliveredTo: 3n });
  });
});

describe("PublishBatch", () => {
  const batch = (client: GrpcClient, messages: readonly MessageShape<typeof PublishRequestSchema>[]) =>
    client.unary(
      PublisherService.method.publishBatch,
      create(PublishBatchRequestSchema, { messages: [...messages] }),
      DEADLINE_MS,
    );

  test("each message has its own outcome, in its place", async () => {
    const { fleet, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const { results } = await batch(dial(), [
      json("shop.chat", "1"),
      json("shop.nothing", "1"),
      json("shop.chat", "{"),
      create(PublishRequestSchema, { topicId: "shop.chat" }),
      json("shop.chat", "2"),
    ]);
    expect(results.map(({ outcome }) => (outcome.case === "error" ? outcome.value.code : outcome.case))).toEqual([
      "result",
      "topic_not_found",
      "invalid_request",
      "invalid_request",
      "result",
    ]);
    expect(results[3]?.outcome.value).toMatchObject({
      message: "messages[3].payload is missing: one of payload and binary must be set",
      retryable: false,
    });
  });

  test("it takes its most messages and bytes, and refuses one more of either whole", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public", maxMessageBytes: 1024 * 1024 });
    const client = dial();
    const many = (count: number) => Array.from({ length: count }, () => json("shop.chat", "1"));
    expect((await batch(client, many(BATCH_MESSAGES_MAX))).results).toHaveLength(BATCH_MESSAGES_MAX);
    expect(await failureOf(batch(client, many(BATCH_MESSAGES_MAX + 1)))).toMatchObject({ code: "invalid_request" });
    const half = json("shop.chat", `"${"x".repeat(BATCH_BYTES_MAX / 2 - 2)}"`);
    expect((await batch(client, [half, half])).results).toHaveLength(2);
    const before = placer.orders.length;
    expect(await failureOf(batch(client, [half, half, json("shop.chat", "1")]))).toMatchObject({
      code: "message_too_large",
    });
    expect(placer.orders.length).toBe(before);
  });
});

describe("PublishStream", () => {
  function open(client: GrpcClient) {
    const stream = client.bidi(PublisherService.method.publishStream);
    const results: PublishStreamResponse[] = [];
    let ended: "open" | "ok" | EarshotError = "open";
    stream.on("data", (result: PublishStreamResponse) => results.push(result));
    stream.on("error", (error: unknown) => {
      ended = fromStatus(error, otherwise);
    });
    stream.on("end", () => {
      if (ended === "open") ended = "ok";
    });
    const send = (id: number, payload: string, topicId = "shop.chat"): boolean =>
      stream.write(create(PublishStreamRequestSchema, { id: BigInt(id), message: json(topicId, payload) }));
    return { stream, results, send, end: () => ended };
  }

  test("every message has its result by id, good and bad alike, and the stream ends when the publisher is done", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const { stream, results, send, end } = open(dial({ sub: "alice" }));
    send(1, "1");
    send(2, "1", "shop.nothing");
    send(3, "3");
    stream.write(create(PublishStreamRequestSchema, { id: 4n }));
    stream.end();
    await until(() => end() !== "open", "the stream ends");
    expect(end()).toBe("ok");
    const byId = new Map(results.map(({ id, outcome }) => [Number(id), outcome]));
    expect(byId.get(1)).toMatchObject({ case: "result", value: { deliveredTo: 3n } });
    expect(byId.get(2)).toMatchObject({ case: "error", value: { code: "topic_not_found" } });
    expect(byId.get(3)).toMatchObject({ case: "result" });
    expect(byId.get(4)).toMatchObject({ case: "error", value: { code: "invalid_request" } });
    expect(placer.payloads).toEqual(["1", "3"]);
  });

  test("messages are handed on in their order", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const { stream, send, end } = open(dial());
    const payloads = Array.from({ length: 2_000 }, (_, index) => String(index));
    for (const [index, payload] of payloads.entries()) send(index, payload);
    stream.end();
    await until(() => end() === "ok", "the stream ends");
    expect(placer.payloads).toEqual(payloads);
  });

  test("what is under way is bounded: beyond it nothing is read until results are there", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const waiting: ((result: PublishResult) => void)[] = [];
    placer.answer = () => new Promise((resolve) => waiting.push(resolve));
    const { stream, results, send, end } = open(dial());
    for (let index = 0; index < STREAM_OUTSTANDING_MAX + 100; index++) send(index, String(index));
    stream.end();
    await until(() => placer.orders.length === STREAM_OUTSTANDING_MAX, "the bound is reached");
    for (let index = 0; index < 10; index++) waiting.shift()?.(DELIVERED);
    await until(() => placer.orders.length === STREAM_OUTSTANDING_MAX + 10, "ten more are read for ten results");
    while (end() === "open") {
      waiting.shift()?.(DELIVERED);
      if (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(results).toHaveLength(STREAM_OUTSTANDING_MAX + 100);
  });

  test("the bytes under way are bounded too", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public", maxMessageBytes: 1024 * 1024 });
    const waiting: ((result: PublishResult) => void)[] = [];
    placer.answer = () => new Promise((resolve) => waiting.push(resolve));
    const { stream, results, send, end } = open(dial());
    const quarter = `"${"x".repeat(STREAM_OUTSTANDING_BYTES_MAX / 4 - 2)}"`;
    for (let index = 0; index < 6; index++) send(index, quarter);
    stream.end();
    await until(() => placer.orders.length === 4, "the bound is reached");
    waiting.shift()?.(DELIVERED);
    await until(() => placer.orders.length === 5, "one more is read for one result");
    await until(() => {
      waiting.shift()?.(DELIVERED);
      return end() === "ok";
    }, "the stream ends");
    expect(results).toHaveLength(6);
  });

  test("a publisher that does not read its results is read no further, and harms nobody", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    // Large results, so that 20 MB of them do not fit into the client's window of 8 MiB.
    placer.answer = async () => ({ ...DELIVERED, notDelivered: { ["x".repeat(1_000)]: 1 } });
    const { stream, results, send, end } = open(dial());
    stream.pause();
    const total = 20_000;
    for (let index = 0; index < total; index++) send(index, "1");
    stream.end();
    let before = -1;
    await until(() => {
      const still = placer.orders.length > 0 && placer.orders.length === before;
      before = placer.orders.length;
      return still;
    }, "reading stands still");
    expect(placer.orders.length).toBeLessThan(total);
    expect(await publish(dial(), json("shop.chat", "1"))).toMatchObject({ deliveredTo: 3n });
    stream.resume();
    await until(() => end() === "ok", "the stream ends once it is read", 20_000);
    expect(results).toHaveLength(total);
  });

  test("a token that expires ends the stream: what was taken has its result, what was not was not touched", async () => {
    const { fleet, placer, clock, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const waiting: ((result: PublishResult) => void)[] = [];
    placer.answer = () => new Promise((resolve) => waiting.push(resolve));
    const { results, send, end } = open(dial({ sub: "alice", exp: Math.floor(clock.now() / 1000) + 60 }));
    send(1, "1");
    await until(() => placer.orders.length === 1, "the first is taken");
    clock.advance(60_000);
    send(2, "2");
    waiting.shift()?.(DELIVERED);
    await until(() => end() !== "open", "the stream ends");
    expect(end()).toMatchObject({ code: "token_expired" });
    expect(results.map(({ id }) => Number(id))).toEqual([1]);
    expect(placer.orders).toHaveLength(1);
  });

  test("a bad token ends the stream with its code, and nothing is read", async () => {
    const { placer, dialToken } = await serve();
    const { send, end } = open(dialToken("garbage"));
    send(1, "1");
    await until(() => end() !== "open", "the stream ends");
    expect(end()).toMatchObject({ code: "unauthenticated" });
    expect(placer.orders).toEqual([]);
  });

  test("a draining server answers what it took and says that it goes", async () => {
    const { fleet, placer, server, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const waiting: ((result: PublishResult) => void)[] = [];
    placer.answer = () => new Promise((resolve) => waiting.push(resolve));
    const { results, send, end } = open(dial());
    send(1, "1");
    await until(() => placer.orders.length === 1, "the message is taken");
    const drained = server.drain(5_000);
    waiting.shift()?.(DELIVERED);
    await drained;
    await until(() => end() !== "open", "the stream ends");
    expect(end()).toMatchObject({ code: "draining", retryable: true });
    expect(results).toHaveLength(1);
  });

  test("a publisher that vanishes leaves nothing behind", async () => {
    const { fleet, placer, server, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    const waiting: ((result: PublishResult) => void)[] = [];
    placer.answer = () => new Promise((resolve) => waiting.push(resolve));
    const { stream, send } = open(dial());
    send(1, "1");
    await until(() => placer.orders.length === 1, "the message is taken");
    stream.cancel();
    waiting.shift()?.(DELIVERED);
    await server.drain(5_000);
  });
});

describe("TopicService", () => {
  test("a Topic is made, shown, listed, changed and ended", async () => {
    const { fleet, placer, dial } = await serve();
    placer.counts = () => 4;
    const client = dial({ sub: "alice" });
    const { method } = TopicService;
    const call = client.unary.bind(client);
    const made = await call(
      method.createTopic,
      create(CreateTopicRequestSchema, {
        name: "orders",
        permissions: Permissions.PUBLIC,
        publishers: [{ kind: SubjectKind.SERVICE_ACCOUNT, namespace: "shop", name: "web" }],
      }),
      DEADLINE_MS,
    );
    expect(made).toMatchObject({ ready: true, topic: { topicId: "default.orders", ownerId: "alice" } });
    expect(made.topic?.createdAt?.seconds).toBe(1_767_225_600n);
    const shown = await call(
      method.getTopic,
      create(GetTopicRequestSchema, { topicId: "default.orders" }),
      DEADLINE_MS,
    );
    expect(shown.topic).toMatchObject({ name: "orders", permissions: Permissions.PUBLIC, subscriberCount: 4n });
    const listed = await call(method.listTopics, create(ListTopicsRequestSchema), DEADLINE_MS);
    expect(listed.topics.map((topic) => topic.topicId)).toEqual(["default.orders"]);
    expect(listed.nextCursor).toBe("");
    const changed = await call(
      method.updateTopic,
      create(UpdateTopicRequestSchema, { topicId: "default.orders", publishers: { subjects: [] } }),
      DEADLINE_MS,
    );
    expect(changed.topic?.permissions).toBe(Permissions.PUBLIC);
    expect(fleet.topic("default.orders")?.policy.publishers).toEqual([]);
    await call(method.deleteTopic, create(DeleteTopicRequestSchema, { topicId: "default.orders" }), DEADLINE_MS);
    expect(fleet.topic("default.orders")).toBeUndefined();
  });

  test("a count that nobody could be asked for is absent, not zero", async () => {
    const { fleet, placer, dial } = await serve();
    fleet.add("shop.chat", { permissions: "Public" });
    placer.counts = () => undefined;
    const request = create(GetTopicRequestSchema, { topicId: "shop.chat" });
    const { topic } = await dial().unary(TopicService.method.getTopic, request, DEADLINE_MS);
    expect(topic?.subscriberCount).toBeUndefined();
  });

  test("what is wrong with a request is named", async () => {
    const { dial } = await serve();
    const client = dial({ sub: "alice" });
    const make = (fields: Parameters<typeof create<typeof CreateTopicRequestSchema>>[1]) =>
      failureOf(client.unary(TopicService.method.createTopic, create(CreateTopicRequestSchema, fields), DEADLINE_MS));
    expect(await make({ name: "Orders" })).toMatchObject({ code: "topic_name_invalid" });
    expect(await make({ name: "orders", namespace: "shop" })).toMatchObject({ code: "namespace_not_served" });
    expect(await make({ name: "orders", permissions: 9 as Permissions })).toMatchObject({ code: "invalid_request" });
    expect(await make({ name: "orders", subscribers: [{ kind: SubjectKind.USER }] })).toMatchObject({
      message: "subscribers[0]: name stands on every subject but a ChannelUser",
    });
  });
});

describe("health", () => {
  test("the server and each service serve, also for callers without a token; others are unknown", async () => {
    const client = (await serve({ anonymous: false })).dial();
    const check = (service: string) =>
      client.unary(Health.method.check, create(HealthCheckRequestSchema, { service }), DEADLINE_MS);
    for (const service of ["", "earshot.v1.PublisherService", "earshot.v1.TopicService", "grpc.health.v1.Health"]) {
      expect((await check(service)).status).toBe(Serving.SERVING);
    }
    await expect(check("earshot.v1.Nothing")).rejects.toMatchObject({ code: 5 });
    const { statuses } = await client.unary(Health.method.list, create(HealthListRequestSchema), DEADLINE_MS);
    expect(statuses["earshot.v1.TopicService"]?.status).toBe(Serving.SERVING);
  });

  test("watches are open up to a number, and one more is refused", async () => {
    const { registry, dial } = await serve();
    const open = async (): Promise<number> =>
      (await registry.getSingleMetric("earshot_grpc_health_watches")?.get())?.values[0]?.value ?? 0;
    const clients = [dial(), dial()];
    const watch = (index: number) =>
      clients[index % 2]?.serverStream(Health.method.watch, create(HealthCheckRequestSchema));
    for (let index = 0; index < HEALTH_WATCHES_MAX; index++) watch(index)?.on("error", () => {});
    await until(async () => (await open()) === HEALTH_WATCHES_MAX, "all are open");
    const refused = await new Promise<unknown>((resolve) => watch(0)?.on("error", resolve));
    expect(refused).toMatchObject({ details: "too many health watches" });
    for (const client of clients) client.close();
    await until(async () => (await open()) === 0, "all are forgotten");
  });

  test("a watch tells the status now, and that it changes when the server drains, and ends", async () => {
    const { server, dial } = await serve();
    const client = dial();
    const told: Record<string, Serving[]> = { "": [], nothing: [] };
    let ended = 0;
    for (const [service, statuses] of Object.entries(told)) {
      const watch = client.serverStream(Health.method.watch, create(HealthCheckRequestSchema, { service }));
      watch.on("data", ({ status }) => statuses.push(status));
      watch.on("end", () => {
        ended += 1;
      });
    }
    await until(() => told[""]?.length === 1 && told["nothing"]?.length === 1, "both are told");
    await server.drain(5_000);
    await until(() => ended === 2, "both end");
    expect(told[""]).toEqual([Serving.SERVING, Serving.NOT_SERVING]);
    expect(told["nothing"]?.at(0)).toBe(Serving.SERVICE_UNKNOWN);
  });
});

describe("reflection", () => {
  type Ask = readonly [
    "listServices" | "fileContainingSymbol" | "fileByFilename" | "allExtensionNumbersOfType",
    string,
  ];

  function messageOf(ask: Ask | undefined) {
    return ask === undefined ? {} : { messageRequest: { case: ask[0], value: ask[1] } };
  }

  async function answersTo(client: GrpcClient, asks: readonly (Ask | undefined)[], version: "v1" | "v1alpha" = "v1") {
    const answers: { case?: string | undefined; value?: unknown }[] = [];
    let ended = false;
    const hear = (stream: {
      on(event: "data", listener: (response: { messageResponse: (typeof answers)[number] }) => void): unknown;
      on(event: "end", listener: () => void): unknown;
    }): void => {
      stream.on("data", (response) => answers.push(response.messageResponse));
      stream.on("end", () => {
        ended = true;
      });
    };
    if (version === "v1") {
      const stream = client.bidi(ServerReflection.method.serverReflectionInfo);
      hear(stream);
      for (const ask of asks) stream.write(create(ServerReflectionRequestSchema, messageOf(ask)));
      stream.end();
    } else {
      const stream = client.bidi(OldReflection.method.serverReflectionInfo);
      hear(stream);
      for (const ask of asks) stream.write(create(OldRequestSchema, messageOf(ask)));
      stream.end();
    }
    await until(() => ended, "the stream ends");
    return answers;
  }

  test.each([
    "v1",
    "v1alpha",
  ] as const)("%s lists every service, and gives a file with all that it imports", async (version) => {
    const client = (await serve({ anonymous: false })).dial();
    const asks: Ask[] = [
      ["listServices", ""],
      ["fileContainingSymbol", "earshot.v1.TopicService"],
      ["fileByFilename", "earshot/v1/topic_types.proto"],
      ["fileContainingSymbol", "earshot.v1.PublishRequest"],
    ];
    const answers = await answersTo(client, asks, version);
    const listed = answers[0]?.value as { service: { name: string }[] } | undefined;
    expect(listed?.service.map(({ name }) => name).sort()).toEqual([
      "earshot.v1.PublisherService",
      "earshot.v1.TopicService",
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ]);
    const files = answers.slice(1).map((answer) => filesOf(FileDescriptorProtoSchema, answer.value));
    expect(files[0]).toEqual([
      "earshot/v1/topic.proto",
      "earshot/v1/topic_types.proto",
      "google/protobuf/timestamp.proto",
    ]);
    expect(files[1]).toEqual(["earshot/v1/topic_types.proto"]);
    expect(files[2]).toEqual(["earshot/v1/publisher.proto", "earshot/v1/topic_types.proto"]);
  });

  function filesOf(schema: typeof FileDescriptorProtoSchema, value: unknown): string[] {
    return (value as { fileDescriptorProto: Uint8Array[] }).fileDescriptorProto
      .map((bytes) => fromBinary(schema, bytes).name)
      .sort();
  }

  test("what is not there is told, and the stream goes on", async () => {
    const client = (await serve()).dial();
    const answers = await answersTo(client, [
      ["fileContainingSymbol", "earshot.v1.Nothing"],
      ["fileByFilename", "../etc/passwd"],
      ["allExtensionNumbersOfType", "earshot.v1.Topic"],
      undefined,
      ["fileContainingSymbol", "earshot.v1.PublisherService.PublishBatch"],
    ]);
    expect(answers.map((answer) => answer.case)).toEqual([
      "errorResponse",
      "errorResponse",
      "errorResponse",
      "errorResponse",
      "fileDescriptorResponse",
    ]);
  });
});
