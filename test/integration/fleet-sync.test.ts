import { create } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";
import { POLICY_DEFAULTS, type Topic, type TopicPolicy } from "#core/domain/topic.ts";
import type { TopicChange } from "#core/fleet/fleet.ts";
import { shardMapToProto } from "#core/fleet/shard-map-codec.ts";
import { SyncClient } from "#core/fleet/sync-client.ts";
import { SyncRelay } from "#core/fleet/sync-relay.ts";
import { topicToRecord } from "#core/fleet/topic-codec.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { bindService, createGrpcServer, listenGrpc } from "#core/runtime/grpc.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { ControlPlaneService, MutateTopicRequestSchema, Role } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { mapOf, routerAt } from "../harness/hand-map.ts";
import { HandPeers, peerAt } from "../harness/hand-peers.ts";
import { type OperatorStream, ScriptedOperator } from "../harness/scripted-operator.ts";
import { until } from "../harness/until.ts";

const SECRET = "a secret of the fleet";
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function operator(): Promise<ScriptedOperator> {
  const scripted = await ScriptedOperator.listen(SECRET);
  closers.push(() => scripted.kill());
  return scripted;
}

interface Synced {
  readonly client: SyncClient;
  readonly peers: HandPeers;
  readonly changes: TopicChange[];
}

function clientOf(role: "router" | "gateway" = "gateway", incarnation = "me"): Synced {
  const peers = new HandPeers();
  const client = new SyncClient({
    self: { incarnation, role, name: `${role}-0`, node: "n1", zone: "z1", address: "127.0.0.1:2" },
    peers,
    identity: secretIdentity(SECRET),
    clock: SYSTEM_CLOCK,
    log: createLog("silent", {}),
    registry: new Registry(),
  });
  const changes: TopicChange[] = [];
  client.onTopic((change) => changes.push(change));
  client.start();
  closers.push(() => client.close());
  return { client, peers, changes };
}

function topic(name: string, policy: Partial<TopicPolicy> = {}): Topic {
  const key = `shop.${name}`;
  return {
    key,
    namespace: "shop",
    name,
    createdAtMs: 1,
    policy: { ...POLICY_DEFAULTS, ...policy },
    httpManaged: false,
  };
}

const records = (...topics: Topic[]) => topics.map(topicToRecord);
const fullList = (...topics: Topic[]) => ({ topicsReset: true, topics: records(...topics), topicsComplete: true });
const told = (changes: TopicChange[]) =>
  changes
    .splice(0)
    .map(({ key, before, after }) => `${before === undefined ? "+" : after === undefined ? "-" : "~"}${key}`);

async function streamTo(scripted: ScriptedOperator): Promise<OperatorStream> {
  return until(() => (scripted.stream?.hello === undefined ? undefined : scripted.stream), "a Sync stream");
}

async function applied(stream: OperatorStream, pushId: bigint): Promise<void> {
  await until(() => stream.get("applied").includes(pushId), `push ${pushId} applied`);
}

test("a process says who it is, and is synced when a full list and a map came", async () => {
  const op = await operator();
  const { client, peers, changes } = clientOf("router");
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  expect(stream.hello).toMatchObject({
    protocolVersion: 1,
    incarnation: "me",
    role: Role.ROUTER,
    name: "router-0",
    node: "n1",
    zone: "z1",
    address: "127.0.0.1:2",
    epoch: 0n,
    wantsTopics: true,
    ready: false,
  });
  await applied(stream, stream.push(fullList(topic("a"), topic("b", { maxMessageBytes: 100_000 }))));
  expect(client.topicsSynced).toBe(true);
  expect(client.synced).toBe(false);
  expect(client.largestMessageBytes).toBe(100_000);
  expect(told(changes)).toEqual(["+shop.a", "+shop.b"]);
  await applied(stream, stream.push({ shardMap: shardMapToProto(mapOf(7, [routerAt("r1")])) }));
  expect(client.synced).toBe(true);
  expect(client.map.epoch).toBe(7);
  expect(client.topic("shop.a")).toEqual(topic("a"));
  expect(client.httpTopicsNamespace).toBe("default");
});

