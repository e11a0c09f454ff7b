import { type AddressInfo, createServer } from "node:net";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { ControlPlaneService, type Push, SyncRequestSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import {
  CountSubscriptionsRequestSchema,
  DescribeTopicRequestSchema,
  RouterService,
} from "#proto/earshot/internal/v1/router_pb.ts";
import { PublisherService, PublishRequestSchema } from "#proto/earshot/v1/publisher_pb.ts";
import { messageOrder, RouterPublisher } from "../harness/router-publisher.ts";
import { handTopic, PEER_SECRET, RouterRig } from "../harness/router-rig.ts";
import { ScriptedLink } from "../harness/scripted-link.ts";
import { until } from "../harness/until.ts";

let rig: RouterRig;
const closing: (() => unknown)[] = [];

beforeEach(async () => {
  rig = await RouterRig.start();
});

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await rig.close();
});

function linkTo(address: string, incarnation: string): ScriptedLink {
  const link = new ScriptedLink(address, incarnation);
  closing.push(() => link.close());
  return link;
}

function clientOf(address: string, bearer?: string): GrpcClient {
  const client = new GrpcClient(address, bearer);
  closing.push(() => client.close());
  return client;
}

function publisherTo(owners: ConstructorParameters<typeof RouterPublisher>[0]): RouterPublisher {
  const publisher = new RouterPublisher(owners);
  closing.push(() => publisher.close());
  return publisher;
}

test("a router is not ready before it has Topics, a map that names it, and every live gateway's interest", async () => {
  const router = await rig.spawn();
  expect(await router.notReady()).toEqual(["no topics or no shard map yet"]);
  rig.topics([handTopic("shop.chat")]);
  rig.members(["g0"]);
  await until(
    () => router.stream.frames.some((frame) => frame.case === "report" && frame.value.ready),
    "it may be put into a map",
  );
  const owners = await rig.map([router]);
  expect(await router.notReady()).toEqual(["interest of every gateway not complete yet", "g0"]);
  const publisher = publisherTo(owners);
  const cold = publisher.placer.place(messageOrder("shop.chat", 1));
  await expect(cold).rejects.toMatchObject({ code: "shard_unavailable" });
  const link = linkTo(router.router.address, "g0");
  await link.interest([], true);
  await until(async () => (await router.notReady()).length === 0, "it is ready");
  expect(await publisher.placer.place(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 0, dropped: true });
});

test("a cold router delivers where it knows that somebody listens", async () => {
  const router = await rig.spawn();
  rig.topics([handTopic("shop.chat")]);
  rig.members(["g0", "g1"]);
  const publisher = publisherTo(await rig.map([router]));
  const link = linkTo(router.router.address, "g0");
  await link.interest([{ topicId: "shop.chat", count: 1 }], true);
  expect(await publisher.placer.place(messageOrder("shop.chat", 1))).toMatchObject({ deliveredTo: 1 });
});

test("a router that the map does not list for a shard refuses unhandled, and questions too", async () => {
  const [one, two] = await Promise.all([rig.spawn(), rig.spawn()]);
  rig.topics([handTopic("shop.chat")]);
  rig.members([]);
  await rig.map([one], [two]);
  const link = linkTo(two.router.address, "g0");
  await link.interest([{ topicId: "shop.chat", count: 1 }], true);
  const stale = publisherTo([two.router, one.router]);
  await until(() => stale.placer.streamState(two.router.incarnation) === "live", "the first of its list is there");
  const result = await stale.placer.place(messageOrder("shop.chat", 1));
  expect(result.messageId.startsWith(one.router.incarnation)).toBe(true);
  expect(await two.metric("earshot_router_wrong_router_total")).toBe(1);
  const client = clientOf(two.router.address, PEER_SECRET);
  const describe = create(DescribeTopicRequestSchema, { topicId: "shop.chat" });
  await expect(client.unary(RouterService.method.describeTopic, describe, 2_000)).rejects.toThrow(/shard_unavailable/);
  const count = create(CountSubscriptionsRequestSchema, { topicIds: ["shop.chat"] });
  await expect(client.unary(RouterService.method.countSubscriptions, count, 2_000)).rejects.toThrow(
    /shard_unavailable/,
  );
});

test("why nobody heard it, and how many listen, is answered for exactly the id asked", async () => {
  const router = await rig.spawn();
  rig.topics([handTopic("shop.chat")]);
  rig.members([]);
  const publisher = publisherTo(await rig.map([router]));
  const link = linkTo(router.router.address, "g0");
  await link.interest(
    [
      { topicId: "shop.chat:a", count: 3 },
      { topicId: "shop.chat", count: 1 },
    ],
    true,
  );
  await publisher.placer.place(messageOrder("shop.chat:b", 1));
  await publisher.placer.place(messageOrder("shop.chat:b", 1));
  const client = clientOf(router.router.address, PEER_SECRET);
  const ids = ["shop.chat", "shop.chat:a", "shop.chat:b"];
  const counted = await client.unary(
    RouterService.method.countSubscriptions,
    create(CountSubscriptionsRequestSchema, { topicIds: ids }),
    2_000,
  );
  expect(counted.counts).toEqual([1n, 3n, 0n]);
  const describe = async (topicId: string) =>
    client.unary(RouterService.method.describeTopic, create(DescribeTopicRequestSchema, { topicId }), 2_000);
  expect((await describe("shop.chat:a")).gateways).toMatchObject([
    { gatewayName: "name-of-g0", gatewayIncarnation: "g0", subscriptions: 3 },
  ]);
  const unheard = await describe("shop.chat:b");
  expect(unheard.gateways).toEqual([]);
  expect(unheard.lastDrops).toMatchObject([{ reason: "no_subscribers", count: 2n }]);
  const many = create(CountSubscriptionsRequestSchema, { topicIds: Array.from({ length: 1_001 }, () => "shop.chat") });
  await expect(client.unary(RouterService.method.countSubscriptions, many, 2_000)).rejects.toThrow(/invalid_request/);
});

