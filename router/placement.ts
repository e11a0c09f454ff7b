// Owns: this router's part in the shard map in force: of which shards it is primary, of which standby, of which neither.
// One byte a shard, worked out once a map, because every publish asks. Called by the sequencer, interest and publish
// services. Elsewhere: the map itself (core/fleet), what a refused sender does (core/fleet/placer.ts).

import { SHARD_COUNT } from "#core/domain/limits.ts";
import { EMPTY_SHARD_MAP, type ShardMap } from "#core/domain/shard-map.ts";
import { shardOf } from "#core/domain/shard.ts";

export type Part = "primary" | "standby" | "none";

const PARTS: readonly Part[] = ["none", "primary", "standby"];

export class Placement {
  readonly #incarnation: string;
  readonly #parts = new Uint8Array(SHARD_COUNT);
  #map: ShardMap = EMPTY_SHARD_MAP;

  constructor(incarnation: string) {
    this.#incarnation = incarnation;
  }

  get map(): ShardMap {
    return this.#map;
  }

  apply(map: ShardMap): void {
    this.#map = map;
    for (const [shard, owners] of map.shards.entries()) {
      const place = owners.findIndex((router) => router.incarnation === this.#incarnation);
      this.#parts[shard] = place < 0 ? 0 : place === 0 ? 1 : 2;
    }
  }

  /** Shards by this router's place in their lists. */
  get shards(): Readonly<Record<"primary" | "standby", number>> {
    const counts = { none: 0, primary: 0, standby: 0 };
    for (const part of this.#parts) counts[PARTS[part] ?? "none"] += 1;
    return { primary: counts.primary, standby: counts.standby };
  }

  part(topicId: string): Part {
    return this.partOfShard(shardOf(topicId));
  }

  partOfShard(shard: number): Part {
    return PARTS[this.#parts[shard] ?? 0] ?? "none";
  }
}
