// Owns: the router process: settings, the server between processes, the public gRPC port where one is set, probes, and
// the order in which it begins and ends. What it does is router.ts; how it leaves is drain.ts.

import { createEdge } from "#core/edge/create-edge.ts";
import { createPublicGrpcServer } from "#core/edge/public-grpc.ts";
import { openPublicTls } from "#core/edge/public-tls.ts";
import { createPeerIdentity } from "#core/fleet/peer-identity.ts";
import { announcePeer, watchPeers } from "#core/fleet/peers.ts";
import { Placer } from "#core/fleet/placer.ts";
import { publicAccounts, ServiceAccounts } from "#core/fleet/service-accounts.ts";
import { SyncClient } from "#core/fleet/sync-client.ts";
import { SyncRelay } from "#core/fleet/sync-relay.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { ConfigError } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";
import { bindService, createGrpcServer, listenGrpc } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { tellParent } from "#core/runtime/parent.ts";
import { Probes } from "#core/runtime/probes.ts";
import { hostPort, type ProcessParts, runProcess } from "#core/runtime/process.ts";
import type { Config } from "#core/runtime/settings.ts";
import { ControlPlaneService } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { LinkService } from "#proto/earshot/internal/v1/link_pb.ts";
import { RouterService } from "#proto/earshot/internal/v1/router_pb.ts";
import { drained } from "./drain.ts";
import { registerRelay } from "./metrics.ts";
import { Router } from "./router.ts";

const clock = SYSTEM_CLOCK;

/** Milliseconds between looks whether this router is ready. */
const READY_LOOK_MS = 10;

/** Milliseconds that streams which were just ended have to say so to their peers. */
const GOODBYE_MS = 200;

async function start({ config, given, self, log, lifecycle, registry }: ProcessParts): Promise<void> {
  const { internalHost } = config;
  const { incarnation, name } = self;
  const peers = lifecycle.own("peers", watchPeers(config.peers, log));
  const accounts = new ServiceAccounts({ clock, log });
  const identity = lifecycle.own("identity", createPeerIdentity({ config, accounts, clock, log, registry }));
  const server = createGrpcServer({ judge: identity.judge });
  const port = await listenGrpc(server, internalHost, config.internalPort, identity.tls);
  lifecycle.own("server", {
    close: async () => {
      const goodbye = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      await Promise.race([goodbye, new Promise((resolve) => setTimeout(resolve, GOODBYE_MS))]);
      server.forceShutdown();
    },
  });
  const address = hostPort(internalHost, port);
  const fleet = lifecycle.own(
    "sync",
    new SyncClient({ self: { ...self, role: "router", address }, peers, identity, clock, log, registry }),
  );
  fleet.onServiceAccountKeys((keys) => accounts.update(keys));
  const relay = lifecycle.own("relay", new SyncRelay({ fleet, incarnation }));
  registerRelay(registry, relay);
  const router = lifecycle.own(
    "router",
    new Router({
      self,
      fleet,
      identity,
      hotSubscriptions: config.hotSubscriptions,
      clock,
      log,
      registry,
      reportChanged: () => fleet.reportChanged(),
      mapApplied: (epoch) => fleet.ackEpoch(epoch),
    }),
  );
  bindService(server, LinkService, router.links.handlers);
  bindService(server, RouterService, router.publishes.handlers);
  bindService(server, ControlPlaneService, relay.handlers);
  fleet.setReport(() => ({ draining: router.draining, hotTopics: router.hotTopics }));

  const local = router.local;
  const placer = lifecycle.own(
    "placer",
    new Placer({ fleet, log, clock, incarnation, name, identity, registry, local }),
  );
  const doorDeps = { fleet, placer, accounts: publicAccounts(config, accounts), registry, log };
  const publicDoor = given.has("grpcPort") ? await openPublicDoor(config, doorDeps) : undefined;
  if (publicDoor !== undefined) lifecycle.own("public", publicDoor);
  const readiness = (): readonly string[] => {
    if (lifecycle.stopping) return ["draining"];
    if (!fleet.synced) return ["no topics or no shard map yet"];
    return router.warmth.everWarm ? [] : router.warmth.reasons();
  };
  const probes = lifecycle.own("probes", await Probes.listen(internalHost, config.probesPort, registry, readiness));
  lifecycle.own("leaving", leaving({ router, fleet, publicDoor, log }));
  const announced = await announcePeer(config.peers, {
    ...self,
    role: "router",
    pid: process.pid,
    grpc: address,
    probes: hostPort(internalHost, probes.port),
  });
  lifecycle.own("announcement", announced);

  // A map names only routers that are ready to be dialled: they listen, and have every Topic.
  fleet.onTopicsSynced(() => fleet.setReady(true));
  fleet.start();
  while (readiness().length > 0) {
    if (lifecycle.stopping) return;
    await new Promise((resolve) => setTimeout(resolve, READY_LOOK_MS));
  }
  log.info({ port, publicPort: publicDoor?.port }, "router ready");
  tellParent({ type: "ready", ports: publicDoor === undefined ? {} : { grpc: publicDoor.port } });
}

interface DoorDeps {
  readonly fleet: SyncClient;
  readonly placer: Placer;
  readonly accounts: ServiceAccounts | undefined;
  readonly registry: Registry;
  readonly log: Log;
}

/** PublisherService and TopicService for services in the cluster. */
async function openPublicDoor(config: Config, deps: DoorDeps): Promise<Component & { readonly port: number }> {
  const edge = createEdge({ config, ...deps, clock });
  const tls = openPublicTls({ config, clock, ...deps });
  const grpc = createPublicGrpcServer({ edge, log: deps.log, registry: deps.registry, clock, tls });
  const close = async (): Promise<void> => {
    await grpc.close();
    await edge.close();
    await tls?.close();
  };
  try {
    const port = await grpc.listen(config.host, config.grpcPort);
    return { port, drain: (deadlineMs) => grpc.drain(deadlineMs), close };
  } catch (error) {
    await close();
    const where = `${hostPort(config.host, config.grpcPort)} (--grpc-port, EARSHOT_GRPC_PORT)`;
    throw new ConfigError(`the public gRPC port ${where} cannot be opened: ${messageOf(error)}`);
  }
}

interface LeavingDeps {
  readonly router: Router;
  readonly fleet: SyncClient;
  readonly publicDoor: Component | undefined;
  readonly log: Log;
}

/** Registered late, so that it is the first to drain: everybody is told before anything waits. */
function leaving({ router, fleet, publicDoor, log }: LeavingDeps): Component {
  let released = false;
  fleet.onReleased(() => {
    released = true;
  });
  return {
    drain: async (deadlineMs) => {
      const endsAtMs = clock.monotonic() + deadlineMs;
      await router.announceDraining();
      // What callers of the public port still have under way may yet be sequenced here.
      await Promise.race([publicDoor?.drain?.(deadlineMs), new Promise((resolve) => setTimeout(resolve, deadlineMs))]);
      await drained({
        clock,
        log,
        deadlineMs: Math.max(0, endsAtMs - clock.monotonic()),
        push: () => router.flushWindows(),
        view: () => ({
          released,
          operatorConnected: fleet.operatorConnected,
          publishesIdleMs: router.publishes.idleMs(clock.monotonic()),
          drained: router.drained,
        }),
      });
    },
    close: () => Promise.resolve(),
  };
}

await runProcess("router", start);
