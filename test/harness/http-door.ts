// Owns: an HTTP door (gateway/http) for tests, with a stand-in for everything behind it: two Topics, callers named by
// their token (`token-of-alice`), and lists of what was asked of whom.

import { createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import type { FastifyInstance } from "fastify";
import { create } from "@bufbuild/protobuf";
import { MESSAGE_BYTES_DEFAULT } from "#core/domain/limits.ts";
import { ANONYMOUS, NO_CAPABILITIES, type Principal } from "#core/domain/principal.ts";
import { EMPTY_SHARD_MAP } from "#core/domain/shard-map.ts";
import type { Topic, TopicPolicy } from "#core/domain/topic.ts";
import { parseTopicId } from "#core/domain/topic-id.ts";
import type { Caller, Edge, PublishInput, TopicFields, TopicView } from "#core/edge/edge.ts";
import type { Fleet } from "#core/fleet/fleet.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { DescribeTopicResponseSchema } from "#proto/earshot/internal/v1/router_pb.ts";
import { createHttpApp } from "../../gateway/http/app.ts";
import type { HttpDeps } from "../../gateway/http/deps.ts";
import type { PresenceSnapshot } from "../../gateway/presence/presence.ts";

const POLICY: TopicPolicy = {
  permissions: "Public",
  owner: undefined,
  publishers: [],
  subscribers: [],
  channels: "Dynamic",
  presence: "Members",
  slowConsumer: "DropOldest",
  maxMessageBytes: MESSAGE_BYTES_DEFAULT,
  batchWindowMilliseconds: 0,
  priority: "Normal",
  maxPublishesPerSecond: 0,
  maxSubscribers: 0,
  maxChannels: 0,
};

export function topicOf(key: string, policy: Partial<TopicPolicy> = {}): Topic {
  const [namespace = "", ...name] = key.split(".");
  return {
    key,
    namespace,
    name: name.join("."),
    createdAtMs: Date.UTC(2026, 0, 1),
    policy: { ...POLICY, ...policy },
    httpManaged: true,
  };
}

function principalOf(token: string | undefined): Principal {
  if (token === undefined) return ANONYMOUS;
  if (token === "expired") throw new EarshotError("token_expired");
  if (!token.startsWith("token-of-")) throw new EarshotError("unauthenticated", "the token could not be verified");
  return {
    kind: "user",
    userId: token.slice("token-of-".length),
    groups: [],
    capabilities: NO_CAPABILITIES,
    namespaces: undefined,
    expiresAtMs: Date.UTC(2036, 0, 1),
    info: undefined,
  };
}

export const DELIVERED: PublishResult = {
  messageId: "r3a-9001",
  deliveredTo: 3,
  exact: false,
  dropped: false,
  reason: undefined,
  notDelivered: {},
};

export interface Asked {
  readonly calls: Caller[];
  readonly publishes: { caller: Caller; input: PublishInput }[];
  readonly creates: { namespace: string | undefined; name: string; fields: TopicFields }[];
  readonly updates: { topicId: string; fields: TopicFields }[];
  readonly deletes: string[];
  readonly orders: PublishOrder[];
  readonly snapshots: { topicId: string; limit: number; cursor: string | undefined }[];
}

export interface StandIn {
  readonly topics: Map<string, Topic>;
  readonly asked: Asked;
  /** Thrown by the next calls of these names, until taken away. */
  readonly fails: Map<"publish" | "topics" | "place" | "count" | "admit" | "describe", Error>;
  /** What the next publishes answer. */
  result: PublishResult;
  snapshot: PresenceSnapshot;
  presenceAvailable: boolean;
  largestMessageBytes: number;
  /** Rights besides seeing: `manage` needs to be in here as `user topic`. */
  readonly manages: Set<string>;
}

function viewOf(topicId: string, topic: Topic): TopicView {
  const { name, createdAtMs, policy } = topic;
  const { owner, permissions, channels, presence } = policy;
  return { topicId, name, ownerId: owner, createdAtMs, permissions, channels, presence, subscriberCount: 3 };
}

function standIn(): StandIn {
  return {
    topics: new Map([
      ["default.demo", topicOf("default.demo")],
      ["shop.orders", topicOf("shop.orders", { permissions: "Private", owner: "alice", presence: "Count" })],
      ["shop.wall", topicOf("shop.wall", { permissions: "PublishOnly", channels: "None" })],
    ]),
    asked: { calls: [], publishes: [], creates: [], updates: [], deletes: [], orders: [], snapshots: [] },
    fails: new Map(),
    result: DELIVERED,
    snapshot: { page: { members: [], count: 0, version: 1, nextCursor: undefined }, stale: false },
    presenceAvailable: true,
    largestMessageBytes: MESSAGE_BYTES_DEFAULT,
    manages: new Set(),
  };
}

function standInEdge(state: StandIn): Edge {
  const { topics, asked, fails } = state;
  const failIf = (name: Parameters<typeof fails.get>[0]): void => {
    const error = fails.get(name);
    if (error !== undefined) throw error;
  };
  const governing = (id: string): { topic: Topic; topicId: ReturnType<typeof parsed> } => {
    const topicId = parsed(id);
    const topic = topics.get(topicId.topic);
    if (topic === undefined) throw new EarshotError("topic_not_found");
    return { topic, topicId };
  };
  const edge: Edge = {
    authenticate: async (token) => principalOf(token),
    admitCall: (caller) => {
      failIf("admit");
      asked.calls.push(caller);
    },
    authorize: (action, principal, id) => {
      const { topic, topicId } = governing(id);
      const owner = principal.kind === "user" && principal.userId === topic.policy.owner;
      const userId = principal.kind === "user" ? principal.userId : "";
      const manages = state.manages.has(`${userId} ${topic.key}`);
      const { permissions } = topic.policy;
      const sees = owner || manages || permissions !== "Private";
      if (!sees) throw new EarshotError("topic_not_found");
      const allowed = {
        publish: owner || permissions === "Public" || permissions === "PublishOnly",
        subscribe: owner || permissions === "Public" || permissions === "SubscribeOnly",
        manage: owner || manages,
      }[action];
      if (!allowed) throw new EarshotError(principal.kind === "anonymous" ? "unauthenticated" : "forbidden");
      return { topic, topicId };
    },
    publish: async (caller, input) => {
      failIf("publish");
      edge.authorize("publish", caller.principal, input.topicId);
      asked.publishes.push({ caller, input });
      return state.result;
    },
    topics: {
      create: async (_caller, namespace, name, fields) => {
        failIf("topics");
        asked.creates.push({ namespace, name, fields });
        const topic = topicOf(`${namespace ?? "default"}.${name}`, { permissions: fields.permissions ?? "Private" });
        return { topic: viewOf(topic.key, topic), ready: true };
      },
      update: async (_caller, topicId, fields) => {
        failIf("topics");
        asked.updates.push({ topicId, fields });
        return { topic: viewOf(topicId, governing(topicId).topic), ready: true };
      },
      get: async (_caller, topicId) => {
        failIf("topics");
        return viewOf(topicId, governing(topicId).topic);
      },
      list: async (_caller, limit, cursor) => {
        failIf("topics");
        const all = [...topics.keys()].sort().filter((key) => cursor === undefined || key > cursor);
        const page = all.slice(0, limit).map((key) => viewOf(key, governing(key).topic));
        return { topics: page, nextCursor: all.length > limit ? page.at(-1)?.topicId : undefined };
      },
      delete: async (_caller, topicId) => {
        failIf("topics");
        governing(topicId);
        asked.deletes.push(topicId);
      },
    },
  };
  return edge;
}

function parsed(id: string) {
  const result = parseTopicId(id);
  if (!result.ok) throw new EarshotError("topic_id_invalid", result.reason);
  return result.value;
}

function standInFleet(state: StandIn): Fleet {
  return {
    topic: (key) => state.topics.get(key),
    topics: state.topics,
    get largestMessageBytes() {
      return state.largestMessageBytes;
    },
    map: EMPTY_SHARD_MAP,
    members: [],
    synced: true,
    operatorConnected: true,
    onTopic: () => () => {},
    onMap: () => () => {},
    onMembers: () => () => {},
    mutateTopic: async () => {
      throw new EarshotError("control_plane_unavailable");
    },
  };
}

export interface Door {
  readonly app: FastifyInstance;
  readonly state: StandIn;
  close(): Promise<void>;
}

/** A door without a port: `app.inject` speaks to it. */
export async function openDoor(overrides: Partial<HttpDeps> = {}): Promise<Door> {
  const state = standIn();
  const app = await createHttpApp({
    edge: standInEdge(state),
    placer: {
      place: async (order) => {
        const error = state.fails.get("place");
        if (error !== undefined) throw error;
        state.asked.orders.push(order);
        return state.result;
      },
      describe: async () => {
        const error = state.fails.get("describe");
        if (error !== undefined) throw error;
        return create(DescribeTopicResponseSchema, {
          shard: 7,
          epoch: 1_767_225_600n,
          seq: 41n,
          gateways: [{ gatewayName: "gateway-0", gatewayIncarnation: "g7", subscriptions: 3 }],
          lastDrops: [{ atMs: BigInt(Date.UTC(2026, 0, 1)), reason: "no_subscribers", count: 2n }],
        });
      },
      countSubscriptions: async (ids) => {
        const error = state.fails.get("count");
        if (error !== undefined) throw error;
        return ids.map(() => 3);
      },
    },
    fleet: standInFleet(state),
    presence: {
      get available() {
        return state.presenceAvailable;
      },
      joined: () => {},
      left: () => {},
      snapshot: async (topicId, limit, cursor) => {
        state.asked.snapshots.push({ topicId, limit, cursor });
        return state.snapshot;
      },
      close: async () => {},
    },
    config: { allowedOrigins: ["*"], trustedProxies: [], anonymous: true },
    log: createLog("silent", {}),
    registry: createRegistry("gateway"),
    incarnation: "abcdefghijkl",
    sseRoutes: async () => {},
    ...overrides,
  });
  return { app, state, close: () => app.close() };
}

/** Gives a door a port, as a gateway does: connections are emitted into its server. */
export async function listen(door: Door): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    door.app.server.emit("connection", socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
