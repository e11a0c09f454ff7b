// Owns: how the parts of an operator fit together: Topic store to catalog to Sync sessions; processes to plans to maps.
// Called by main.ts, which brings the process around it (settings, probes, announcement).

import { HOT_OFF_PART } from "#core/domain/limits.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { bindService, createGrpcServer, listenGrpc } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import type { Config } from "#core/runtime/settings.ts";
import { ControlPlaneService } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { Catalog } from "./control-plane/catalog.ts";
import { MembershipList } from "./control-plane/members.ts";
import { TopicMutator } from "./control-plane/mutate-topic.ts";
import { Processes } from "./control-plane/processes.ts";
import { Progress } from "./control-plane/progress.ts";
import { SyncServer } from "./control-plane/sync-server.ts";
import { type OperatorMetrics, registerOperatorState } from "./metrics.ts";
import type { Platform } from "./platform/platform.ts";
import type { Ceilings } from "./reconcile/ceilings.ts";
import { Terms } from "./term.ts";
import { Trust } from "./trust.ts";

export interface OperatorOptions {
  readonly config: Config;
  readonly self: { readonly incarnation: string; readonly name: string };
  /** Makes the place that this operator runs in, which is given what it needs of the operator. */
  readonly openPlatform: (processes: Processes) => Promise<Platform>;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  readonly metrics: OperatorMetrics;
  /** For the user's terminal. */
  readonly tell: (sentence: string) => void;
}

export interface Operator extends Component {
  /** Of its control plane. */
  readonly port: number;
  /** Why it is not ready; empty when it is. */
  readiness(): readonly string[];
}

/** Milliseconds between looks at who lives, when no stream tells. */
const MEMBERS_MS = 500;

function ceilingsOf(config: Config): Ceilings {
  return {
    maxMessageBytes: config.topicMaxMessageBytes,
    maxPublishesPerSecond: config.topicMaxPublishesPerSecond,
    maxSubscribers: config.topicMaxSubscribers,
    maxChannels: config.topicMaxChannels,
  };
}

/** Starts one; resolves when its first list of Topics is complete and it serves. Throws ConfigError. */
export async function startOperator(options: OperatorOptions): Promise<Operator> {
  const { config, self, clock, log, registry, metrics, tell } = options;
  const common = { clock, log, metrics };
  const processes = new Processes(clock);
  const platform = await options.openPlatform(processes);
  const { topics, shardMaps, endpoints, leadership } = platform;
  await topics.start();
  const catalog = new Catalog(topics, ceilingsOf(config));
  await catalog.load();
  const trust = new Trust({ config, platform, clock, log, registry });
  const membership = new MembershipList({ processes, endpoints, clock, self });
  const namespace = config.httpTopicsNamespace;
  const server = new SyncServer({
    catalog,
    processes,
    members: () => membership.members,
    serviceAccountKeys: () => trust.keys,
    incarnation: self.incarnation,
    httpTopicsNamespace: namespace,
    ...common,
  });
  const refreshMembers = (): void => {
    if (membership.refresh()) server.membersChanged();
  };
  const progress = new Progress(server, processes);
  const mutator = new TopicMutator({ store: topics, catalog, server, progress, leadership, namespace, ...common });
  const terms = new Terms(leadership, {
    reconciler: {
      store: shardMaps,
      processes,
      endpoints,
      tell,
      publish: (map) => server.publish(map),
      release: (incarnation) => server.release(incarnation),
      ...common,
    },
    keeper: {
      store: topics,
      catalog,
      server,
      progress,
      processes,
      keepsMembers: config.presenceStore !== "None",
      hot: { on: config.hotSubscriptions, off: config.hotSubscriptions * HOT_OFF_PART },
      ...common,
    },
  });
  const timers: Timer[] = [
    { cancel: processes.onChange(refreshMembers) },
    { cancel: endpoints.onChange(refreshMembers) },
    { cancel: shardMaps.onMap((map) => server.publish(map)) },
    clock.every(MEMBERS_MS, refreshMembers),
  ];
  registerOperatorState(registry, {
    map: () => server.map,
    processes,
    topics: () => catalog.entries.size,
    undecidedTopics: () => terms.undecided,
    notReadyTopics: () => terms.notReady,
    sizes: () => topics.sizes,
    streams: (role) => server.count(role),
  });
  const grpc = createGrpcServer({ judge: trust.identity.judge });
  bindService(grpc, ControlPlaneService, {
    sync: (call) => server.serve(call),
    mutateTopic: (request) => mutator.mutate(request),
  });
  trust.onKeys(() => server.serviceAccountKeysChanged());
  await terms.start();
  leadership.stand();
  const port = await listenGrpc(grpc, config.internalHost, config.internalPort, trust.identity.tls);
  return {
    port,
    readiness: () => {
      const hasRouters = endpoints.list("router").length > 0;
      return hasRouters && server.map === undefined ? ["no shard map is published yet"] : [];
    },
    // First of all another one may lead; streams are served until the end.
    drain: async () => {
      await terms.close();
      await leadership.resign();
    },
    close: async () => {
      for (const timer of timers.splice(0)) timer.cancel();
      await terms.close();
      await server.close();
      grpc.forceShutdown();
      await trust.close();
      await platform.close();
    },
  };
}
