// Owns: what the operator asks of wherever the shard map is kept: one file (file-shard-map-store.ts), or a ShardMap
// custom resource. A map is stored first and published only then, so that no two operators can publish different maps of
// one epoch.

import type { ShardMap } from "#core/domain/shard-map.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";

/** Another writer was faster: read again and decide anew. */
export class ShardMapConflict extends Error {
  override readonly name = "ShardMapConflict";
}

export interface ShardMapStore {
  /**
   * The stored map; undefined where there is none, or none that means anything (which the store tells by itself).
   * Rejects when it cannot be told what is stored.
   */
  read(): Promise<ShardMap | undefined>;
  /**
   * Stores `next` in the place of the map of epoch `expected` (undefined: of none). Rejects with ShardMapConflict when
   * that is not what is stored, with any other error when it could not be stored (and then it is not).
   */
  replace(expected: number | undefined, next: ShardMap): Promise<void>;
  /** Called with the epoch that is stored now (undefined: none) after it may have changed, where the store can tell. */
  onChange(listener: (epoch: number | undefined) => void): Unlisten;
  /** Called with every map that comes to be stored, by whomever, where the store can tell. */
  onMap(listener: (map: ShardMap) => void): Unlisten;
}
