// Owns: the operator process: settings, probes, its announcement to the others, its end. What it does is operator.ts.

import { announcePeer, watchPeers } from "#core/fleet/peers.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { ConfigError, loadConfig } from "#core/runtime/config.ts";
import { newIncarnation } from "#core/runtime/incarnation.ts";
import { Lifecycle } from "#core/runtime/lifecycle.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { onParentGone, tellParent } from "#core/runtime/parent.ts";
import { Probes } from "#core/runtime/probes.ts";
import type { Config } from "#core/runtime/settings.ts";
import { type Operator, startOperator } from "./operator.ts";

async function start(config: Config): Promise<void> {
  const name = config.name === "" ? "operator-0" : config.name;
  const incarnation = newIncarnation();
  const log = createLog(config.logLevel, { role: "operator", name, incarnation });
  const registry = createRegistry("operator");
  const lifecycle = new Lifecycle(log);
  lifecycle.handleSignals(config.drain);
  onParentGone(() => void lifecycle.stop(config.drain).then(() => process.exit()));

  let operator: Operator | undefined;
  const readiness = (): readonly string[] => {
    if (lifecycle.stopping) return ["stopping"];
    return operator?.readiness() ?? ["the first list of Topics is being read"];
  };
  const probes = lifecycle.own("probes", await Probes.listen(config.internalHost, 0, registry, readiness));
  const peers = lifecycle.own("peers", watchPeers(config.peers, log));
  operator = await startOperator({
    config,
    self: { incarnation, name },
    peers,
    clock: SYSTEM_CLOCK,
    log,
    registry,
    tell: (text) => tellParent({ type: "notice", text }),
  });
  lifecycle.own("operator", operator);
  const announced = await announcePeer(config.peers, {
    name,
    role: "operator",
    incarnation,
    pid: process.pid,
    grpc: addressOf(config.internalHost, operator.port),
    probes: addressOf(config.internalHost, probes.port),
    node: config.node,
    zone: config.zone,
  });
  lifecycle.own("announcement", announced);
  log.info({ port: operator.port }, "operator ready");
  tellParent({ type: "ready", ports: {} });
}

function addressOf(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

try {
  await start(loadConfig("operator", { argv: process.argv.slice(2), env: process.env }).config);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  tellParent({ type: "cannotStart", text: error.message });
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
  process.disconnect?.();
}
