// Owns: the in-memory presence store: who is in which topic, by which gateway, and until when. Pure but for the time that
// is passed in (monotonic milliseconds). Called by store-server.ts. Invariants: a user's first subscription and last one
// are decided here alone, within one call; of each user `joined` and `left` are told in turn, each once; versions of a
// topic only grow, also over a restart of the process.
// Elsewhere: the wire (store-server.ts), what a gateway holds and sends again (ledger.ts).

import { PRESENCE_PAGE_MAX } from "#core/domain/limits.ts";
import type { PresenceDecision, PresenceEntry, PresenceOperation, PresencePage, PresenceReaped } from "./presence.ts";
import { pageOf, parseCursor, renderCursor } from "./page.ts";
import { Departures } from "./departures.ts";

/** Subscriptions held: some 400 bytes each without their info, so 400 MB. One more is not taken, and counted. */
const STORE_ENTRIES_MAX = 1_000_000;

/** Characters of all infos, which one user may make 4 KiB long in every one of many subscriptions. As above. */
const STORE_INFO_LENGTH_MAX = 256 * 1024 * 1024;

/** Gateways with a lease: above any machine's. */
const LEASES_MAX = 1_000;

/**
 * Milliseconds from the store's start in which gateways send again what they hold: they see it come, and look for it twice
 * a second. It is told to nobody; after that time those who watch are given whole lists (tracker.ts). Who comes later
 * still is told of.
 */
export const RECOVERY_MS = 1_000;

/**
 * Milliseconds without any call of any gateway after which leases are put off by as long as it was silent: the store, or
 * all around it, stood still, and nobody could renew. More than the time between one gateway's own renewals.
 */
export const SILENCE_MS = 600;

interface User {
  readonly ordinal: number;
  readonly entries: Map<string, Held>;
}

interface Held {
  entry: PresenceEntry;
  readonly ordinal: number;
}

interface Members {
  readonly users: Map<string, User>;
  version: number;
}

interface Lease {
  readonly id: string;
  expiresAtMs: number;
  /** By `entryKey`. */
  readonly entries: Map<string, PresenceEntry>;
  batch: number;
  decisions: readonly PresenceDecision[];
}

interface MemoryStoreOptions {
  /** Monotonic milliseconds of the start. */
  readonly startedAtMs: number;
  /** Where versions begin: anything that grows with every start, like microseconds since the epoch. */
  readonly firstVersion: number;
  readonly entriesMax?: number;
  readonly infoLengthMax?: number;
}

export class MemoryStore {
  readonly #topics = new Map<string, Members>();
  readonly #leases = new Map<string, Lease>();
  readonly #departures = new Departures();
  readonly #recoveredAtMs: number;
  readonly #entriesMax: number;
  readonly #infoLengthMax: number;
  #heardAtMs: number;
  #version: number;
  #ordinal = 0;
  #leaseNumber = 0;
  #entries = 0;
  #infoLength = 0;
  #refused = 0;

  constructor(options: MemoryStoreOptions) {
    this.#recoveredAtMs = options.startedAtMs + RECOVERY_MS;
    this.#heardAtMs = options.startedAtMs;
    this.#version = options.firstVersion;
    this.#entriesMax = options.entriesMax ?? STORE_ENTRIES_MAX;
    this.#infoLengthMax = options.infoLengthMax ?? STORE_INFO_LENGTH_MAX;
  }

  get sizes() {
    return {
      topics: this.#topics.size,
      entries: this.#entries,
      leases: this.#leases.size,
      departures: this.#departures.size,
      refused: this.#refused,
    };
  }

