// Owns: what the operator asks of the place it runs in: where Topics and the shard map are kept, which processes the place
// says are there, and whether this replica is the one that writes. Two implementations: standalone.ts (folders of one
// machine) and kubernetes.ts. Nothing else in the operator knows which of them it is.

import type { Router } from "#core/domain/shard-map.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { TlsSource } from "#core/runtime/tls.ts";
import type { ProcessRole } from "../control-plane/processes.ts";
import type { ShardMapStore } from "../stores/shard-map-store.ts";
import type { TopicStore } from "../stores/topic-store.ts";

/** A process as the place names it: slot or pod. */
export interface Endpoint {
  readonly name: string;
  /** It serves. */
  readonly ready: boolean;
}

/** What the place knows of processes, whether or not they have a stream to this operator. */
export interface Endpoints {
  /** Processes of a role that are there: starting, serving, or stopping. */
  list(role: ProcessRole): readonly Endpoint[];
  /**
   * Whether this very process start serves. `gone` is knowledge: there is no such process any more, or another start of
   * the same place has followed it.
   */
  stateOf(process: EndpointOwner): "ready" | "notReady" | "gone";
  /** Where operators are dialled, `host:port`, this one among them; empty where processes find them by themselves. */
  operators(): readonly string[];
  /** Zone of a process, where the place knows and the process does not; "": unknown. */
  zoneOf(name: string): string;
  onChange(listener: () => void): Unlisten;
}

/** One process start. */
export type EndpointOwner = Pick<Router, "incarnation" | "name"> & { readonly role: ProcessRole };

export interface Leadership {
  readonly leading: boolean;
  /** From now on this replica may lead: it can do all that a leader does. */
  stand(): void;
  /** It leads no more, and another one may at once. */
  resign(): Promise<void>;
  /** Called after every change of `leading`. */
  onChange(listener: () => void): Unlisten;
}

/** By which tokens of the cluster's ServiceAccounts are proven. */
export interface ClusterKeys {
  /** Of the tokens. */
  readonly issuer: string;
  /** RFC 7517, JSON. */
  readonly jwks: string;
}

export interface ClusterKeysSource {
  /** Undefined until they were read once. */
  readonly current: ClusterKeys | undefined;
  onChange(listener: () => void): Unlisten;
}

export interface Platform extends Component {
  readonly topics: TopicStore;
  readonly shardMaps: ShardMapStore;
  readonly endpoints: Endpoints;
  readonly leadership: Leadership;
  /** What this operator serves with, where the place brings it; undefined: what settings say. */
  readonly tls: TlsSource | undefined;
  /** Undefined: the place has no ServiceAccounts. */
  readonly clusterKeys: ClusterKeysSource | undefined;
}
