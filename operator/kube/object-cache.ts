// Owns: the objects that an informer knows, and telling which changed. Invariants: no state is replaced by an older one,
// whoever tells it (a list, the watch, this process's own writes); a whole list is taken when it is whole, with deletes for
// what it lacks, so that there is never an empty moment. Elsewhere: where lists and events come from (informer.ts).

import { Slices } from "#core/runtime/slices.ts";
import type { KubeObject } from "./api.ts";
import { keyOf, revisionOf, type WatchEvent } from "./watch-event.ts";

export type Unlisten = () => void;

export class ObjectCache<T extends KubeObject> {
  readonly #slim: (object: T) => T;
  readonly #objects = new Map<string, T>();
  readonly #listeners = new Set<(key: string) => void>();
  #revision = 0n;

  /** `slim`: what is kept of an object. */
  constructor(slim: (object: T) => T = (object) => object) {
    this.#slim = slim;
  }

  get objects(): ReadonlyMap<string, T> {
    return this.#objects;
  }

  get revision(): bigint {
    return this.#revision;
  }

  onChange(listener: (key: string) => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  unlistenAll(): void {
    this.#listeners.clear();
  }

  /** What this process has written, as it was answered. */
  put(object: T): void {
    const revision = revisionOf(object.metadata);
    const key = keyOf(object);
    // Up to #revision everything is known: what is not there was deleted since.
    if (revision > this.#revision && this.#isNews(key, revision)) this.#set(key, this.#slim(object));
  }

  /** What a watch tells, after the whole list. */
  apply(event: WatchEvent<T>): void {
    if (event.revision > this.#revision) this.#revision = event.revision;
    if (event.type === "bookmark") return;
    const key = keyOf(event.object);
    if (!this.#isNews(key, event.revision)) return;
    if (event.type === "upsert") this.#set(key, this.#slim(event.object));
    else this.#delete(key);
  }

  /** Into a list that is not whole yet. An object that is known in this very state stays the one that it is. */
  collect(fresh: Map<string, T>, object: T): void {
    const key = keyOf(object);
    const known = this.#objects.get(key);
    const { uid, resourceVersion } = object.metadata;
    const isKnown = known?.metadata.uid === uid && known?.metadata.resourceVersion === resourceVersion;
    fresh.set(key, isKnown && known !== undefined ? known : this.#slim(object));
  }

  /** Takes a whole list: what differs is told, and what it lacks goes. */
  async replace(fresh: ReadonlyMap<string, T>, revision: bigint): Promise<void> {
    // A cluster that was put back from a backup counts from an older revision again: then nothing known is newer.
    const wentBack = revision < this.#revision;
    const slices = new Slices();
    for (const [key, object] of fresh) {
      if (wentBack || this.#isNews(key, revisionOf(object.metadata))) this.#set(key, object);
      if (slices.isOver) await slices.breathe();
    }
    for (const [key, { metadata }] of this.#objects) {
      if (!fresh.has(key) && (wentBack || revisionOf(metadata) <= revision)) this.#delete(key);
      if (slices.isOver) await slices.breathe();
    }
    this.#revision = revision;
  }

  #isNews(key: string, revision: bigint): boolean {
    const known = this.#objects.get(key);
    return known === undefined || revisionOf(known.metadata) < revision;
  }

  #set(key: string, object: T): void {
    this.#objects.set(key, object);
    this.#tell(key);
  }

  #delete(key: string): void {
    if (this.#objects.delete(key)) this.#tell(key);
  }

  #tell(key: string): void {
    for (const listener of this.#listeners) listener(key);
  }
}
