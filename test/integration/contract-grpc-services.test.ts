// The public gRPC services as a stranger's client meets them at two real gateways: found by reflection alone, statuses
// with their codes, streams that begin, go on and end as WebSockets do.

import {
  create,
  createFileRegistry,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  fromBinary,
  fromJson,
  type MessageInitShape,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { fromStatus, GrpcClient } from "#core/runtime/grpc.ts";
import {
  PublishBatchRequestSchema,
  PublisherService,
  type PublishRequestSchema,
  PublishStreamRequestSchema,
  type PublishStreamResponse,
} from "#proto/earshot/v1/publisher_pb.ts";
import { SubscribeRequestSchema } from "#proto/earshot/v1/subscriber_pb.ts";
import {
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  GetTopicRequestSchema,
  ListTopicsRequestSchema,
  TopicService,
  UpdateTopicRequestSchema,
} from "#proto/earshot/v1/topic_pb.ts";
import { Permissions, Priority, Receipt } from "#proto/earshot/v1/topic_types_pb.ts";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Serving,
} from "#proto/grpc/health/v1/health_pb.ts";
import {
  ServerReflection,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from "#proto/grpc/reflection/v1/reflection_pb.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { GrpcEars, grpcPublish, openGrpc } from "../harness/grpc-ears.ts";
import { manifest } from "../harness/manifest.ts";
import { grpcFrame, rawGrpcCall } from "../harness/raw-grpc.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const DEADLINE_MS = 10_000;
const STRANGER = "earshot.v1.SubscriberService/Subscribe";

let fleet: TestFleet;
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  fleet = await startFleet({
    presence: false,
    topics: [
      manifest("default.demo", "permissions: Public, channels: Dynamic, limits: {maxPublishesPerSecond: 0}"),
      manifest("shop.inbox", "permissions: PublishOnly"),
      manifest("shop.news", "permissions: SubscribeOnly"),
      manifest("shop.private", "permissions: Private"),
      manifest("shop.tiny", "permissions: Public, delivery: {maxMessageBytes: 8}"),
      manifest("shop.slow", "permissions: Public, limits: {maxPublishesPerSecond: 1}"),
      manifest("shop.full", "permissions: Public, limits: {maxSubscribers: 1}"),
    ],
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
afterAll(() => fleet?.close());

let topics = 0;
const fresh = (): string => `default.demo:${(topics += 1)}`;
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

function dial(gateway = "gateway-0", token?: string): GrpcClient {
  const client = new GrpcClient(fleet.grpc(gateway), token);
  closers.push(() => client.close());
  return client;
}

async function listener(topic: string, gateway = "gateway-1"): Promise<WebSocketClient> {
  const client = await openWebSocket(fleet.ws(gateway), { topics: [topic] });
  closers.push(() => client.close());
  return client;
}

function ears(topicIds: readonly string[], token?: string, gateway = "gateway-0"): GrpcEars {
  const stream = new GrpcEars(fleet.grpc(gateway), topicIds, token === undefined ? {} : { token });
  closers.push(() => stream.close());
  return stream;
}

async function failureOf(call: Promise<unknown>): Promise<string> {
  return await call.then(
    () => "it succeeded",
    (error: unknown) => fromStatus(error, (message) => new EarshotError("overloaded", message)).code,
  );
}

const payload = (topicId: string, value: string): MessageInitShape<typeof PublishRequestSchema> => ({
  topicId,
  content: { case: "payload", value },
});

describe("a stranger's client", () => {
  /** Everything that the server tells of its services. */
  async function discover(
    client: GrpcClient,
  ): Promise<{ services: string[]; registry: ReturnType<typeof createFileRegistry> }> {
    const stream = client.bidi(ServerReflection.method.serverReflectionInfo);
    const files = new Map<string, Uint8Array>();
    const services: string[] = [];
    let answered = 0;
    stream.on("data", ({ messageResponse }: ServerReflectionResponse) => {
      if (messageResponse.case === "listServicesResponse") {
        services.push(...messageResponse.value.service.map(({ name }) => name));
      }
      if (messageResponse.case === "fileDescriptorResponse") {
        for (const bytes of messageResponse.value.fileDescriptorProto) {
          files.set(fromBinary(FileDescriptorProtoSchema, bytes).name, bytes);
        }
      }
      answered += 1;
    });
    const ask = (messageRequest: MessageInitShape<typeof ServerReflectionRequestSchema>["messageRequest"]): void => {
      stream.write(create(ServerReflectionRequestSchema, messageRequest === undefined ? {} : { messageRequest }));
    };
    ask({ case: "listServices", value: "" });
    await until(() => answered === 1, "services are listed");
    for (const value of services) ask({ case: "fileContainingSymbol", value });
    await until(() => answered === 1 + services.length, "each is described");
    stream.end();
    const found = [...files.values()].map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    const file: typeof found = [];
    // What a file imports stands before it.
    while (file.length < found.length) {
      const next = found.find(
        (one) => !file.includes(one) && one.dependency.every((name) => file.some((done) => done.name === name)),
      );
      if (next === undefined) throw new Error("a file is missing");
      file.push(next);
    }
    return { services, registry: createFileRegistry(create(FileDescriptorSetSchema, { file })) };
  }

  test("finds every service by reflection at either gateway, and needs nothing else to speak and hear", async () => {
    const topic = fresh();
    const client = dial("gateway-1");
    const { services, registry } = await discover(client);
    expect(services.toSorted()).toEqual([
      "earshot.v1.PublisherService",
      "earshot.v1.SubscriberService",
      "earshot.v1.TopicService",
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ]);
    expect((await discover(dial("gateway-0"))).services).toEqual(services);
    const methodOf = (service: string, name: string): DescMethod => {
      const found = registry.getService(service)?.methods.find((method) => method.name === name);
      if (found === undefined) throw new Error(`${service} has no ${name}`);
      return found;
    };
    const subscribe = methodOf("earshot.v1.SubscriberService", "Subscribe") as DescMethodServerStreaming;
    const publish = methodOf("earshot.v1.PublisherService", "Publish") as DescMethodUnary;
    const heard: unknown[] = [];
    const stream = client.serverStream(subscribe, fromJson(subscribe.input, { topicIds: [topic] }));
    stream.on("data", (event) => heard.push(toJson(subscribe.output, event)));
    stream.on("error", () => undefined);
    await until(() => heard.length === 2, "it is subscribed");
    const request = fromJson(publish.input, { topicId: topic, payload: '{"n":1}' });
    const answer = toJson(publish.output, await client.unary(publish, request, DEADLINE_MS));
    expect(answer).toMatchObject({ deliveredTo: "1" });
    await until(() => heard.length === 3, "it hears");
    expect(heard).toMatchObject([
      { welcome: { userId: expect.stringMatching(/^anonymous:/) as string } },
      { subscribed: { topicId: topic, subscriptionId: "s1", count: "1" } },
      { message: { topicId: topic, payload: '{"n":1}' } },
    ]);
    stream.cancel();
  });

  test("is told that each service serves, and when the gateway leaves", async () => {
    const client = dial("gateway-1");
    for (const service of [
      "",
      "earshot.v1.PublisherService",
      "earshot.v1.TopicService",
      "earshot.v1.SubscriberService",
    ]) {
      const request = create(HealthCheckRequestSchema, { service });
      expect((await client.unary(Health.method.check, request, DEADLINE_MS)).status).toBe(Serving.SERVING);
    }
    const request = create(HealthCheckRequestSchema, { service: "earshot.v1.Nothing" });
    await expect(client.unary(Health.method.check, request, DEADLINE_MS)).rejects.toMatchObject({ code: 5 });
  });

  test("with bytes that no library sends gets a status, and harms nobody", async () => {
    const message = toBinary(SubscribeRequestSchema, create(SubscribeRequestSchema, { topicIds: [fresh()] }));
    const call = (body: Uint8Array, headers = {}, path = `/${STRANGER}`) =>
      rawGrpcCall(fleet.grpc(), path, body, headers);
    const rows: [string, Promise<{ grpcStatus: number | undefined; status: number }>, number, number | undefined][] = [
      ["no such method", call(grpcFrame(message), {}, "/earshot.v1.SubscriberService/Shout"), 200, 12],
      ["no such service", call(grpcFrame(message), {}, "/earshot.v1.Nothing/Subscribe"), 200, 12],
      ["another content type", call(grpcFrame(message), { "content-type": "application/json" }), 415, undefined],
      ["an empty body", call(Buffer.alloc(0)), 200, 12],
      ["a message cut off", call(grpcFrame(message).subarray(0, 7)), 200, 12],
      ["bytes that are no message", call(grpcFrame(Buffer.from([0xff, 0xff, 0xff]))), 200, 13],
      ["a deadline that has passed", call(grpcFrame(message), { "grpc-timeout": "1n" }), 200, 4],
      ["a bad token", call(grpcFrame(message), { authorization: "Bearer bad" }), 200, 16],
      ["no Bearer", call(grpcFrame(message), { authorization: "Basic YTpi" }), 200, 16],
    ];
    for (const [what, answer, status, grpcStatus] of rows) {
      expect({ what, status: (await answer).status, grpcStatus: (await answer).grpcStatus }).toEqual({
        what,
        status,
        grpcStatus,
      });
    }
    await openGrpc(fleet.grpc(), [fresh()]).then((stream) => stream.close());
  });
});

describe("Subscribe", () => {
  test("streams welcome, then each topic's subscribed in the order asked, bad ones as errors, messages typed", async () => {
    const [one, two] = [fresh(), fresh()];
    const token = signToken({ sub: "alice", exp: inSeconds(600) });
    const stream = ears([one, "shop.nowhere", two, "nonsense", one], token, "gateway-1");
    await until(() => stream.of("subscribed").length === 2 && stream.of("error").length === 2, "all are answered");
    const welcome = await stream.next("welcome");
    expect(stream.events[0]?.case).toBe("welcome");
    expect(welcome).toMatchObject({ userId: "alice" });
    expect(welcome.connectionKey).toMatch(/^[A-Za-z0-9_-]{22}$/);
    expect(Number(welcome.tokenExpiresAt?.seconds) - Date.now() / 1_000).toBeGreaterThan(500);
    expect(stream.of("subscribed").map(({ topicId, subscriptionId }) => [topicId, subscriptionId])).toEqual([
      [one, "s1"],
      [two, "s2"],
    ]);
    expect(stream.of("error").map(({ topicId, code, retryable }) => [topicId, code, retryable])).toEqual([
      ["shop.nowhere", "topic_not_found", false],
      ["nonsense", "topic_id_invalid", false],
    ]);
    const result = await grpcPublish(dial("gateway-0", signToken({ sub: "bob" })), payload(two, "[1, 2]"));
    const heard = await stream.next("message");
    const [, subscribed] = stream.of("subscribed");
    expect(heard).toMatchObject({
      topicId: two,
      messageId: result.messageId,
      seq: (subscribed?.seq ?? 0n) + 1n,
      publisherId: "bob",
      content: { case: "payload", value: "[1, 2]" },
    });
    expect(result.messageId.startsWith(`${subscribed?.incarnation}-`)).toBe(true);
    expect(Math.abs(Number(heard.timestamp?.seconds) - Date.now() / 1_000)).toBeLessThan(10);
  });

  const many = Array.from({ length: 129 }, (_, index) => `default.demo:many-${index}`);
  const rows: [string, string[], string | undefined, number, string][] = [
    ["no topics", [], undefined, 3, "invalid_request"],
    ["129 topics", many, undefined, 3, "invalid_request"],
    ["no topic id", ["nonsense"], undefined, 3, "topic_id_invalid"],
    ["no such topic", ["shop.nowhere"], undefined, 5, "topic_not_found"],
    ["a topic that may not be seen", ["shop.private"], "alice", 5, "topic_not_found"],
    ["no token where one is needed", ["shop.inbox"], undefined, 16, "unauthenticated"],
    ["no right", ["shop.inbox"], "alice", 7, "forbidden"],
    ["an expired token", ["default.demo"], "expired", 16, "token_expired"],
    ["only bad ones: the first counts", ["shop.inbox", "nonsense"], "alice", 7, "forbidden"],
  ];
  test.each(rows)("fails with its status and code: %s", async (_what, topicIds, who, status, code) => {
    const claims = who === "expired" ? { sub: "alice", exp: inSeconds(-1) } : { sub: "alice" };
    const stream = ears(topicIds, who === undefined ? undefined : signToken(claims));
    const ended = await stream.ended;
    expect([ended.code, ended.metadata.get("earshot-code"), stream.events]).toEqual([status, [code], []]);
    expect(ended.details).toMatch(new RegExp(`^${code}: `));
  });

  test("takes 128 topics", async () => {
    const stream = ears(many.slice(0, 128));
    await until(() => stream.of("subscribed").length === 128, "all are subscribed");
  });

  test("tells a full topic as an error among the others", async () => {
    await listener("shop.full", "gateway-1");
    const stream = ears(["shop.full", fresh()]);
    await stream.next("subscribed");
    expect(await stream.next("error")).toMatchObject({ topicId: "shop.full", code: "topic_full", retryable: true });
  });

  test("ends with its caller's deadline, and is forgotten", async () => {
    const topic = fresh();
    const message = toBinary(SubscribeRequestSchema, create(SubscribeRequestSchema, { topicIds: [topic] }));
    const answer = await rawGrpcCall(fleet.grpc(), `/${STRANGER}`, grpcFrame(message), { "grpc-timeout": "700m" });
    expect(answer).toMatchObject({ grpcStatus: 4, messages: 2 });
    const client = dial("gateway-1");
    await until(async () => (await grpcPublish(client, payload(topic, "1"))).deliveredTo === 0n, "nobody listens");
  });

  test("that is cancelled is forgotten", async () => {
    const topic = fresh();
    const stream = await openGrpc(fleet.grpc(), [topic]);
    const client = dial("gateway-1");
    expect((await grpcPublish(client, payload(topic, "1"))).deliveredTo).toBe(1n);
    stream.close();
    await until(async () => (await grpcPublish(client, payload(topic, "1"))).deliveredTo === 0n, "nobody listens");
  });

  test("is told to reconnect when its gateway leaves, served until then, and ended without an error", async () => {
    const topic = fresh();
    const message = toBinary(SubscribeRequestSchema, create(SubscribeRequestSchema, { topicIds: [topic] }));
    // Ten of a client that answers nothing but HTTP/2 itself, and one of grpc-js, which pings every two seconds.
    const plain = Array.from({ length: 10 }, () =>
      rawGrpcCall(fleet.grpc("gateway-1"), `/${STRANGER}`, grpcFrame(message)),
    );
    const stream = await openGrpc(fleet.grpc("gateway-1"), [topic]);
    closers.push(() => stream.close());
    const publisher = dial("gateway-0");
    await until(async () => (await grpcPublish(publisher, payload(topic, "0"))).deliveredTo === 11n, "all listen");
    const watched: Serving[] = [];
    const watch = dial("gateway-1").serverStream(Health.method.watch, create(HealthCheckRequestSchema));
    watch.on("data", ({ status }) => watched.push(status));
    watch.on("error", () => undefined);
    await until(() => watched.length === 1, "it is watched");
    fleet.kill("gateway-1", "SIGTERM");
    const { delayMs, closesInMs } = await stream.next("reconnect");
    const startMs = performance.now();
    expect(closesInMs).toBeGreaterThan(delayMs);
    await until(() => watched.includes(Serving.NOT_SERVING), "health says that it leaves");
    let ended = false;
    void stream.ended.then(() => {
      ended = true;
    });
    const before = stream.of("message").length;
    for (let count = 0; performance.now() - startMs < delayMs - 500; count++) {
      expect((await grpcPublish(publisher, payload(topic, String(count)))).deliveredTo).toBeGreaterThan(0n);
      await until(() => stream.of("message").length === before + count + 1, "it still hears");
    }
    await until(() => ended, "it is ended");
    for (const answer of await Promise.all(plain)) expect(answer).toMatchObject({ grpcStatus: 0, grpcMessage: "OK" });
    expect(await fleet.ended("gateway-1")).toBe(0);
    await fleet.start("gateway-1");
  });
});

describe("Publish", () => {
  test("tells what became of it, as every other door", async () => {
    const topic = fresh();
    const client = dial("gateway-0", signToken({ sub: "alice" }));
    expect(await grpcPublish(client, payload(topic, "1"))).toMatchObject({
      deliveredTo: 0n,
      exact: false,
      dropped: true,
      reason: "no_subscribers",
      notDelivered: {},
    });
    const [near, far] = [await listener(topic, "gateway-0"), await listener(topic)];
    const excludeConnectionId = far.frames.all[0]?.["connection_id"] as string;
    const asked = { receipt: Receipt.GATEWAY, priority: Priority.LOW, excludeConnectionId };
    const result = await grpcPublish(client, { ...payload(topic, '"near"'), ...asked });
    expect(result).toMatchObject({ deliveredTo: 1n, exact: true, dropped: false, reason: "" });
    expect(await near.frames.next({ type: "message" })).toMatchObject({
      message_id: result.messageId,
      publisher_id: "alice",
      payload: "near",
    });
    await grpcPublish(client, { topicId: topic, content: { case: "binary", value: new Uint8Array([0, 255]) } });
    expect(await far.frames.next({ type: "message" })).toMatchObject({ payload: "AP8=", encoding: "base64" });
    expect(far.frames.of("message").length).toBe(1);
  });

  test("is refused with its code; what is over its deadline is not", async () => {
    const client = dial();
    const rows: [MessageInitShape<typeof PublishRequestSchema>, string][] = [
      [{}, "invalid_request"],
      [{ content: { case: "payload", value: "1" } }, "topic_id_invalid"],
      [{ topicId: "default.demo" }, "invalid_request"],
      [payload("default.demo", ""), "invalid_request"],
      [payload("default.demo", "{"), "invalid_request"],
      [payload("default.demo", "NaN"), "invalid_request"],
      [{ ...payload("default.demo", "1"), receipt: 7 as Receipt }, "invalid_request"],
      [{ ...payload("default.demo", "1"), priority: 7 as Priority }, "invalid_request"],
      [{ ...payload("default.demo", "1"), excludeConnectionId: "x".repeat(65) }, "invalid_request"],
      [payload("nonsense", "1"), "topic_id_invalid"],
      [payload("shop.nowhere", "1"), "topic_not_found"],
      [payload("shop.private", "1"), "topic_not_found"],
      [payload("shop.news", "1"), "unauthenticated"],
      [payload("shop.tiny", '"1234567"'), "message_too_large"],
      [{ topicId: "shop.tiny", content: { case: "binary", value: new Uint8Array(9) } }, "message_too_large"],
    ];
    for (const [request, code] of rows) {
      expect([request, await failureOf(grpcPublish(client, request))]).toEqual([request, code]);
    }
    expect(await failureOf(grpcPublish(dial("gateway-1", signToken({ sub: "eve" })), payload("shop.news", "1")))).toBe(
      "forbidden",
    );
    const slow = await Promise.all([1, 2, 3].map(() => failureOf(grpcPublish(client, payload("shop.slow", "1")))));
    expect(slow).toContain("rate_limited");
  });
});

describe("PublishBatch", () => {
  test("takes 100 messages to many topics over both routers, in order, each with its outcome, and not 101", async () => {
    const ids = Array.from({ length: 10 }, fresh);
    const near = await openWebSocket(fleet.ws("gateway-1"), { topics: ids });
    closers.push(() => near.close());
    const client = dial();
    const messages = Array.from({ length: 100 }, (_, index) =>
      index % 25 === 24 ? payload("shop.nowhere", "1") : payload(ids[index % 10] ?? "", String(index)),
    );
    const batch = (list: typeof messages) =>
      client.unary(
        PublisherService.method.publishBatch,
        create(PublishBatchRequestSchema, { messages: list }),
        DEADLINE_MS,
      );
    const { results } = await batch(messages);
    expect(results.map(({ outcome }) => outcome.case)).toEqual(
      messages.map(({ topicId }) => (topicId === "shop.nowhere" ? "error" : "result")),
    );
    await until(() => near.frames.of("message").length === 96, "all were heard");
    for (const id of ids) {
      const heard = near.frames.of("message").filter((frame) => frame["topic_id"] === id);
      const numbers = heard.map((frame) => frame["payload"] as number);
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    }
    expect(await failureOf(batch([...messages, payload(ids[0] ?? "", "1")]))).toBe("invalid_request");
    expect((await batch([])).results).toEqual([]);
  });
});

describe("PublishStream", () => {
  test("hands on each topic's messages in the order they were sent, and answers every one by its id", async () => {
    const ids = Array.from({ length: 8 }, fresh);
    const near = await openWebSocket(fleet.ws("gateway-1"), { topics: ids });
    closers.push(() => near.close());
    const stream = dial("gateway-0", signToken({ sub: "alice" })).bidi(PublisherService.method.publishStream);
    const results = new Map<bigint, PublishStreamResponse["outcome"]>();
    let ended = false;
    stream.on("data", ({ id, outcome }) => {
      expect(results.has(id)).toBe(false);
      results.set(id, outcome);
    });
    stream.on("end", () => {
      ended = true;
    });
    const count = 4_000;
    for (let index = 0; index < count; index++) {
      const message = index % 100 === 99 ? payload("nonsense", "1") : payload(ids[index % 8] ?? "", String(index));
      stream.write(create(PublishStreamRequestSchema, { id: BigInt(index), message }));
    }
    stream.end();
    await until(() => ended, "the stream ends");
    expect(results.size).toBe(count);
    for (const [id, outcome] of results) {
      if (id % 100n === 99n) expect(outcome).toMatchObject({ case: "error", value: { code: "topic_id_invalid" } });
      else expect(outcome).toMatchObject({ case: "result", value: { deliveredTo: 1n } });
    }
    await until(() => near.frames.of("message").length === count - 40, "all were heard");
    for (const id of ids) {
      const heard = near.frames.of("message").filter((frame) => frame["topic_id"] === id);
      const numbers = heard.map((frame) => frame["payload"] as number);
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
      const messageIds = heard.map((frame) => Number(String(frame["message_id"]).split("-")[1]));
      expect(messageIds).toEqual(messageIds.toSorted((a, b) => a - b));
    }
  });

  test("holds back a publisher that does not read its results, and goes on when it does", async () => {
    const topic = fresh();
    const stream = dial().bidi(PublisherService.method.publishStream);
    stream.pause();
    const message = payload(topic, `"${"x".repeat(60_000)}"`);
    let written = 0;
    let held = false;
    const ids = new Set<bigint>();
    stream.on("data", ({ id }) => ids.add(id));
    stream.pause();
    // 1,000 of 60 kB are more than all windows on the way take while nothing is read at the other end.
    for (; written < 1_000 && !held; written++) {
      if (stream.write(create(PublishStreamRequestSchema, { id: BigInt(written), message }))) continue;
      held = await Promise.race([
        new Promise<false>((resolve) => stream.once("drain", () => resolve(false))),
        new Promise<true>((resolve) => setTimeout(() => resolve(true), 2_000)),
      ]);
    }
    stream.resume();
    stream.end();
    await until(() => ids.size === written, "every message has its result");
  });
});

describe("TopicService", () => {
  test("makes, shows, lists, changes and ends a Topic, over both gateways", async () => {
    const { method } = TopicService;
    const [here, there] = [
      dial("gateway-0", signToken({ sub: "alice" })),
      dial("gateway-1", signToken({ sub: "bob" })),
    ];
    const made = await here.unary(
      method.createTopic,
      create(CreateTopicRequestSchema, { name: "grpc-made", permissions: Permissions.PUBLIC }),
      DEADLINE_MS,
    );
    expect(made).toMatchObject({ ready: true, topic: { topicId: "default.grpc-made", ownerId: "alice" } });
    const topicId = "default.grpc-made";
    const get = (client: GrpcClient) =>
      client.unary(method.getTopic, create(GetTopicRequestSchema, { topicId }), DEADLINE_MS);
    await listener(topicId);
    await listener(topicId, "gateway-0");
    expect((await get(there)).topic).toMatchObject({
      topicId,
      name: "grpc-made",
      ownerId: "alice",
      permissions: Permissions.PUBLIC,
      subscriberCount: 2n,
    });
    const again = create(CreateTopicRequestSchema, { name: "grpc-made" });
    expect(await failureOf(there.unary(method.createTopic, again, DEADLINE_MS))).toBe("topic_exists");
    const update = create(UpdateTopicRequestSchema, { topicId, permissions: Permissions.PRIVATE });
    expect(await failureOf(there.unary(method.updateTopic, update, DEADLINE_MS))).toBe("forbidden");
    const listed: string[] = [];
    for (let cursor = ""; ; ) {
      const page = await there.unary(
        method.listTopics,
        create(ListTopicsRequestSchema, { limit: 2, cursor }),
        DEADLINE_MS,
      );
      expect(page.topics.length).toBeLessThanOrEqual(2);
      listed.push(...page.topics.map((topic) => topic.topicId));
      cursor = page.nextCursor;
      if (cursor === "") break;
    }
    expect(listed).toEqual(listed.toSorted());
    expect(listed).toContain(topicId);
    expect(listed).not.toContain("shop.private");
    const changed = await here.unary(method.updateTopic, update, DEADLINE_MS);
    expect(changed.topic?.permissions).toBe(Permissions.PRIVATE);
    await until(async () => (await failureOf(get(there))) === "topic_not_found", "the other may no longer see it");
    await here.unary(method.deleteTopic, create(DeleteTopicRequestSchema, { topicId }), DEADLINE_MS);
    expect(await failureOf(get(here))).toBe("topic_not_found");
    const manifestTopic = create(DeleteTopicRequestSchema, { topicId: "default.demo" });
    expect(await failureOf(here.unary(method.deleteTopic, manifestTopic, DEADLINE_MS))).toBe("forbidden");
  });
});
