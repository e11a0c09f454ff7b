// Owns: reading member lists of the store for presence frames and `/subscribers`, within a deadline. Reads of one topic's
// first page are shared: at most one is under way, and whoever comes meanwhile shares the next one, so that a crowd that
// subscribes at once costs two reads, not one each. When the store does not answer, the last page known is given as stale.
// The pages kept have a cap, and an age; the one read longest ago is forgotten. Elsewhere: who waits for a list that is
// whole again (fresh-lists.ts).

import { PRESENCE_PAGE_MAX } from "#core/domain/limits.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { Counter, type Registry, readGauge } from "#core/runtime/metrics.ts";
import { FreshLists } from "./fresh-lists.ts";
import { bytesOf } from "./page.ts";
import type { PresencePage, PresenceSnapshot, PresenceStore, SnapshotQuery } from "./presence.ts";

/** Milliseconds a snapshot may take: a subscriber waits for it. */
const SNAPSHOT_MS = 200;

/** Bytes of all pages that are kept for when the store is gone, about: 100,000 members, or 8,000 with the longest info. */
export const KEPT_BYTES_MAX = 32 * 1024 * 1024;

/** Milliseconds since it was read after which a page goes when another is kept: channels come and go all day. */
export const KEPT_MS = 10 * 60_000;

/** Bytes of a page without its members, about: of topics that nobody is in there may be many. */
const EMPTY_PAGE_BYTES = 512;

interface SnapshotsOptions {
  readonly store: PresenceStore;
  readonly clock: Clock;
  readonly registry: Registry;
  /** Sends what waits to be sent, now. */
  readonly flush: () => void;
  /** The last change that this gateway told; never: the store does not answer now. */
  readonly settles: () => number | "never";
}

interface Waiter {
  /** Change that must be applied first. */
  readonly change: number;
  readonly done: (settled: boolean) => void;
}

interface Kept {
  readonly page: PresencePage;
  /** Monotonic. */
  readonly readAtMs: number;
}

interface SharedRead {
  current: Promise<PresencePage>;
  next: Promise<PresencePage> | undefined;
}