test("deltas change and remove; a push that changes nothing tells nobody", async () => {
  const op = await operator();
  const { client, peers, changes } = clientOf();
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  await applied(stream, stream.push(fullList(topic("a"), topic("b"))));
  told(changes);
  const delta = stream.push({
    topics: records(topic("a", { permissions: "Public" }), topic("b")),
    removedTopics: ["shop.c"],
  });
  await applied(stream, delta);
  expect(told(changes)).toEqual(["~shop.a"]);
  await applied(stream, stream.push({ removedTopics: ["shop.b"] }));
  expect(told(changes)).toEqual(["-shop.b"]);
  expect([...client.topics.keys()]).toEqual(["shop.a"]);
});

test("a new full list in chunks removes what is gone when it is complete, and not before", async () => {
  const op = await operator();
  const { client, peers, changes } = clientOf();
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  await applied(stream, stream.push(fullList(topic("a"), topic("b"), topic("c"))));
  told(changes);
  await applied(stream, stream.push({ topicsReset: true, topics: records(topic("a")) }));
  expect(told(changes)).toEqual([]);
  expect(client.topics.size).toBe(3);
  await applied(stream, stream.push({ topics: records(topic("d")), topicsComplete: true }));
  expect(told(changes)).toEqual(["+shop.d", "-shop.b", "-shop.c"]);
});

test("a lower or equal epoch is never applied", async () => {
  const op = await operator();
  const { client, peers } = clientOf();
  const epochs: number[] = [];
  client.onMap((map) => epochs.push(map.epoch));
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  for (const epoch of [5, 4, 5, 6]) {
    await applied(stream, stream.push({ shardMap: shardMapToProto(mapOf(epoch, [routerAt("r1")])) }));
  }
  expect(epochs).toEqual([5, 6]);
});

test("a malformed map or Topic is refused with its reason, and the last good state stays", async () => {
  const op = await operator();
  const { client, peers } = clientOf();
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  await applied(
    stream,
    stream.push({ shardMap: shardMapToProto(mapOf(5, [routerAt("r1")])), ...fullList(topic("a")) }),
  );
  const broken = shardMapToProto(mapOf(6, [routerAt("r1")]));
  broken.primaries[9] = 3;
  const first = stream.push({ shardMap: broken });
  await until(() => stream.get("nack").includes(first), "map refused");
  const [newer, good] = [topicToRecord(topic("a")), topicToRecord(topic("b"))];
  if (newer.policy !== undefined) newer.policy.permissions = 99 as 1;
  const second = stream.push({ topicsReset: true, topics: [newer, good], topicsComplete: true });
  await until(() => stream.get("nack").includes(second), "Topic refused");
  expect(stream.frames.findLast((frame) => frame.case === "nack")?.value).toMatchObject({
    reason: expect.stringContaining("Topic shop.a: permissions 99"),
  });
  expect(client.map.epoch).toBe(5);
  expect([...client.topics.values()]).toEqual([topic("a"), topic("b")]);
});

test("when the operator dies everything stays as it is; its successor gets the acks again", async () => {
  const op = await operator();
  const { client, peers, changes } = clientOf();
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  await applied(
    stream,
    stream.push({ shardMap: shardMapToProto(mapOf(5, [routerAt("r1")])), ...fullList(topic("a")) }),
  );
  client.ackEpoch(5);
  client.ackEpoch(4);
  await until(() => stream.frames.some((frame) => frame.case === "epochAck"), "ack");
  told(changes);
  op.kill();
  await until(() => !client.operatorConnected, "operator lost");
  expect(client.synced).toBe(true);
  expect(client.map.epoch).toBe(5);
  expect(client.topics.size).toBe(1);
  const successor = await operator();
  peers.set([peerAt("operator", "op2", successor.address)]);
  const next = await streamTo(successor);
  expect(next.hello).toMatchObject({ epoch: 5n, wantsTopics: true });
  await until(() => next.frames.some((frame) => frame.case === "epochAck" && frame.value.epoch === 5n), "ack again");
  await applied(next, next.push(fullList(topic("a"))));
  expect(told(changes)).toEqual([]);
});

test("Topics come from one operator at a time; when it dies another is asked", async () => {
  const [first, second] = [await operator(), await operator()];
  const { client, peers } = clientOf();
  peers.set([peerAt("operator", "op1", first.address), peerAt("operator", "op2", second.address)]);
  const [one, two] = [await streamTo(first), await streamTo(second)];
  expect([one.hello?.wantsTopics, two.hello?.wantsTopics]).toEqual([true, false]);
  await applied(two, two.push(fullList(topic("ignored"))));
  await applied(one, one.push(fullList(topic("a"))));
  expect([...client.topics.keys()]).toEqual(["shop.a"]);
  await applied(two, two.push({ shardMap: shardMapToProto(mapOf(3, [])) }));
  expect(client.map.epoch).toBe(3);
  first.kill();
  await until(() => second.stream?.hello?.wantsTopics === true, "the other is asked for Topics");
  await until(() => client.operatorConnected, "and has greeted");
});