test("maxChannels holds over routers, and what has ended makes room", async () => {
  const [one, two] = await Promise.all([rig.spawn(), rig.spawn()]);
  rig.topics([handTopic("shop.few", { maxChannels: 4 })]);
  rig.members([]);
  await rig.map([one, two]);
  await rig.halves(one, two);
  const [first, second] = [linkTo(one.router.address, "g0"), linkTo(two.router.address, "g0")];
  const ids = Array.from({ length: 12 }, (_, index) => `shop.few:${index}`);
  /** As a gateway does: at every router of the list; what the primary says counts. */
  const open = async (topicId: string): Promise<number> => {
    const interest = [{ topicId, count: 1 }];
    const [a, b] = await Promise.all([first.interest(interest), second.interest(interest)]);
    const granted = Math.min(a[0]?.granted ?? 0, b[0]?.granted ?? 0);
    if (granted === 0) await close(topicId);
    return granted;
  };
  const close = async (topicId: string): Promise<void> => {
    const interest = [{ topicId, count: 0 }];
    await Promise.all([first.interest(interest), second.interest(interest)]);
  };
  const granted: string[] = [];
  for (const id of ids) if ((await open(id)) === 1) granted.push(id);
  expect(granted).toHaveLength(4);
  for (const id of granted) await close(id);
  const again: string[] = [];
  await until(async () => {
    for (const id of ids) if (!again.includes(id) && (await open(id)) === 1) again.push(id);
    return again.length === 4;
  }, "there is room again");
});

test("presence: changes of a second are one frame, for those who asked; counts come from interest", async () => {
  const router = await rig.spawn();
  rig.topics([
    handTopic("shop.room", { presence: "Members" }),
    handTopic("shop.hall"),
    handTopic("shop.off", { presence: "None" }),
  ]);
  rig.members([]);
  const publisher = publisherTo(await rig.map([router]));
  const [asked, other] = [linkTo(router.router.address, "g0"), linkTo(router.router.address, "g1")];
  const ids = ["shop.room", "shop.hall", "shop.off"];
  await other.interest(ids.map((topicId) => ({ topicId, count: 1 })));
  await asked.interest(ids.map((topicId) => ({ topicId, count: 2, presenceCount: 1 })));
  const change = (version: number, count: number, joined: string[], left: string[]) =>
    publisher.placer.place({
      kind: "presence",
      topicId: "shop.room",
      update: {
        version,
        count,
        joined: joined.map((userId) => ({ userId, info: '{"a":1}' })),
        left: left.map((userId) => ({ userId, info: undefined })),
      },
    });
  await change(1, 1, ["alice"], []);
  await until(() => asked.presence.length === 2, "the first frames come at once");
  expect(asked.presence).toContainEqual({
    type: "presence",
    topic_id: "shop.room",
    count: 1,
    connections: 3,
    joined: [{ user_id: "alice", info: { a: 1 } }],
    left: [],
  });
  expect(asked.presence).toContainEqual({ type: "presence", topic_id: "shop.hall", connections: 3 });
  await Promise.all([
    change(3, 2, [], ["bob"]),
    change(2, 3, ["bob"], []),
    change(4, 3, ["carol"], []),
    change(5, 2, [], ["alice"]),
    other.interest([{ topicId: "shop.hall", count: 5 }]),
    other.interest([{ topicId: "shop.hall", count: 6 }]),
  ]);
  await until(() => asked.presence.some(({ connections }) => connections === 8), "the count comes");
  await until(() => asked.presence.filter(({ count }) => count === 2).length === 1, "the changes come");
  expect(asked.presence).toContainEqual({
    type: "presence",
    topic_id: "shop.room",
    count: 2,
    connections: 3,
    joined: [{ user_id: "carol", info: { a: 1 } }],
    // Bob came and went: whoever got a first list in between knows him.
    left: expect.arrayContaining([{ user_id: "alice" }, { user_id: "bob" }]) as unknown,
  });
  expect(asked.presence).toContainEqual({ type: "presence", topic_id: "shop.hall", connections: 8 });
  expect(other.presence).toEqual([]);
});

