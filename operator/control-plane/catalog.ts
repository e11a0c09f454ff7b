// Owns: the Topics as the fleet shall have them: what the store says, with the installation's ceilings applied. Every
// change has a version, so that a session can tell what its process has. Read by sessions; written by the store's news.

import type { Topic } from "#core/domain/topic.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import { Slices } from "#core/runtime/slices.ts";
import { type Ceilings, lower } from "../reconcile/ceilings.ts";
import type { StoredTopic, TopicStore } from "../stores/topic-store.ts";

/** A change of the Topics, by the counts of this operator and of the store. */
export interface TopicChange {
  /** Of the catalog. */
  readonly version: number;
  /** Of the store; 0: it has none, and so no other replica has. */
  readonly revision: bigint;
}

export interface CatalogEntry {
  readonly topic: Topic;
  readonly stored: StoredTopic;
  /** What the installation lowered, in a sentence; undefined: nothing. */
  readonly clamped: string | undefined;
  /** That brought this. */
  readonly change: TopicChange;
}

/** `isNews`: the fleet must be told; else only what is known of the Topic changed (a newer manifest is wrong). */
type CatalogListener = (key: string, isNews: boolean) => void;

export class Catalog {
  readonly #store: TopicStore;
  readonly #ceilings: Ceilings;
  readonly #entries = new Map<string, CatalogEntry>();
  readonly #listeners = new Set<CatalogListener>();
  #version = 0;

  constructor(store: TopicStore, ceilings: Ceilings) {
    this.#store = store;
    this.#ceilings = ceilings;
    store.onChange((key) => this.#take(key));
  }

  /** Takes the Topics that are there already, in slices. */
  async load(): Promise<void> {
    const slices = new Slices();
    for (const key of this.#store.topics.keys()) {
      this.#take(key);
      if (slices.isOver) await slices.breathe();
    }
  }

  get entries(): ReadonlyMap<string, CatalogEntry> {
    return this.#entries;
  }

  /** Of the newest change. */
  get version(): number {
    return this.#version;
  }

  /** Of the store, up to which the entries are complete; 0: it has none. */
  get revision(): bigint {
    return this.#store.revision;
  }

  /** Called for every entry that came, changed or went. */
  onChange(listener: CatalogListener): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #take(key: string): void {
    const stored = this.#store.topics.get(key);
    const before = this.#entries.get(key);
    const isNews = stored === undefined ? this.#entries.delete(key) : !isSame(before?.stored, stored);
    if (isNews) this.#version += 1;
    if (stored !== undefined) {
      this.#entries.set(key, this.#makeEntry(stored, isNews ? this.#version : (before?.change.version ?? 0)));
    }
    for (const listener of this.#listeners) listener(key, isNews);
  }

  #makeEntry(stored: StoredTopic, version: number): CatalogEntry {
    const { key, namespace, name, createdAtMs, httpManaged } = stored;
    const { policy, clamped } = lower(stored.policy, this.#ceilings);
    return {
      stored,
      change: { version, revision: stored.revision },
      clamped,
      topic: {
        key,
        namespace,
        name,
        createdAtMs,
        httpManaged,
        policy,
      },
    };
  }
}

function isSame(before: StoredTopic | undefined, after: StoredTopic): boolean {
  return (
    before !== undefined &&
    before.generation === after.generation &&
    before.createdAtMs === after.createdAtMs &&
    before.httpManaged === after.httpManaged
  );
}