test("an operator that another one tells of is dialled too, once, and let go of when it is told of no more", async () => {
  const [first, second] = [await operator(), await operator()];
  const { client, peers } = clientOf();
  peers.set([peerAt("operator", "op1", first.address)]);
  const stream = await streamTo(first);
  await applied(stream, stream.push({ members: { operators: [first.address, second.address] } }));
  const other = await streamTo(second);
  expect(other.hello?.wantsTopics).toBe(false);
  expect(first.streams).toHaveLength(1);
  expect(client.operators).toEqual([first.address, second.address]);
  // The directory finds it as well: it stays the one stream that it is.
  peers.set([peerAt("operator", "op1", first.address), peerAt("operator", second.address, second.address)]);
  await applied(stream, stream.push({ members: { operators: [first.address] } }));
  expect(other.open).toBe(true);
  expect(second.streams).toHaveLength(1);
  peers.set([peerAt("operator", "op1", first.address)]);
  await until(() => !other.open, "the stream to the other ends");
});

test("how far it has the Topics of a store is told to every operator", async () => {
  const [first, second] = [await operator(), await operator()];
  const { client, peers } = clientOf();
  peers.set([peerAt("operator", "op1", first.address), peerAt("operator", "op2", second.address)]);
  const [one, two] = [await streamTo(first), await streamTo(second)];
  const revisions = (stream: OperatorStream) =>
    stream.frames.flatMap((frame) => (frame.case === "report" ? [frame.value.topicsRevision] : []));
  await applied(one, one.push({ ...fullList(topic("a")), topicsRevision: 41n }));
  await until(() => revisions(one).includes(41n) && revisions(two).includes(41n), "both are told");
  // A push of somebody else's Topics does not count.
  await applied(two, two.push({ ...fullList(topic("ignored")), topicsRevision: 99n }));
  expect(client.topicsRevision).toBe(41n);
});

test("reports tell readiness, links and hot topics when they change", async () => {
  const op = await operator();
  const { client, peers } = clientOf();
  client.setReport(() => ({
    draining: true,
    links: [{ routerIncarnation: "r1", alive: false }],
    hotTopics: [{ topic: "shop.a", subscriptions: 1_500 }],
  }));
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  const reports = () => stream.frames.flatMap((frame) => (frame.case === "report" ? [frame.value] : []));
  await until(() => reports().length === 1, "first report");
  client.setReady(true);
  client.setReady(true);
  client.reportChanged();
  await until(() => reports().length === 2, "second report");
  expect(reports()[1]).toMatchObject({
    ready: true,
    draining: true,
    links: [{ routerIncarnation: "r1", alive: false }],
    hotTopics: [{ topic: "shop.a", subscriptions: 1_500n }],
  });
});

test("members and the release of a draining router reach their listeners", async () => {
  const op = await operator();
  const { client, peers } = clientOf("router");
  let released = 0;
  client.onReleased(() => (released += 1));
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  const processes = [{ incarnation: "g1", role: Role.GATEWAY, name: "gateway-0" }];
  await applied(stream, stream.push({ members: { processes }, released: true }));
  await applied(stream, stream.push({ released: true }));
  expect(client.members).toEqual([{ incarnation: "g1", role: "gateway", name: "gateway-0" }]);
  expect(released).toBe(1);
});

test("a Topic is changed by an operator; with none, or none that answers, that is control_plane_unavailable", async () => {
  const op = await operator();
  const { client, peers } = clientOf();
  const request = create(MutateTopicRequestSchema, {
    namespace: "shop",
    name: "a",
    change: { case: "delete", value: true },
  });
  await expect(client.mutateTopic(request)).rejects.toMatchObject({ code: "control_plane_unavailable" });
  peers.set([peerAt("operator", "op", op.address)]);
  await until(() => client.operatorConnected, "connected");
  expect((await client.mutateTopic(request)).ready).toBe(true);
  op.mutate = () => new Promise(() => undefined);
  const startedAt = performance.now();
  await expect(client.mutateTopic(request)).rejects.toMatchObject({ code: "control_plane_unavailable" });
  expect(performance.now() - startedAt).toBeLessThan(4_000);
  expect(op.mutations.length).toBe(2);
});

