// Owns: shard maps made by hand, and the part of a Fleet that the placer reads.

import { SHARD_COUNT } from "#core/domain/limits.ts";
import { EMPTY_SHARD_MAP, type Router, type ShardMap } from "#core/domain/shard-map.ts";

export function routerAt(incarnation: string, address = "127.0.0.1:1"): Router {
  return { incarnation, name: `router-${incarnation}`, address, node: "", zone: "" };
}

/** A map in which every shard has the same list. */
export function mapOf(epoch: number, owners: readonly Router[], others: readonly Router[] = []): ShardMap {
  return { epoch, routers: [...owners, ...others], shards: Array.from({ length: SHARD_COUNT }, () => owners) };
}

export class HandMap {
  map: ShardMap = EMPTY_SHARD_MAP;
  readonly #listeners = new Set<(map: ShardMap, before: ShardMap) => void>();

  onMap(listener: (map: ShardMap, before: ShardMap) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Puts a map in force in which every shard has the list `owners`. */
  set(owners: readonly Router[], others: readonly Router[] = []): void {
    const before = this.map;
    this.map = mapOf(before.epoch + 1, owners, others);
    for (const listener of this.#listeners) listener(this.map, before);
  }
}
