// Owns: what the gateway asks of presence, and what presence asks of a store. Two halves: PresenceTracker is called by
// sessions when subscriptions come and go; PresenceStore is implemented in memory (over gRPC) and, later, by Redis.
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

export type PresenceOperation = { readonly kind: "join" | "leave"; readonly entry: PresenceEntry };

/** A user who is gone because the gateways that held them are. */
export interface PresenceReaped {
  readonly topicId: string;
  readonly userId: string;
  readonly count: number;
  readonly version: number;
}

/** Every call rejects with presence_unavailable when the store does not answer. */
export interface PresenceStore extends Component {
  apply(gatewayIncarnation: string, operations: readonly PresenceOperation[]): Promise<readonly PresenceDecision[]>;
  list(topicId: string, limit: number, cursor: string | undefined): Promise<PresencePage>;
  renewLease(gatewayIncarnation: string, ttlMs: number): Promise<void>;
  reap(): Promise<readonly PresenceReaped[]>;
  /** Called when the store came back empty: the caller sends all it holds again. */
  onEmptied(listener: () => void): void;
}

/** What a presence frame and `/subscribers` start from. */
export interface PresenceSnapshot {
  readonly page: PresencePage | undefined;
  /** The store did not answer: `page` is the last known one, or undefined. */
  readonly stale: boolean;
}

export interface PresenceTracker extends Component {
  /** Whether an installation has a store at all. */
  readonly available: boolean;
  joined(entry: PresenceEntry): void;
  left(entry: PresenceEntry): void;
  snapshot(topicId: string, limit: number, cursor: string | undefined): Promise<PresenceSnapshot>;
}
