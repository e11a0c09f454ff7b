// Owns: what this gateway holds of presence, and what the store knows of it: one slot a subscription, and the order in
// which differences are sent. Pure. Called by tracker.ts. Invariants: a subscription is in one slot at most; a join
// whose leave came before it was sent is forgotten, never sent; so the ledger never holds more than the subscriptions
// of this gateway and those that ended since the store last answered.

import type { PresenceEmptied, PresenceEntry, PresenceOperation } from "./presence.ts";

/**
 * What the store knows of a subscription: nothing; this entry; or it knew it, before it came back empty, and others were
 * told (`lost`).
 */
type Stored = "absent" | "lost" | PresenceEntry;

interface Slot {
  /** As it is now: a user's info may change while a subscription lives. */
  entry: PresenceEntry;
  wanted: boolean;
  stored: Stored;
  /** What the batch under way tells of it. */
  sending: PresenceOperation | undefined;
}

export interface LedgerBatch {
  /** For PresenceStore.apply: the same when the batch is sent again. */
  readonly number: number;
  readonly operations: readonly PresenceOperation[];
  readonly slots: readonly Slot[];
  /** Changes up to this number are in this batch or one before it. */
  readonly change: number;
}

/** Operations in one batch: some 200 KiB, a millisecond of the store's time. */
const BATCH_OPERATIONS_MAX = 1_000;

/** Characters of `info` in one batch, so that a batch of large infos stays below a gRPC message. */
const BATCH_INFO_LENGTH_MAX = 1024 * 1024;

export class Ledger {
  readonly #slots = new Map<string, Slot>();
  /** Slots whose wish and store differ, with the number of their change, oldest first. */
  readonly #dirty = new Map<Slot, number>();
  #changes = 0;
  #batches = 0;
  #underWay: LedgerBatch | undefined;

  get held(): number {
    return this.#slots.size;
  }

  get pending(): number {
    return this.#dirty.size;
  }

  /** Number of the last change that was told; settled once a batch with at least this `change` was applied. */
  get lastChange(): number {
    return this.#dirty.size === 0 ? (this.#underWay?.change ?? 0) : this.#changes;
  }

  join(entry: PresenceEntry): void {
    const key = keyOf(entry);
    const known = this.#slots.get(key);
    const slot: Slot = known ?? { entry, wanted: true, stored: "absent", sending: undefined };
    slot.entry = entry;
    slot.wanted = true;
    this.#slots.set(key, slot);
    this.#note(slot);
  }

  leave(entry: PresenceEntry): void {
    const slot = this.#slots.get(keyOf(entry));
    if (slot === undefined) return;
    slot.wanted = false;
    this.#note(slot);
  }

  /** The batch under way, or the next one; undefined when there is nothing to tell. */
  nextBatch(): LedgerBatch | undefined {
    this.#underWay ??= this.#takeBatch();
    return this.#underWay;
  }

  /** The store has applied the batch under way. */
  applied(batch: LedgerBatch): void {
    if (batch !== this.#underWay) return;
    this.#underWay = undefined;
    for (const slot of batch.slots) {
      slot.stored = slot.sending?.kind === "join" ? slot.sending.entry : "absent";
      slot.sending = undefined;
      this.#note(slot);
    }
  }

  /** The store holds nothing of this gateway: all that is here is sent again. */
  emptied(why: PresenceEmptied): void {
    this.#underWay = undefined;
    for (const slot of this.#slots.values()) {
      // A join under way counts as not applied: it is told once more.
      const isLost = why === "restarted" && slot.wanted && slot.stored !== "absent";
      slot.stored = isLost ? "lost" : "absent";
      slot.sending = undefined;
      this.#note(slot);
    }
  }

  #takeBatch(): LedgerBatch | undefined {
    const operations: PresenceOperation[] = [];
    const slots: Slot[] = [];
    let infoLength = 0;
    let change = 0;
    for (const [slot, number] of this.#dirty) {
      if (operations.length === BATCH_OPERATIONS_MAX || infoLength > BATCH_INFO_LENGTH_MAX) break;
      const operation = operationOf(slot);
      this.#dirty.delete(slot);
      if (operation === undefined) continue;
      slot.sending = operation;
      operations.push(operation);
      slots.push(slot);
      infoLength += slot.entry.info?.length ?? 0;
      change = number;
    }
    if (operations.length === 0) return undefined;
    this.#batches += 1;
    return { number: this.#batches, operations, slots, change };
  }

  #note(slot: Slot): void {
    if (operationOf(slot) !== undefined) {
      if (!this.#dirty.has(slot)) {
        this.#changes += 1;
        this.#dirty.set(slot, this.#changes);
      }
      return;
    }
    this.#dirty.delete(slot);
    if (!slot.wanted && slot.sending === undefined) this.#slots.delete(keyOf(slot.entry));
  }
}

/** What the store must be told of a slot; undefined: nothing. */
function operationOf({ entry, wanted, stored }: Slot): PresenceOperation | undefined {
  switch (stored) {
    case "absent":
      return wanted ? { kind: "join", entry } : undefined;
    case "lost":
      return wanted ? { kind: "join", entry, resent: true } : undefined;
    default:
      if (!wanted) return { kind: "leave", entry: stored };
      return isSame(stored, entry) ? undefined : { kind: "join", entry };
  }
}

function isSame(one: PresenceEntry, other: PresenceEntry): boolean {
  return one === other || one.info === other.info;
}

/** A connection may become another user's, while its subscriptions live on. */
function keyOf(entry: PresenceEntry): string {
  return `${entry.connectionId} ${entry.subscriptionId} ${entry.userId}`;
}
