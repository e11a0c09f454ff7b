// Owns: putting the data path of one gateway together: routers in, clients out. main.ts gives it what the process has;
// tests give it a fleet of their own. Nothing here decides anything.

import type { BlockList } from "node:net";
import type { GapReason } from "#core/domain/codes.ts";
import { PINGS_UNANSWERED_MAX } from "#core/domain/limits.ts";
import type { Edge } from "#core/edge/edge.ts";
import type { Fleet } from "#core/fleet/fleet.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Server } from "#core/runtime/grpc.ts";
import type { GrpcConnections } from "#core/runtime/grpc-connections.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import type { ProcessSelf } from "#core/runtime/process.ts";
import type { Config } from "#core/runtime/settings.ts";
import { Deliver } from "./fanout/deliver.ts";
import { FanOut } from "./fanout/fan-out.ts";
import type { LocalTopic } from "./fanout/local-topic.ts";
import { LocalTopics } from "./fanout/local-topics.ts";
import { Notice } from "./fanout/notice.ts";
import { encodeGrpcControl, encodeGrpcEnvelope } from "./grpc/events.ts";
import { bindSubscriberService } from "./grpc/subscriber-service.ts";
import { GatewayMetrics } from "./metrics.ts";
import type { PresenceTracker } from "./presence/presence.ts";
import { WholeLists } from "./presence/whole-lists.ts";
import { Admission } from "./sessions/admission.ts";
import { Pings } from "./sessions/pings.ts";
import { Rights } from "./sessions/rights.ts";
import { Sessions } from "./sessions/sessions.ts";
import { Subscribing } from "./sessions/subscribing.ts";
import { Wheel } from "./sessions/wheel.ts";
import { createSseRoutes } from "./sse/routes.ts";
import { registerState } from "./state-metrics.ts";
import { Upstream } from "./upstream/upstream.ts";
import { WebSocketDoor } from "./websocket/door.ts";

export interface GatewayOptions {
  readonly config: Config;
  readonly self: ProcessSelf;
  readonly fleet: Fleet;
  readonly identity: PeerIdentity;
  readonly edge: Edge;
  readonly presence: PresenceTracker;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  readonly trusted: BlockList;
  /** See SyncClient. */
  readonly ackEpoch: (epoch: number) => void;
  readonly linksChanged: () => void;
}

export type Gateway = ReturnType<typeof createGateway>;

/** Builds it; `upstream.start()` begins. Whoever calls closes what it returns. */
export function createGateway(options: GatewayOptions) {
  const core = createCore(options);
  const doors = createDoors(options, core);
  const { upstream, sessions } = core;
  return {
    upstream,
    sessions,
    ...doors,
    /** Ends every connection and link. */
    async close(): Promise<void> {
      const { rights, subscribing, fanOut, wheel } = core;
      const { webSockets, pings, comments } = doors;
      const parts = [rights, sessions, webSockets, subscribing, upstream, fanOut, pings, comments, wheel];
      for (const component of parts) await component.close();
    },
  };
}

/** What is the same for every kind of client: sessions and fan-out above the links to routers. */
function createCore(options: GatewayOptions) {
  const { config, self, fleet, identity, edge, presence, clock, log } = options;
  const metrics = new GatewayMetrics(options.registry);
  const topics = new LocalTopics();
  const fanOut = new FanOut(clock, metrics);
  const wheel = new Wheel(clock);
  const admission = new Admission(config, clock, metrics);
  const tellGap = (topic: LocalTopic, reason: GapReason, missed: number | undefined): void => {
    metrics.gap(reason);
    fanOut.notice(topic, new Notice({ type: "gap", topicId: topic.id, missed, reason }, encodeGrpcControl));
    // Changes of who is there may be lost as well.
    wholeLists.owe(topic);
  };
  const upstream = new Upstream({
    fleet,
    topics,
    self,
    clock,
    log,
    identity,
    listener: {
      confirmed: (topic, incarnation, first) => subscribing.confirmed(topic, incarnation, first),
      routersChanged: () => subscribing.routersChanged(),
      records: (handedOn, batch) => deliver.batch(handedOn, batch),
      missed: (topic, missed) => tellGap(topic, "link_overflow", missed),
      failedOver: (topic) => tellGap(topic, "router_failover", undefined),
    },
    ackEpoch: options.ackEpoch,
    linksChanged: () => {
      options.linksChanged();
      wholeLists.linksChanged();
    },
  });
  const wholeLists = new WholeLists({
    presence,
    topics,
    fanOut,
    encodeGrpc: encodeGrpcEnvelope,
    upstream,
  });
  const subscriptionsMax = config.subscriptionsPerConnection;
  const subscribing = new Subscribing({ edge, topics, upstream, fanOut, presence, clock, metrics, subscriptionsMax });
  const rights = new Rights({ fleet, topics, subscribing, presence, anonymousAccess: config.anonymous });
  const sessions = new Sessions({
    edge,
    subscribing,
    rights,
    presence,
    admission,
    wheel,
    clock,
    config,
    metrics,
    totals: metrics,
    incarnation: self.incarnation,
  });
  const deliver = new Deliver({
    topics,
    fanOut,
    clock,
    encodeGrpc: encodeGrpcEnvelope,
    metrics,
    isFirstAlive: (topic, incarnation) => upstream.firstAlive(topic)?.incarnation === incarnation,
    subscriptionOf: (connectionId, topicId) => sessions.subscriptionOf(connectionId, topicId),
    evict: (topic, eviction) => rights.evict(topic, eviction),
  });
  const { connectionsMax } = config;
  registerState(options.registry, { topics, fanOut, upstream, sessions, subscribing, wheel, clock, connectionsMax });
  return { upstream, subscribing, rights, sessions, admission, fanOut, wheel, metrics };
}

/** What clients come through. */
function createDoors(options: GatewayOptions, core: ReturnType<typeof createCore>) {
  const { config, fleet, edge, clock, log, trusted } = options;
  const { sessions, subscribing, admission, wheel, metrics } = core;
  const pings = new Pings(clock, { intervalMs: config.pingInterval, unansweredMax: PINGS_UNANSWERED_MAX });
  const comments = new Pings(clock, {
    intervalMs: config.pingInterval / 2,
    unansweredMax: 2 * PINGS_UNANSWERED_MAX,
  });
  const webSockets = new WebSocketDoor({
    client: { sessions, subscribing, edge, pings, wheel, clock, log, limits: config, totals: metrics },
    admission,
    fleet,
    trusted,
    allowedOrigins: config.allowedOrigins,
  });
  const subscriptionsMax = config.subscriptionsPerConnection;
  const shared = { edge, sessions, subscribing, admission, subscriptionsMax };
  const sseRoutes = createSseRoutes({ ...shared, trusted, pings: comments, anonymous: config.anonymous });
  const bindSubscriber = (server: Server, connections: GrpcConnections): void =>
    bindSubscriberService(server, { ...shared, connections, pings: comments, wheel, log });
  return { webSockets, sseRoutes, bindSubscriber, pings, comments };
}
