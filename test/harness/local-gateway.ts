// Owns: the data path of a gateway in the test's own process, between real sockets of clients and routers that a test
// scripts. Topics, the map, time to expire and presence are in the test's hand; the edge is the real one.

import { createEdge } from "#core/edge/create-edge.ts";
import { createPublicGrpcServer } from "#core/edge/public-grpc.ts";
import type { Edge } from "#core/edge/edge.ts";
import type { Fleet } from "#core/fleet/fleet.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { loadConfig } from "#core/runtime/config.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import type { Config } from "#core/runtime/settings.ts";
import { SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";
import { createGateway, type Gateway } from "../../gateway/gateway.ts";
import { createHttpApp } from "../../gateway/http/app.ts";
import { trustedProxies } from "../../gateway/http/client-address.ts";
import { PublicPorts } from "../../gateway/listen/public-ports.ts";
import type { PresenceEntry, PresenceSnapshot } from "../../gateway/presence/presence.ts";
import { EDGE_SECRET, FleetStandIn, PlacerStandIn } from "./edge-stand-ins.ts";
import { HandMap } from "./hand-map.ts";
import { ScriptedLinkRouter } from "./scripted-link-router.ts";
import { until } from "./until.ts";

const PEER_SECRET = "a test's peer secret";

class PresenceStandIn {
  available = true;
  readonly joins: PresenceEntry[] = [];
  readonly leaves: PresenceEntry[] = [];
  snapshots: () => Promise<PresenceSnapshot> = async () => ({ page: undefined, stale: true });

  joined(entry: PresenceEntry): void {
    this.joins.push(entry);
  }

  left(entry: PresenceEntry): void {
    this.leaves.push(entry);
  }

  snapshot(): Promise<PresenceSnapshot> {
    return this.snapshots();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export class LocalGateway {
  readonly topics = new FleetStandIn();
  readonly map = new HandMap();
  readonly placer = new PlacerStandIn();
  readonly presence = new PresenceStandIn();
  readonly registry = new Registry();
  readonly ackedEpochs: number[] = [];
  readonly routers: ScriptedLinkRouter[] = [];
  readonly config: Config;
  readonly edge: Edge;
  readonly gateway: Gateway;
  readonly #closers: (() => Promise<void>)[] = [];
  #ports: Partial<Record<"http" | "grpc", number>> = {};

  private constructor(settings: Partial<Config>) {
    const { config } = loadConfig("gateway", { argv: [], env: {} });
    const own = { port: 0, grpcPort: 0, secret: EDGE_SECRET, anonymous: true };
    this.config = { ...config, ...own, ...settings };
    const { topics, map, placer, presence, registry } = this;
    const log = createLog("silent", {});
    const fleet = fleetOf(topics, map);
    const edge = createEdge({ config: this.config, fleet, placer, log, registry, clock: SYSTEM_CLOCK });
    this.edge = edge;
    this.gateway = createGateway({
      config: this.config,
      self: { incarnation: "gatewayabcde", name: "gateway-0", node: "", zone: "" },
      fleet,
      identity: secretIdentity(PEER_SECRET),
      edge,
      presence,
      clock: SYSTEM_CLOCK,
      log,
      registry,
      trusted: trustedProxies(this.config.trustedProxies),
      ackEpoch: (epoch) => this.ackedEpochs.push(epoch),
      linksChanged: () => undefined,
    });
    this.#closers.push(() => edge.close());
    this.#open = async () => {
      const { gateway } = this;
      const http = await createHttpApp({
        edge,
        placer: { ...never, place: (order) => placer.place(order), countSubscriptions: async () => [] },
        fleet,
        presence,
        config: this.config,
        log,
        registry,
        incarnation: "gatewayabcde",
        sseRoutes: gateway.sseRoutes,
        draining: () => gateway.sessions.draining,
      });
      const extra = {
        services: [SubscriberService],
        bind: gateway.bindSubscriber,
      };
      const grpc = createPublicGrpcServer({ edge, log, registry, extra });
      gateway.webSockets.attach(http.server);
      const ports = await PublicPorts.open({
        config: this.config,
        http: http.server,
        grpc: grpc.connections,
        platform: process.platform,
      });
      this.#ports = ports.ports;
      this.#closers.push(
        () => http.close(),
        () => grpc.close(),
        () => gateway.close(),
        () => ports.close(),
      );
    };
  }

  readonly #open: () => Promise<void>;

  /** A gateway with `default.demo` (Public, with channels), linked to as many routers as wanted, primary first. */
  static async open(settings: Partial<Config> = {}, routers = 1): Promise<LocalGateway> {
    const local = new LocalGateway(settings);
    local.topics.add("default.demo", { permissions: "Public", channels: "Dynamic", presence: "Count" });
    await local.#open();
    local.gateway.upstream.start();
    for (let index = 0; index < routers; index++) await local.addRouter();
    local.place(...local.routers);
    await until(() => local.gateway.upstream.coldReasons().length === 0, "the gateway is warm");
    return local;
  }

  get ws(): string {
    return `ws://127.0.0.1:${this.#ports.http}`;
  }

  get http(): string {
    return `http://127.0.0.1:${this.#ports.http}`;
  }

  get port(): number {
    return this.#ports.http ?? 0;
  }

  get grpc(): string {
    return `127.0.0.1:${this.#ports.grpc}`;
  }

  /** The first router. */
  get router(): ScriptedLinkRouter {
    const [first] = this.routers;
    if (first === undefined) throw new Error("this gateway has no router");
    return first;
  }

  async addRouter(): Promise<ScriptedLinkRouter> {
    const made = await ScriptedLinkRouter.listen(`router${this.routers.length}`, PEER_SECRET);
    this.routers.push(made);
    return made;
  }

  /** Puts a map in force in which every shard has this list. */
  place(...routers: readonly ScriptedLinkRouter[]): void {
    this.map.set(routers.map(({ router }) => router));
  }

  async close(): Promise<void> {
    for (const close of this.#closers.toReversed()) await close();
    for (const router of this.routers) await router.close();
  }
}

const never = {
  describe: () => Promise.reject(new Error("not asked in these tests")),
};

function fleetOf(topics: FleetStandIn, map: HandMap): Fleet {
  return {
    topic: (key) => topics.topic(key),
    topics: topics.topics,
    get largestMessageBytes() {
      return topics.largestMessageBytes;
    },
    get map() {
      return map.map;
    },
    members: [],
    synced: true,
    operatorConnected: true,
    onTopic: (listener) => topics.onTopic(listener),
    onMap: (listener) => map.onMap(listener),
    onMembers: () => () => undefined,
    mutateTopic: (request) => topics.mutateTopic(request),
  };
}
