// Owns: those who were given a stale list and wait for one that is whole again. One read a topic serves all who wait for
// it, and few reads are under way at once, so that a store which has just come back is not met by everybody together.
// At the cap who comes is not waited for: later changes still reach them.

import type { Clock, Timer } from "#core/runtime/clock.ts";
import { Gauge, type Registry } from "#core/runtime/metrics.ts";
import type { PresenceSnapshot, SnapshotQuery } from "./presence.ts";

/** Topics that are waited for: more than one gateway's subscribers open in an outage. */
const WAITED_MAX = 10_000;

/** Milliseconds between looks whether the store is whole again. */
const LOOK_MS = 250;

/** Reads under way at once. */
const READS_MAX = 8;

interface Waited {
  readonly query: SnapshotQuery;
  readonly promise: Promise<PresenceSnapshot>;
  readonly resolve: (snapshot: PresenceSnapshot) => void;
}

export class FreshLists {
  readonly #clock: Clock;
  readonly #read: (query: SnapshotQuery) => Promise<PresenceSnapshot>;
  readonly #waited = new Map<string, Waited>();
  #timer: Timer | undefined;
  #closed = false;

  /** `read` may answer stale: then it is asked again. */
  constructor(clock: Clock, registry: Registry, read: (query: SnapshotQuery) => Promise<PresenceSnapshot>) {
    this.#clock = clock;
    this.#read = read;
    const size = (): number => this.#waited.size;
    registry.registerMetric(
      new Gauge({
        name: "earshot_presence_lists_owed",
        help: "Topics whose subscribers were given a stale member list and wait for a whole one.",
        registers: [],
        collect() {
          this.set(size());
        },
      }),
    );
  }

  wait(query: SnapshotQuery): Promise<PresenceSnapshot> {
    const key = `${query.topicId} ${query.limit}`;
    const known = this.#waited.get(key);
    if (known !== undefined) return known.promise;
    const { promise, resolve } = Promise.withResolvers<PresenceSnapshot>();
    if (this.#waited.size < WAITED_MAX && !this.#closed) {
      this.#waited.set(key, { query, promise, resolve });
      this.#plan();
    }
    return promise;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#waited.clear();
  }

  #putBack(key: string, waited: Waited): void {
    const newer = this.#waited.get(key);
    if (newer === undefined) this.#waited.set(key, waited);
    else void newer.promise.then(waited.resolve);
  }

  #plan(): void {
    this.#timer ??= this.#clock.after(LOOK_MS, () => void this.#look());
  }

  async #look(): Promise<void> {
    const waiting = this.#waited.entries();
    const serveAll = async (): Promise<void> => {
      for (const [key, waited] of waiting) {
        // Who comes while the list is read waits for the next one, which knows what happened until then.
        this.#waited.delete(key);
        const snapshot = await this.#read(waited.query);
        if (!snapshot.stale) {
          waited.resolve(snapshot);
          continue;
        }
        this.#putBack(key, waited);
        // Still gone: the others would only wait for their deadline too.
        return;
      }
    };
    await Promise.all(Array.from({ length: READS_MAX }, serveAll));
    this.#timer = undefined;
    if (this.#waited.size > 0 && !this.#closed) this.#plan();
  }
}