test("an operator that does not lead is passed over; a change that may have been made is not made again", async () => {
  const [first, second] = [await operator(), await operator()];
  const { client, peers } = clientOf();
  peers.set([peerAt("operator", "op1", first.address), peerAt("operator", "op2", second.address)]);
  await until(() => first.stream !== undefined && second.stream !== undefined && client.operatorConnected, "connected");
  await Promise.all([streamTo(first), streamTo(second)]);
  first.notLeading();
  const request = create(MutateTopicRequestSchema, {
    namespace: "shop",
    name: "a",
    change: { case: "delete", value: true },
  });
  expect((await client.mutateTopic(request)).ready).toBe(true);
  first.mutate = async () => {
    first.kill();
    return new Promise(() => undefined);
  };
  await expect(client.mutateTopic(request)).rejects.toMatchObject({ code: "control_plane_unavailable" });
  expect(second.mutations.length).toBe(1);
});

async function relayOf(client: SyncClient): Promise<string> {
  const server = createGrpcServer({ judge: secretIdentity(SECRET).judge });
  const relay = new SyncRelay({ fleet: client, incarnation: "r1" });
  bindService(server, ControlPlaneService, relay.handlers);
  const port = await listenGrpc(server, "127.0.0.1", 0);
  closers.push(
    () => server.forceShutdown(),
    () => relay.close(),
  );
  return `127.0.0.1:${port}`;
}

test("without an operator a process starts from a router's last state, and follows it", async () => {
  const op = await operator();
  const router = clientOf("router", "r1");
  router.peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  const many = Array.from({ length: 2_500 }, (_, n) => topic(`t${n}`));
  await applied(stream, stream.push({ shardMap: shardMapToProto(mapOf(5, [routerAt("r1")])), ...fullList(...many) }));
  const address = await relayOf(router.client);
  const late = clientOf("gateway", "late");
  late.peers.set([peerAt("router", "r1", address)]);
  await until(() => late.client.synced, "synced from a router");
  expect(late.client.topics.size).toBe(2_500);
  expect(late.client.map.epoch).toBe(5);
  expect(late.client.operatorConnected).toBe(false);
  stream.push({ removedTopics: ["shop.t7"], shardMap: shardMapToProto(mapOf(6, [])) });
  await until(() => late.client.topics.size === 2_499 && late.client.map.epoch === 6, "followed");
  const request = create(MutateTopicRequestSchema, {
    namespace: "shop",
    name: "a",
    change: { case: "delete", value: true },
  });
  await expect(late.client.mutateTopic(request)).rejects.toMatchObject({ code: "control_plane_unavailable" });
});

test("a router without a complete state serves nobody; an operator that answers ends the asking of routers", async () => {
  const blank = clientOf("router", "r1");
  const address = await relayOf(blank.client);
  const late = clientOf("gateway", "late");
  late.peers.set([peerAt("router", "r1", address)]);
  const op = await operator();
  late.peers.set([peerAt("router", "r1", address), peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  await until(() => op.stream?.hello?.wantsTopics === true, "the operator is the source");
  await applied(stream, stream.push({ shardMap: shardMapToProto(mapOf(5, [])), ...fullList(topic("a")) }));
  expect(late.client.synced).toBe(true);
});

test("100,000 Topics come in without holding the event loop for 50 ms", async () => {
  const op = await operator();
  const { client, peers } = clientOf();
  peers.set([peerAt("operator", "op", op.address)]);
  const stream = await streamTo(op);
  const all = records(...Array.from({ length: 100_000 }, (_, n) => topic(`t${n}`)));
  let longest = 0;
  let last = performance.now();
  const watching = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  for (let start = 0; start < all.length; start += 1_000) {
    const push = {
      topics: all.slice(start, start + 1_000),
      topicsReset: start === 0,
      topicsComplete: start === 99_000,
    };
    await applied(stream, stream.push(push));
  }
  longest = 0;
  last = performance.now();
  await applied(stream, stream.push({ topicsReset: true, topicsComplete: true }));
  clearInterval(watching);
  expect(client.topics.size).toBe(0);
  expect(longest).toBeLessThan(50);
});
