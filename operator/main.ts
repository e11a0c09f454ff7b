// Owns: the operator process: settings, probes, the place it runs in, its announcement to the others, its end. What it does
// is operator.ts. The Kubernetes client is loaded only where it is used: it takes half a second.

import { announcePeer, watchPeers } from "#core/fleet/peers.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { tellParent } from "#core/runtime/parent.ts";
import { Probes } from "#core/runtime/probes.ts";
import { hostPort, type ProcessParts, runProcess } from "#core/runtime/process.ts";
import type { Processes } from "./control-plane/processes.ts";
import { OperatorMetrics } from "./metrics.ts";
import { type Operator, startOperator } from "./operator.ts";
import type { Platform } from "./platform/platform.ts";
import { standalonePlatform } from "./platform/standalone.ts";

const clock = SYSTEM_CLOCK;

async function start(parts: ProcessParts): Promise<void> {
  const { config, self, log, lifecycle, registry } = parts;
  let operator: Operator | undefined;
  const readiness = (): readonly string[] => {
    if (lifecycle.stopping) return ["stopping"];
    return operator?.readiness() ?? ["the first list of Topics is being read"];
  };
  const { internalHost, probesPort } = config;
  const probes = lifecycle.own("probes", await Probes.listen(internalHost, probesPort, registry, readiness));
  const metrics = new OperatorMetrics(registry);
  const tell = (text: string): void => tellParent({ type: "notice", text });
  const openPlatform = (processes: Processes): Promise<Platform> =>
    config.store === "Kubernetes" ? openKubernetes(parts, processes) : openStandalone(parts, { metrics, tell });
  operator = await startOperator({ config, self, clock, log, registry, metrics, tell, openPlatform });
  lifecycle.own("operator", operator);
  if (config.store === "Folder") {
    const announced = await announcePeer(config.peers, {
      ...self,
      role: "operator",
      pid: process.pid,
      grpc: hostPort(internalHost, operator.port),
      probes: hostPort(internalHost, probes.port),
    });
    lifecycle.own("announcement", announced);
  }
  log.info({ port: operator.port }, "operator ready");
  tellParent({ type: "ready", ports: {} });
}

async function openStandalone(
  { config, log, lifecycle }: ProcessParts,
  rest: { metrics: OperatorMetrics; tell: (text: string) => void },
): Promise<Platform> {
  const peers = lifecycle.own("peers", watchPeers(config.peers, log));
  return standalonePlatform({ config, peers, clock, log, ...rest });
}

async function openKubernetes({ config, self, log, registry }: ProcessParts, processes: Processes): Promise<Platform> {
  const { kubernetesPlatform } = await import("./platform/kubernetes.ts");
  return kubernetesPlatform({ config, self, processes, clock, log, registry });
}

await runProcess("operator", start);