test("a topic id at the threshold makes its Topic hot in this router's reports, and no channel is named", async () => {
  const router = await rig.spawn({ EARSHOT_HOT_SUBSCRIPTIONS: "10" });
  rig.topics([handTopic("shop.chat")]);
  rig.members([]);
  await rig.map([router]);
  const link = linkTo(router.router.address, "g0");
  await link.interest([{ topicId: "shop.chat:room-42", count: 9 }]);
  await link.interest([{ topicId: "shop.chat:room-42", count: 10 }]);
  await until(
    () =>
      router.stream.frames.some(
        (frame) =>
          frame.case === "report" &&
          frame.value.hotTopics.some(({ topic, subscriptions }) => topic === "shop.chat" && subscriptions === 10n),
      ),
    "it is reported",
  );
  expect(await router.metric("earshot_router_hot_topics")).toBe(1);
  expect(router.log).toContain("topic became hot");
  expect(router.log).not.toContain("room-42");
});

test("a router hands on the state it applied last, read-only, when no operator is there", async () => {
  const router = await rig.spawn();
  rig.topics([handTopic("shop.chat"), handTopic("shop.orders")]);
  rig.members([]);
  await rig.map([router]);
  rig.operator.kill();
  const client = clientOf(router.router.address, PEER_SECRET);
  const stream = client.bidi(ControlPlaneService.method.sync);
  const pushes: Push[] = [];
  stream.on("error", () => undefined);
  stream.on("data", ({ frame }) => {
    if (frame.case !== "push") return;
    pushes.push(frame.value);
    stream.write(create(SyncRequestSchema, { frame: { case: "applied", value: { pushId: frame.value.pushId } } }));
  });
  const hello = { protocolVersion: 1, incarnation: "late", name: "gateway-9", wantsTopics: true };
  stream.write(create(SyncRequestSchema, { frame: { case: "hello", value: hello } }));
  await until(() => pushes.some(({ shardMap }) => shardMap !== undefined), "the map comes");
  expect(pushes.flatMap(({ topics }) => topics.map(({ name }) => name))).toEqual(["chat", "orders"]);
  expect(pushes.find(({ shardMap }) => shardMap !== undefined)?.shardMap?.epoch).toBe(1n);
  stream.cancel();
});

test("services publish at a router's own port: it does its own shards itself and forwards the others", async () => {
  const secret = { EARSHOT_SECRET: "a test's own secret, longer than 32 bytes", EARSHOT_ANONYMOUS: "true" };
  const [one, two] = await Promise.all([rig.spawn({ ...secret, EARSHOT_GRPC_PORT: "0" }), rig.spawn()]);
  rig.topics([handTopic("shop.chat")]);
  rig.members([]);
  const port = () => /"publicPort":(\d+)/.exec(one.log)?.[1];
  await rig.map([one]);
  await until(() => port() !== undefined, "its port is open");
  const client = clientOf(`127.0.0.1:${port()}`);
  const publish = () =>
    client.unary(
      PublisherService.method.publish,
      create(PublishRequestSchema, { topicId: "shop.chat", content: { case: "payload", value: "1" } }),
      2_000,
    );
  const link = linkTo(one.router.address, "g0");
  await link.interest([{ topicId: "shop.chat", count: 1 }]);
  const own = await publish();
  expect(own.messageId.startsWith(one.router.incarnation)).toBe(true);
  expect(own.deliveredTo).toBe(1n);
  await rig.map([two]);
  const other = linkTo(two.router.address, "g0");
  await other.interest([{ topicId: "shop.chat", count: 2 }]);
  const forwarded = await publish();
  expect(forwarded.messageId.startsWith(two.router.incarnation)).toBe(true);
  expect(forwarded.deliveredTo).toBe(2n);
  one.kill("SIGTERM");
  one.stream.push({ released: true });
  expect(await one.exit()).toBe(0);
});

test("nobody without the peer secret gets in", async () => {
  const router = await rig.spawn();
  const client = clientOf(router.router.address, "another secret");
  const count = create(CountSubscriptionsRequestSchema, { topicIds: [] });
  await expect(client.unary(RouterService.method.countSubscriptions, count, 2_000)).rejects.toThrow(/peer secret/);
});

test("a setting that cannot be used is one sentence that names it, and exit code 2", async () => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  closing.push(() => holder.close());
  const { port } = holder.address() as AddressInfo;
  const busy = { EARSHOT_SECRET: "a test's own secret, longer than 32 bytes", EARSHOT_GRPC_PORT: String(port) };
  for (const [env, named] of [
    [{ EARSHOT_PEERS: "nowhere" }, "EARSHOT_PEERS"],
    [{ EARSHOT_PEERS: "" }, "EARSHOT_PEERS"],
    [{ EARSHOT_PEER_SECRET: "" }, "EARSHOT_PEER_SECRET"],
    [{ EARSHOT_HOT_SUBSCRIPTIONS: "many" }, "EARSHOT_HOT_SUBSCRIPTIONS"],
    [busy, "EARSHOT_GRPC_PORT"],
  ] as const) {
    const router = rig.launch(env);
    expect(await router.exit()).toBe(2);
    const sentences = router.log.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
    expect(sentences).toHaveLength(1);
    expect(sentences[0]).toContain(named);
  }
});