  /** Takes or renews a lease; 0 ends it. The id is another one when it had run out. Undefined: too many gateways. */
  renewLease(gateway: string, ttlMs: number, nowMs: number): string | undefined {
    this.#sweep(nowMs);
    const held = this.#leases.get(gateway);
    if (held !== undefined) {
      held.expiresAtMs = nowMs + ttlMs;
      if (ttlMs === 0) this.#sweep(nowMs);
      return held.id;
    }
    if (this.#leases.size >= LEASES_MAX) return undefined;
    this.#leaseNumber += 1;
    const id = String(this.#leaseNumber);
    if (ttlMs > 0) {
      this.#leases.set(gateway, { id, expiresAtMs: nowMs + ttlMs, entries: new Map(), batch: 0, decisions: [] });
    }
    return id;
  }

  /** Applies a batch; undefined when the lease is not in force, and nothing was applied. */
  apply(
    gateway: string,
    leaseId: string,
    batch: number,
    operations: readonly PresenceOperation[],
    nowMs: number,
  ): readonly PresenceDecision[] | undefined {
    this.#sweep(nowMs);
    const lease = this.#leases.get(gateway);
    if (lease === undefined || lease.id !== leaseId || batch < lease.batch) return undefined;
    if (batch === lease.batch) return this.#again(operations, lease.decisions);
    const decisions: PresenceDecision[] = [];
    for (const operation of operations) {
      const { entry } = operation;
      const changed =
        operation.kind === "join"
          ? this.#join(gateway, lease, entry) && !(operation.resent === true && nowMs < this.#recoveredAtMs)
          : this.#leave(gateway, lease, entry);
      const members = this.#topics.get(entry.topicId);
      decisions.push({ changed, count: members?.users.size ?? 0, version: members?.version ?? this.#version });
    }
    lease.batch = batch;
    lease.decisions = decisions;
    return decisions;
  }

  /** What is left of the decisions of a batch whose answer was lost: others may have been told of newer ones since. */
  #again(
    operations: readonly PresenceOperation[],
    decisions: readonly PresenceDecision[],
  ): readonly PresenceDecision[] {
    return decisions.map(({ changed, version }, index) => {
      const operation = operations[index];
      const users = this.#topics.get(operation?.entry.topicId ?? "")?.users;
      const isPresent = users?.has(operation?.entry.userId ?? "") === true;
      return { changed: changed && isPresent === (operation?.kind === "join"), count: users?.size ?? 0, version };
    });
  }

  /** One page, by users in the order they came. Throws invalid_request for a cursor that is none. */
  list(topicId: string, limit: number, cursor: string | undefined, nowMs: number): PresencePage {
    this.#sweep(nowMs);
    const members = this.#topics.get(topicId);
    this.#departures.show(topicId);
    const from = cursor === undefined ? undefined : parseCursor(cursor);
    if (members === undefined) return { members: [], count: 0, version: this.#version, nextCursor: undefined };
    const { page, next } = pageOf(members.users, Math.min(limit, PRESENCE_PAGE_MAX), from);
    const nextCursor = next === undefined ? undefined : renderCursor(next);
    return { members: page, count: members.users.size, version: members.version, nextCursor };
  }

  /** Users who are gone with their gateways, and are not back. */
  reap(nowMs: number): readonly PresenceReaped[] {
    this.#sweep(nowMs);
    return this.#departures.takeAll().map(({ topicId, userId }) => {
      const members = this.#topics.get(topicId);
      const version = this.#nextVersion();
      if (members !== undefined) members.version = version;
      return { topicId, userId, count: members?.users.size ?? 0, version };
    });
  }

  #join(gateway: string, lease: Lease, entry: PresenceEntry): boolean {
    const key = entryKey(entry);
    if (lease.entries.has(key)) return this.#replace(gateway, lease, entry);
    if (this.#entries >= this.#entriesMax || this.#infoLength + infoLengthOf(entry) > this.#infoLengthMax) {
      this.#refused += 1;
      return false;
    }
    this.#entries += 1;
    this.#infoLength += infoLengthOf(entry);
    lease.entries.set(key, entry);
    const members = this.#membersOf(entry.topicId);
    const known = members.users.get(entry.userId);
    const user: User = known ?? { ordinal: this.#nextOrdinal(), entries: new Map() };
    user.entries.set(`${gateway} ${key}`, { entry, ordinal: this.#nextOrdinal() });
    if (known !== undefined) return false;
    members.users.set(entry.userId, user);
    members.version = this.#nextVersion();
    return !this.#departures.cancel(entry.topicId, entry.userId);
  }

  /** A subscription that is known keeps its place; its user's info may be another. */
  #replace(gateway: string, lease: Lease, entry: PresenceEntry): false {
    const key = entryKey(entry);
    this.#infoLength += infoLengthOf(entry) - infoLengthOf(lease.entries.get(key));
    lease.entries.set(key, entry);
    const user = this.#topics.get(entry.topicId)?.users.get(entry.userId);
    const held = user?.entries.get(`${gateway} ${key}`);
    if (held !== undefined) held.entry = entry;
    return false;
  }

  #leave(gateway: string, lease: Lease, entry: PresenceEntry): boolean {
    const held = lease.entries.get(entryKey(entry));
    return held !== undefined && this.#remove(gateway, lease, held);
  }

  /** Removes one subscription, and the user when it was the last: then true. */
  #remove(gateway: string, lease: Lease, entry: PresenceEntry): boolean {
    const key = entryKey(entry);
    lease.entries.delete(key);
    this.#entries -= 1;
    this.#infoLength -= infoLengthOf(entry);
    const members = this.#topics.get(entry.topicId);
    const user = members?.users.get(entry.userId);
    if (members === undefined || user === undefined) return false;
    user.entries.delete(`${gateway} ${key}`);
    if (user.entries.size > 0) return false;
    members.users.delete(entry.userId);
    members.version = this.#nextVersion();
    if (members.users.size === 0) this.#topics.delete(entry.topicId);
    return true;
  }

  #sweep(nowMs: number): void {
    const silenceMs = nowMs - this.#heardAtMs;
    this.#heardAtMs = nowMs;
    if (silenceMs > SILENCE_MS) for (const lease of this.#leases.values()) lease.expiresAtMs += silenceMs;
    for (const [gateway, lease] of this.#leases) {
      if (lease.expiresAtMs > nowMs) continue;
      this.#leases.delete(gateway);
      for (const entry of lease.entries.values()) {
        if (this.#remove(gateway, lease, entry)) this.#departures.add(entry.topicId, entry.userId);
      }
    }
  }

  #membersOf(topicId: string): Members {
    const known = this.#topics.get(topicId);
    if (known !== undefined) return known;
    const members: Members = { users: new Map(), version: this.#version };
    this.#topics.set(topicId, members);
    return members;
  }

  #nextOrdinal(): number {
    this.#ordinal += 1;
    return this.#ordinal;
  }

  #nextVersion(): number {
    this.#version += 1;
    return this.#version;
  }
}

/** A connection may become another user's, while its subscriptions live on. */
function entryKey(entry: PresenceEntry): string {
  return `${entry.topicId} ${entry.connectionId} ${entry.subscriptionId} ${entry.userId}`;
}

function infoLengthOf(entry: PresenceEntry | undefined): number {
  return entry?.info?.length ?? 0;
}
