// Owns: what the gateway asks of presence, and what presence asks of a store. Two halves: PresenceTracker is called by
// sessions when subscriptions come and go; PresenceStore is implemented in memory (over gRPC) and in Redis.
// Invariant: the store alone decides, atomically, when a user's first subscription came and the last one went.

import type { Component } from "#core/runtime/lifecycle.ts";

/** One subscription as presence knows it. */
export interface PresenceEntry {
  readonly topicId: string;
  readonly userId: string;
  /** JSON text of the token's info, or undefined. */
  readonly info: string | undefined;
  readonly connectionId: string;
  readonly subscriptionId: string;
  readonly subscribedAtMs: number;
}

export interface PresenceDecision {
  /** The user's first subscription came, or the last one went. */
  readonly changed: boolean;
  /** Users afterwards. */
  readonly count: number;
  readonly version: number;
}

export interface PresencePage {
  readonly members: readonly PresenceEntry[];
  /** Users. */
  readonly count: number;
  readonly version: number;
  readonly nextCursor: string | undefined;
}

export interface PresenceOperation {
  readonly kind: "join" | "leave";
  readonly entry: PresenceEntry;
  /** A join of a subscription that the store held before it came back empty: others were told of it then. */
  readonly resent?: boolean;
}

/**
 * Why a gateway tells all it holds again: the store is a new one, the gateway's lease ran out, or the store is in other
 * hands, which may lack the last that was told.
 */
export type PresenceEmptied = "restarted" | "lapsed" | "moved";

/** A user who is gone because the gateways that held them are, or about whom they may have died without a word. */
export interface PresenceReaped {
  readonly topicId: string;
  readonly userId: string;
  /** Not gone: others hold them too. That they came may not have been told. */
  readonly stays?: { readonly info: string | undefined };
  readonly count: number;
  readonly version: number;
}

/** Every call rejects with presence_unavailable when the store does not answer. Lists take a wrong cursor as invalid_request. */
export interface PresenceStore extends Component {
  /**
   * Applies one batch, as a whole. Batches of a gateway are numbered, one is under way at a time, and one that is sent
   * again under its number (its answer was lost) is answered as far as that still holds. Needs a lease.
   */
  apply(
    gatewayIncarnation: string,
    operations: readonly PresenceOperation[],
    batch: number,
  ): Promise<readonly PresenceDecision[]>;
  list(topicId: string, limit: number, cursor: string | undefined): Promise<PresencePage>;
  /** Takes or renews the lease; with 0 it runs out at once, and so what the gateway holds. */
  renewLease(gatewayIncarnation: string, ttlMs: number): Promise<void>;
  /** Looks for users who are gone with their gateways: told by `onGone`. */
  reap(): Promise<void>;
  /** Called when a renewal finds that the store may not hold what the caller told: it sends all it holds again. */
  onEmptied(listener: (why: PresenceEmptied) => void): void;
  /** Called when another store is there: a renewal now finds it sooner than the next one would. */
  onFound?(listener: () => void): void;
  /** Called with who is gone, as soon as it is found; each user once, at one gateway. */
  onGone(listener: (gone: readonly PresenceReaped[]) => void): void;
  /** The store was told all that the gateway holds, since the last renewal that had it told again. */
  allTold?(): void;
}

/** A page of a topic's members; without a cursor the first one. */
export interface SnapshotQuery {
  readonly topicId: string;
  /** Users. */
  readonly limit: number;
  readonly cursor: string | undefined;
}

/** What a presence frame and `/subscribers` start from. */
export interface PresenceSnapshot {
  readonly page: PresencePage | undefined;
  /** The store did not answer, or does not know of everybody yet: `page` is the last known one, or undefined. */
  readonly stale: boolean;
  /**
   * Only when stale: waits until the store knows of everybody again, and resolves with what it then says. Whoever told
   * somebody a stale list owes them that one. Never rejects; where too many wait, or after close, it never resolves.
   */
  readonly fresh?: () => Promise<PresenceSnapshot>;
}

export interface PresenceTracker extends Component {
  /** Whether an installation has a store at all. */
  readonly available: boolean;
  joined(entry: PresenceEntry): void;
  left(entry: PresenceEntry): void;
  /**
   * Called when changes may have passed this gateway's subscribers by, since the store came back empty: whoever watches
   * a topic is owed a whole list. Absent where nothing is kept.
   */
  onListsOwed?(listener: () => void): void;
  /**
   * Waits until the store knows of everybody, and resolves with the first page of a topic: one read for all who wait,
   * few topics at a time. Never rejects; where too many wait, or after close, it never resolves.
   */
  whole?(topicId: string, limit: number): Promise<PresenceSnapshot>;
  /** Holds at least what this gateway told before it. Rejects only for a wrong cursor (invalid_request). */
  snapshot(topicId: string, limit: number, cursor: string | undefined): Promise<PresenceSnapshot>;
}
