// Owns: the shard map of standalone mode: `<state>/shard-map.json`, written whole or not at all. Its content is that of a
// ShardMap custom resource. A file that cannot be read is moved aside, loudly: the next map starts above every epoch that
// any process reports, so nothing is wedged.

import { readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { ShardMap } from "#core/domain/shard-map.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import { isMissing, writeAtomically } from "./atomic-file.ts";
import { formatShardMap, parseShardMap } from "./shard-map-object.ts";
import { ShardMapConflict, type ShardMapStore } from "./shard-map-store.ts";

/** One machine has one installation. */
const OBJECT_NAME = "earshot";

export interface FileShardMapStoreOptions {
  /** The state folder. */
  readonly folder: string;
  readonly log: Log;
  /** Told when a file had to be moved aside: one sentence. */
  readonly tell: (sentence: string) => void;
}

export class FileShardMapStore implements ShardMapStore {
  readonly #path: string;
  readonly #options: FileShardMapStoreOptions;

  constructor(options: FileShardMapStoreOptions) {
    this.#path = join(options.folder, "shard-map.json");
    this.#options = options;
  }

  async read(): Promise<ShardMap | undefined> {
    let text: string;
    try {
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    try {
      return parseShardMap(JSON.parse(text));
    } catch (error) {
      return this.#setAside(messageOf(error));
    }
  }

  async replace(expected: number | undefined, next: ShardMap): Promise<void> {
    const stored = await this.read();
    if (stored?.epoch !== expected) {
      throw new ShardMapConflict(`epoch ${stored?.epoch ?? "none"} is stored, not ${expected ?? "none"}`);
    }
    try {
      await writeAtomically(this.#path, `${JSON.stringify(formatShardMap(next, OBJECT_NAME))}\n`);
    } catch (error) {
      throw new Error(`${this.#path} cannot be written: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Nobody but this operator writes the file. */
  onChange(): Unlisten {
    return () => undefined;
  }

  onMap(): Unlisten {
    return () => undefined;
  }

  async #setAside(cause: string): Promise<undefined> {
    const aside = `${this.#path}.corrupt-${Date.now()}`;
    await rename(this.#path, aside);
    this.#options.log.error({ path: this.#path, aside, cause }, "shard map unreadable, made anew");
    this.#options.tell(`${this.#path} cannot be read (${cause}); it is kept as ${aside}, and a new map is made`);
    return undefined;
  }
}
