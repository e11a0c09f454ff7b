// Owns: the operator process: settings, probes, its announcement to the others, its end. What it does is operator.ts.

import { announcePeer, watchPeers } from "#core/fleet/peers.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { tellParent } from "#core/runtime/parent.ts";
import { Probes } from "#core/runtime/probes.ts";
import { hostPort, type ProcessParts, runProcess } from "#core/runtime/process.ts";
import { OperatorMetrics } from "./metrics.ts";
import { type Operator, startOperator } from "./operator.ts";
import { standalonePlatform } from "./platform/standalone.ts";

async function start({ config, self, log, lifecycle, registry }: ProcessParts): Promise<void> {
  let operator: Operator | undefined;
  const readiness = (): readonly string[] => {
    if (lifecycle.stopping) return ["stopping"];
    return operator?.readiness() ?? ["the first list of Topics is being read"];
  };
  const probes = lifecycle.own(
    "probes",
    await Probes.listen(config.internalHost, config.probesPort, registry, readiness),
  );
  const peers = lifecycle.own("peers", watchPeers(config.peers, log));
  const metrics = new OperatorMetrics(registry);
  const tell = (text: string): void => tellParent({ type: "notice", text });
  const common = { config, clock: SYSTEM_CLOCK, log, metrics, tell };
  operator = await startOperator({
    ...common,
    self,
    registry,
    openPlatform: () => Promise.resolve(standalonePlatform({ ...common, peers })),
  });
  lifecycle.own("operator", operator);
  const announced = await announcePeer(config.peers, {
    ...self,
    role: "operator",
    pid: process.pid,
    grpc: hostPort(config.internalHost, operator.port),
    probes: hostPort(config.internalHost, probes.port),
  });
  lifecycle.own("announcement", announced);
  log.info({ port: operator.port }, "operator ready");
  tellParent({ type: "ready", ports: {} });
}

await runProcess("operator", start);
