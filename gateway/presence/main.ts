// Owns: the presence process of one machine: the in-memory store behind its gRPC server. When it dies it is as if Redis
// had died: delivery goes on, and the gateways send again what they hold to its successor.

import { announcePeer } from "#core/fleet/peers.ts";
import { bindService, createGrpcServer, listenGrpc } from "#core/runtime/grpc.ts";
import { tellParent } from "#core/runtime/parent.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { Probes } from "#core/runtime/probes.ts";
import { hostPort, type ProcessParts, runProcess } from "#core/runtime/process.ts";
import { PresenceStoreService } from "#proto/earshot/internal/v1/presence_pb.ts";
import { createStoreHandlers } from "./store-server.ts";

async function start({ config, self, log, lifecycle, registry }: ProcessParts): Promise<void> {
  const { incarnation } = self;
  const server = createGrpcServer({ judge: secretIdentity(config.peerSecret).judge });
  bindService(server, PresenceStoreService, createStoreHandlers({ incarnation, registry }));
  const port = await listenGrpc(server, config.internalHost, 0);
  lifecycle.own("grpc", {
    close: async () => server.forceShutdown(),
  });
  const probes = lifecycle.own("probes", await Probes.listen(config.internalHost, 0, registry, () => []));
  const announced = await announcePeer(config.peers, {
    ...self,
    role: "presence",
    pid: process.pid,
    grpc: hostPort(config.internalHost, port),
    probes: hostPort(config.internalHost, probes.port),
  });
  lifecycle.own("announcement", announced);
  log.info({ port }, "presence store ready");
  tellParent({ type: "ready", ports: {} });
}

await runProcess("presence", start);
