// Owns: the presence process of one machine: the in-memory store behind its gRPC server. When it dies it is as if Redis
// had died: delivery goes on, and the gateways send again what they hold to its successor.

import { announcePeer } from "#core/fleet/peers.ts";
import { ConfigError, loadConfig } from "#core/runtime/config.ts";
import { bindService, createGrpcServer, listenGrpc } from "#core/runtime/grpc.ts";
import { newIncarnation } from "#core/runtime/incarnation.ts";
import { Lifecycle } from "#core/runtime/lifecycle.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { onParentGone, tellParent } from "#core/runtime/parent.ts";
import { Probes } from "#core/runtime/probes.ts";
import type { Config } from "#core/runtime/settings.ts";
import { PresenceStoreService } from "#proto/earshot/internal/v1/presence_pb.ts";
import { createStoreHandlers } from "./store-server.ts";

async function start(config: Config): Promise<void> {
  const name = config.name === "" ? "presence-0" : config.name;
  const incarnation = newIncarnation();
  const log = createLog(config.logLevel, { role: "presence", name, incarnation });
  const registry = createRegistry("presence");
  const lifecycle = new Lifecycle(log);
  lifecycle.handleSignals(config.drain);
  onParentGone(() => void lifecycle.stop(config.drain).then(() => process.exit(0)));

  const server = createGrpcServer({ peerSecret: config.peerSecret });
  bindService(server, PresenceStoreService, createStoreHandlers({ incarnation, registry }));
  const port = await listenGrpc(server, config.internalHost, 0);
  lifecycle.own("grpc", {
    close: async () => server.forceShutdown(),
  });
  const probes = lifecycle.own("probes", await Probes.listen(config.internalHost, 0, registry, () => []));
  const announced = await announcePeer(config.peers, {
    name,
    role: "presence",
    incarnation,
    pid: process.pid,
    grpc: addressOf(config.internalHost, port),
    probes: addressOf(config.internalHost, probes.port),
    node: config.node,
    zone: config.zone,
  });
  lifecycle.own("announcement", announced);
  log.info({ port }, "presence store ready");
  tellParent({ type: "ready", ports: {} });
}

function addressOf(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

try {
  await start(loadConfig("presence", { argv: process.argv.slice(2), env: process.env }).config);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  tellParent({ type: "cannotStart", text: error.message });
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
  process.disconnect?.();
}
