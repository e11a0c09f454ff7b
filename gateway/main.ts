// Owns: the gateway process: reads its settings, puts its rooms together, says when it is ready, and ends in order: no new
// connections, clients told when to move, then everything else. Invariant: the public ports open only once this gateway
// is warm, so that nobody is let in who could not be served.

import { createHmac } from "node:crypto";
import { createEdge } from "#core/edge/create-edge.ts";
import { createPublicGrpcServer } from "#core/edge/public-grpc.ts";
import { openPublicTls } from "#core/edge/public-tls.ts";
import { createPeerIdentity } from "#core/fleet/peer-identity.ts";
import { announcePeer, watchPeers } from "#core/fleet/peers.ts";
import { Placer } from "#core/fleet/placer.ts";
import { publicAccounts, ServiceAccounts } from "#core/fleet/service-accounts.ts";
import { SyncClient } from "#core/fleet/sync-client.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import type { Lifecycle } from "#core/runtime/lifecycle.ts";
import { askParentForSlots, askParentToKill, hasParent, tellParent } from "#core/runtime/parent.ts";
import { Probes } from "#core/runtime/probes.ts";
import { hostPort, type ProcessParts, runProcess } from "#core/runtime/process.ts";
import type { Config } from "#core/runtime/settings.ts";
import { SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";
import { createGateway } from "./gateway.ts";
import { createHttpApp } from "./http/app.ts";
import { trustedProxies } from "./http/client-address.ts";
import { HttpConnections } from "./http/connections.ts";
import type { Killer } from "./http/page/killer.ts";
import { PublicPorts } from "./listen/public-ports.ts";
import { createPresence } from "./presence/create-presence.ts";

/** Milliseconds between looks whether this gateway is warm. */
const WARM_LOOK_MS = 10;

type State = "starting" | "listening";

async function start(parts: ProcessParts): Promise<void> {
  const { config, self, log, lifecycle, registry } = parts;
  const rooms = await createRooms(parts);
  const { fleet, gateway } = rooms;
  let state: State = "starting";
  const coldReasons = (): readonly string[] =>
    fleet.synced ? gateway.upstream.coldReasons() : ["no topics or no map yet"];
  // Once warm it stays so: a router that comes or dies later is none of a load balancer's business.
  const readiness = (): readonly string[] => {
    if (lifecycle.stopping) return ["draining"];
    if (state === "listening") return [];
    const reasons = coldReasons();
    return reasons.length > 0 ? reasons : ["ports not open yet"];
  };
  const probes = lifecycle.own(
    "probes",
    await Probes.listen(config.internalHost, config.probesPort, registry, readiness),
  );
  const doors = await createDoors(config, rooms, lifecycle);
  gateway.upstream.start();
  fleet.start();
  while (coldReasons().length > 0) {
    if (lifecycle.stopping) return;
    await new Promise((resolve) => setTimeout(resolve, WARM_LOOK_MS));
  }
  const ports = await openPorts(config, rooms, doors, lifecycle);
  const announcement = await announcePeer(config.peers, {
    ...self,
    role: "gateway",
    pid: process.pid,
    // Nobody dials a gateway.
    grpc: "none",
    probes: hostPort(config.internalHost, probes.port),
  });
  lifecycle.own("announcement", announcement);
  state = "listening";
  fleet.setReady(true);
  log.info({ ports }, "gateway ready");
  tellParent({ type: "ready", ports });
}

type Rooms = Awaited<ReturnType<typeof createRooms>>;

/** Everything behind the doors. */
async function createRooms({ config, self, log, lifecycle, registry }: ProcessParts) {
  const clock = SYSTEM_CLOCK;
  const { incarnation, name } = self;
  const accounts = new ServiceAccounts({ clock, log });
  const identity = lifecycle.own("identity", createPeerIdentity({ config, accounts, clock, log, registry }));
  const peers = lifecycle.own("peers", watchPeers(config.peers, log));
  const fleet = lifecycle.own(
    "sync",
    new SyncClient({ self: { ...self, role: "gateway", address: "" }, peers, identity, clock, log, registry }),
  );
  fleet.onServiceAccountKeys((keys) => accounts.update(keys));
  const placer = lifecycle.own("placer", new Placer({ fleet, log, clock, incarnation, name, identity, registry }));
  const edge = lifecycle.own(
    "edge",
    createEdge({ config, fleet, placer, accounts: publicAccounts(config, accounts), log, registry, clock }),
  );
  const presence = await createPresence({ config, peers, identity, placer, incarnation, log, registry });
  lifecycle.own("presence", presence);
  const gateway = createGateway({
    config,
    self,
    fleet,
    identity,
    edge,
    presence,
    clock,
    log,
    registry,
    trusted: trustedProxies(config.trustedProxies),
    ackEpoch: (epoch) => fleet.ackEpoch(epoch),
    linksChanged: () => fleet.reportChanged(),
  });
  lifecycle.own("gateway", gateway);
  fleet.setReport(() => ({ draining: lifecycle.stopping, links: gateway.upstream.linkReports() }));
  return { self, clock, log, registry, peers, fleet, placer, edge, presence, gateway };
}

type Doors = Awaited<ReturnType<typeof createDoors>>;

/** The servers that clients speak to, without ports yet. */
async function createDoors(config: Config, rooms: Rooms, lifecycle: Lifecycle) {
  const { self, clock, log, registry, peers, fleet, placer, edge, presence, gateway } = rooms;
  const http = await createHttpApp({
    edge,
    placer,
    fleet,
    presence,
    config,
    log,
    registry,
    incarnation: self.incarnation,
    // A folder of peers is one machine: standalone mode.
    ...(config.peers.startsWith("folder:") ? { peers, slots: askParentForSlots, ...killerOf(config) } : {}),
    sseRoutes: gateway.sseRoutes,
    draining: () => lifecycle.stopping,
  });
  lifecycle.own("http", { close: () => http.close() });
  const connections = lifecycle.own("connections", new HttpConnections(http.server, { clock, registry }));
  gateway.webSockets.attach(http.server);
  const extra = { services: [SubscriberService], bind: gateway.bindSubscriber };
  const tls = openPublicTls({ config, clock, log, registry });
  if (tls !== undefined) lifecycle.own("public tls", tls);
  const grpc = lifecycle.own("grpc", createPublicGrpcServer({ edge, log, registry, clock, tls, extra }));
  return { http: http.server, grpc, connections };
}

/** Where somebody started this process who may kill routers for the page. All gateways of one start agree on the nonce. */
function killerOf({ peerSecret }: Config): { killer?: Killer } {
  if (!hasParent()) return {};
  const nonce = createHmac("sha256", peerSecret).update("the page's nonce").digest("base64url");
  return { killer: { nonce, kill: askParentToKill } };
}

/** Opens the public ports; from the drain on they are closed, and clients told to move. */
async function openPorts(
  config: Config,
  { gateway, clock }: Rooms,
  { http, grpc, connections }: Doors,
  lifecycle: Lifecycle,
): Promise<PublicPorts["ports"]> {
  const ports = await PublicPorts.open({ config, http, grpc: grpc.connections, platform: process.platform });
  lifecycle.own("sessions", {
    drain: async (deadlineMs) => {
      const endsAtMs = clock.monotonic() + deadlineMs;
      await ports.drain();
      const leftMs = Math.max(0, endsAtMs - clock.monotonic());
      await Promise.all([gateway.sessions, grpc, connections].map((component) => component.drain(leftMs)));
    },
    close: () => ports.close(),
  });
  return ports.ports;
}

await runProcess("gateway", start);
