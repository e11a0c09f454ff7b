// Owns: how the parts of an operator fit together: Topic store to catalog to Sync sessions; processes to plans to maps.
// Called by main.ts, which brings the process around it (settings, probes, announcement).

import { HOT_OFF_PART } from "#core/domain/limits.ts";
import type { PeerDirectory } from "#core/fleet/peers.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { bindService, createGrpcServer, listenGrpc } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import type { Config } from "#core/runtime/settings.ts";
import { ControlPlaneService } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { Catalog } from "./control-plane/catalog.ts";
import { MembershipList } from "./control-plane/members.ts";
import { TopicMutator } from "./control-plane/mutate-topic.ts";
import { Processes } from "./control-plane/processes.ts";
import { StatusKeeper } from "./control-plane/status-keeper.ts";
import { SyncServer } from "./control-plane/sync-server.ts";
import { OperatorMetrics, registerOperatorState } from "./metrics.ts";
import { Reconciler } from "./reconcile/reconciler.ts";
import { FileShardMapStore } from "./stores/file-shard-map-store.ts";
import { FolderTopicStore } from "./stores/folder-topic-store.ts";

export interface OperatorOptions {
  readonly config: Config;
  readonly self: { readonly incarnation: string; readonly name: string };
  readonly peers: PeerDirectory;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
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

/** Starts one; resolves when its first list of Topics is complete and it serves. Throws ConfigError. */
export async function startOperator(options: OperatorOptions): Promise<Operator> {
  const { config, self, peers, clock, log, registry, tell } = options;
  const metrics = new OperatorMetrics(registry);
  const common = { clock, log, metrics, tell };
  const { topics, state, httpTopicsMax } = config;
  const store = new FolderTopicStore({ topics, state, httpTopicsMax, ...common });
  await store.start();
  const catalog = new Catalog(store, { maxMessageBytes: config.topicMaxMessageBytes });
  await catalog.load();
  const processes = new Processes(clock);
  const membership = new MembershipList({ processes, peers, clock, self });
  const namespace = config.httpTopicsNamespace;
  const server = new SyncServer({
    catalog,
    processes,
    members: () => membership.members,
    incarnation: self.incarnation,
    httpTopicsNamespace: namespace,
    clock,
    log,
    metrics,
  });
  const refreshMembers = (): void => {
    if (membership.refresh()) server.membersChanged();
  };
  const mutator = new TopicMutator({ store, catalog, server, processes, namespace, clock, log, metrics });
  const reconciler = new Reconciler({
    store: new FileShardMapStore({ folder: state, log, tell }),
    processes,
    peers,
    ...common,
    publish: (map) => server.publish(map),
    release: (incarnation) => server.release(incarnation),
  });
  const keeper = new StatusKeeper({
    store,
    catalog,
    server,
    processes,
    hot: { on: config.hotSubscriptions, off: config.hotSubscriptions * HOT_OFF_PART },
    clock,
    log,
    metrics,
  });
  await keeper.start();
  const timers: Timer[] = [
    { cancel: processes.onChange(refreshMembers) },
    { cancel: peers.onChange(refreshMembers) },
    clock.every(MEMBERS_MS, refreshMembers),
  ];
  registerOperatorState(registry, {
    map: () => reconciler.map,
    processes,
    topics: () => catalog.entries.size,
    undecidedTopics: () => keeper.undecided,
    sizes: () => store.sizes,
    streams: (role) => server.count(role),
  });
  const grpc = createGrpcServer({ judge: secretIdentity(config.peerSecret).judge });
  bindService(grpc, ControlPlaneService, {
    sync: (call) => server.serve(call),
    mutateTopic: (request) => mutator.mutate(request),
  });
  await reconciler.start();
  const port = await listenGrpc(grpc, config.internalHost, 0);
  return {
    port,
    readiness: () => {
      const hasRouters = peers.list("router").length > 0;
      return hasRouters && !server.hasMap ? ["no shard map is published yet"] : [];
    },
    close: async () => {
      for (const timer of timers.splice(0)) timer.cancel();
      await reconciler.close();
      await keeper.close();
      await server.close();
      grpc.forceShutdown();
      await store.close();
    },
  };
}
