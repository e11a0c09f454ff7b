// Owns: the operator's place on one machine: Topics and the shard map in folders, processes as their endpoint files say, and
// no other replica. Elsewhere: the files (stores/), the endpoint files (core/fleet/peers.ts).

import type { PeerDirectory, PeerEndpoint } from "#core/fleet/peers.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Config } from "#core/runtime/settings.ts";
import type { ProcessRole } from "../control-plane/processes.ts";
import type { OperatorMetrics } from "../metrics.ts";
import { FileShardMapStore } from "../stores/file-shard-map-store.ts";
import { FolderTopicStore } from "../stores/folder-topic-store.ts";
import type { Endpoints, Platform } from "./platform.ts";

export interface StandaloneOptions {
  readonly config: Pick<Config, "topics" | "state" | "httpTopicsMax">;
  readonly peers: PeerDirectory;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
  /** For the user's terminal. */
  readonly tell: (sentence: string) => void;
}

export type StandalonePlatform = Platform & { readonly topics: FolderTopicStore };

export function standalonePlatform(options: StandaloneOptions): StandalonePlatform {
  const { config, peers, clock, log, metrics, tell } = options;
  const { topics: folder, state, httpTopicsMax } = config;
  const topics = new FolderTopicStore({ topics: folder, state, httpTopicsMax, clock, log, metrics, tell });
  return {
    topics,
    shardMaps: new FileShardMapStore({ folder: state, log, tell }),
    endpoints: endpointsOf(peers),
    leadership: {
      leading: true,
      stand: () => undefined,
      resign: () => Promise.resolve(),
      onChange: () => () => undefined,
    },
    tls: undefined,
    clusterKeys: undefined,
    close: () => topics.close(),
  };
}

/** An endpoint file is there exactly as long as its process serves. */
export function endpointsOf(peers: PeerDirectory): Endpoints {
  const listed = (role: ProcessRole): readonly PeerEndpoint[] => peers.list(role);
  return {
    list: (role) => listed(role).map(({ name }) => ({ name, ready: true })),
    stateOf: ({ role, incarnation }) =>
      listed(role).some((peer) => peer.incarnation === incarnation) ? "ready" : "gone",
    operators: () => [],
    zoneOf: () => "",
    onChange: (listener) => peers.onChange(listener),
  };
}
