// Owns: the shard map in the Kubernetes API: one ShardMap object named after the installation, written by compare-and-swap
// on its resourceVersion. The leader writes; every replica watches it and so hears of each map that comes to be stored.
// An object that says nothing a map could (somebody edited it) counts as none, loudly: the next map is written over it.

import type { ShardMap } from "#core/domain/shard-map.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import { type KubeApi, KubeError, type KubeObject, type OwnerReference } from "../kube/api.ts";
import type { Informer } from "../kube/informer.ts";
import { formatShardMap, parseShardMap } from "./shard-map-object.ts";
import { ShardMapConflict, type ShardMapStore } from "./shard-map-store.ts";

export interface KubeShardMapStoreOptions {
  readonly api: KubeApi;
  /** Of this one object; this store starts and closes it. */
  readonly informer: Informer<KubeObject>;
  readonly namespace: string;
  readonly name: string;
  readonly owners: readonly OwnerReference[];
  readonly log: Log;
}

/** Milliseconds for a read or a write: a leader that waits longer cannot tell whether it still leads. */
const CALL_MS = 5_000;

export class KubeShardMapStore implements ShardMapStore, Component {
  readonly #options: KubeShardMapStoreOptions;
  readonly #path: string;
  /** Of the object as this replica read or wrote it last; undefined: there was none. */
  #resourceVersion: string | undefined;

  constructor(options: KubeShardMapStoreOptions) {
    this.#options = options;
    this.#path = shardMapsPath(options.namespace);
  }

  async read(): Promise<ShardMap | undefined> {
    const { api, name } = this.#options;
    try {
      const object = await api.call<KubeObject>("GET", `${this.#path}/${name}`, { timeoutMs: CALL_MS });
      this.#resourceVersion = object.metadata.resourceVersion;
      return this.#parse(object);
    } catch (error) {
      if (!isStatus(error, NOT_FOUND)) throw error;
      this.#resourceVersion = undefined;
      return undefined;
    }
  }

  async replace(expected: number | undefined, next: ShardMap): Promise<void> {
    const { api, name, namespace, owners } = this.#options;
    const isNew = this.#resourceVersion === undefined;
    const object = formatShardMap(next, name);
    const body = {
      ...object,
      metadata: { name, namespace, ownerReferences: owners, resourceVersion: this.#resourceVersion },
    };
    try {
      const stored = await api.call<KubeObject>(isNew ? "POST" : "PUT", isNew ? this.#path : `${this.#path}/${name}`, {
        body,
        timeoutMs: CALL_MS,
      });
      this.#resourceVersion = stored.metadata.resourceVersion;
      this.#options.informer.put(stored);
    } catch (error) {
      if (!isStatus(error, CONFLICT) && !isStatus(error, NOT_FOUND)) throw error;
      throw new ShardMapConflict(`epoch ${expected ?? "none"} is not what is stored: ${messageOf(error)}`);
    }
  }

  onChange(listener: (epoch: number | undefined) => void): Unlisten {
    return this.#options.informer.onChange(() => listener(this.#observed()?.epoch));
  }

  onMap(listener: (map: ShardMap) => void): Unlisten {
    const tell = (): void => {
      const map = this.#observed();
      if (map !== undefined) listener(map);
    };
    tell();
    return this.#options.informer.onChange(tell);
  }

  start(): Promise<void> {
    return this.#options.informer.start();
  }

  close(): Promise<void> {
    return this.#options.informer.close();
  }

  #observed(): ShardMap | undefined {
    const { informer, namespace, name } = this.#options;
    const object = informer.objects.get(`${namespace}/${name}`);
    return object === undefined ? undefined : this.#parse(object);
  }

  #parse(object: KubeObject): ShardMap | undefined {
    try {
      return parseShardMap(object);
    } catch (error) {
      const { name } = this.#options;
      this.#options.log.error({ shardMap: name, cause: messageOf(error) }, "shard map object unreadable, made anew");
      return undefined;
    }
  }
}

export function shardMapsPath(namespace: string): string {
  return `/apis/earshot.dev/v1alpha1/namespaces/${namespace}/shardmaps`;
}

const NOT_FOUND = 404;
const CONFLICT = 409;

function isStatus(error: unknown, status: number): boolean {
  return error instanceof KubeError && error.status === status;
}