export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #reads = new Map<string, SharedRead>();
  readonly #kept = new Map<string, Kept>();
  readonly #outcomes: Counter;
  readonly #freshLists: FreshLists;
  #keptBytes = 0;
  #wholeAtMs = 0;
  #waiters: Waiter[] = [];
  #settledChange = 0;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    const registers = [options.registry];
    this.#outcomes = new Counter({
      name: "earshot_presence_snapshots_total",
      help: "Member lists given to subscribers and callers, by outcome (fresh, stale, none).",
      labelNames: ["outcome"],
      registers,
    });
    for (const outcome of ["fresh", "stale", "none"]) this.#outcomes.inc({ outcome }, 0);
    this.#freshLists = new FreshLists(options.clock, options.registry, (query) => this.#take(query));
    const help = `Bytes of member lists that are kept for when the store is gone, about; ${KEPT_BYTES_MAX} at most.`;
    readGauge(options.registry, "earshot_presence_kept_bytes", help, () => this.#keptBytes);
  }

  async take(query: SnapshotQuery): Promise<PresenceSnapshot> {
    const snapshot = await this.#take(query);
    const { page, stale } = snapshot;
    this.#outcomes.inc({ outcome: stale ? (page === undefined ? "none" : "stale") : "fresh" });
    if (!stale || query.cursor !== undefined) return snapshot;
    return { ...snapshot, fresh: () => this.#freshLists.wait(query) };
  }

  /** A page that is not stale, as soon as there is one. */
  whole(query: SnapshotQuery): Promise<PresenceSnapshot> {
    return this.#freshLists.wait(query);
  }

  /** The store was started anew: for so long it may not have heard of everybody. */
  incompleteFor(ms: number): void {
    this.#wholeAtMs = this.#options.clock.monotonic() + ms;
  }

  /** Changes up to this one are applied. */
  settled(change: number): void {
    this.#settledChange = Math.max(this.#settledChange, change);
    const waiters = this.#waiters;
    this.#waiters = waiters.filter((waiter) => waiter.change > this.#settledChange);
    for (const waiter of waiters) if (waiter.change <= this.#settledChange) waiter.done(true);
  }

  /** The store does not answer, or has forgotten: who waits gets what is known. */
  interrupted(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.done(false);
  }

  close(): void {
    this.interrupted();
    this.#freshLists.close();
    this.#kept.clear();
    this.#keptBytes = 0;
  }

  async #take(query: SnapshotQuery): Promise<PresenceSnapshot> {
    const settles = this.#options.settles();
    const page = settles === "never" ? undefined : await this.#withinDeadline(this.#read(query, settles));
    if (page !== undefined && this.#isWhole) return { page, stale: false };
    const kept = query.cursor === undefined ? this.#lastKnown(query) : undefined;
    return { page: kept ?? page, stale: true };
  }

  get #isWhole(): boolean {
    return this.#options.clock.monotonic() >= this.#wholeAtMs;
  }

  /** The page, or undefined when it could not be had in time. Throws what the caller did wrong. */
  async #withinDeadline(read: Promise<PresencePage | undefined>): Promise<PresencePage | undefined> {
    let cancel = (): void => {};
    const deadline = new Promise<undefined>((resolve) => {
      const timer = this.#options.clock.after(SNAPSHOT_MS, () => resolve(undefined));
      cancel = () => timer.cancel();
    });
    try {
      return await Promise.race([read, deadline]);
    } catch (error) {
      if (error instanceof EarshotError && error.code === "invalid_request") throw error;
      return undefined;
    } finally {
      cancel();
    }
  }

  async #read(query: SnapshotQuery, change: number): Promise<PresencePage | undefined> {
    if (!(await this.#settledAt(change))) return undefined;
    const { topicId, limit, cursor } = query;
    if (cursor !== undefined) return this.#options.store.list(topicId, limit, cursor);
    const page = await this.#shared(topicId, limit);
    if (this.#isWhole) this.#keep(query, page);
    return page;
  }

  #settledAt(change: number): Promise<boolean> {
    if (change <= this.#settledChange) return Promise.resolve(true);
    return new Promise((done) => {
      this.#waiters.push({ change, done });
      this.#options.flush();
    });
  }

  #shared(topicId: string, limit: number): Promise<PresencePage> {
    const key = `${topicId} ${limit}`;
    const read = (): Promise<PresencePage> => this.#options.store.list(topicId, limit, undefined);
    const under = this.#reads.get(key);
    if (under !== undefined) {
      under.next ??= under.current.then(read, read);
      return under.next;
    }
    const shared: SharedRead = { current: read(), next: undefined };
    this.#reads.set(key, shared);
    const advance = (): void => {
      if (shared.next === undefined) {
        this.#reads.delete(key);
        return;
      }
      shared.current = shared.next;
      shared.next = undefined;
      shared.current.then(advance, advance);
    };
    shared.current.then(advance, advance);
    return shared.current;
  }

  #keep({ topicId, limit }: SnapshotQuery, page: PresencePage): void {
    // A page that somebody wanted short says less than the one that is kept for frames.
    if (limit < PRESENCE_PAGE_MAX && page.nextCursor !== undefined) return;
    const before = this.#kept.get(topicId)?.page;
    if (before !== undefined && before.version > page.version) return;
    // Everybody who shared the read comes by.
    if (before === page) return;
    this.#keptBytes += bytesOfPage(page) - (before === undefined ? 0 : bytesOfPage(before));
    this.#kept.delete(topicId);
    const nowMs = this.#options.clock.monotonic();
    this.#kept.set(topicId, { page, readAtMs: nowMs });
    for (const [oldest, forgotten] of this.#kept) {
      if (this.#keptBytes <= KEPT_BYTES_MAX && nowMs - forgotten.readAtMs < KEPT_MS) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= bytesOfPage(forgotten.page);
    }
  }

  /** What was last read, cut to `limit` users; it has no next page, since the store is not there to give one. */
  #lastKnown({ topicId, limit }: SnapshotQuery): PresencePage | undefined {
    const page = this.#kept.get(topicId)?.page;
    if (page === undefined) return undefined;
    const users = new Set<string>();
    const members = page.members.filter(({ userId }) =>
      users.size < limit || users.has(userId) ? users.add(userId) : false,
    );
    return { ...page, members, nextCursor: undefined };
  }
}

function bytesOfPage({ members }: PresencePage): number {
  let bytes = EMPTY_PAGE_BYTES;
  for (const entry of members) bytes += bytesOf(entry);
  return bytes;
}
