// Owns: every connection of this gateway, and what happens to them together: entering, age, tokens that expire or are
// replaced, the drain. Made once by main; transports call enter, then authenticate. Elsewhere: one connection (session.ts),
// subscribing (subscribing.ts), Topics that change and evictions (rights.ts), how many may come (admission.ts).

import { type Principal, publicIdOf } from "#core/domain/principal.ts";
import type { Edge } from "#core/edge/edge.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { ClockJumps } from "#core/runtime/clock-jumps.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Config } from "#core/runtime/settings.ts";
import type { Encoding } from "../fanout/encoding.ts";
import type { Subscription } from "../fanout/subscription.ts";
import type { PresenceTracker } from "../presence/presence.ts";
import type { Admission } from "./admission.ts";
import { CONTROL_UNSENT_BYTES_MAX, type OutboxLimits, type OutboxTotals } from "./outbox.ts";
import type { Rights } from "./rights.ts";
import { Session, type SessionEnding, type Transport } from "./session.ts";
import type { Subscribing } from "./subscribing.ts";
import { planTokenEnd, takePrincipal } from "./token-life.ts";
import type { Wheel } from "./wheel.ts";

/** Part of connectionMaxAge by which it is more or less for each connection. */
const AGE_SPREAD = 0.25;

/** Milliseconds over which clients that are too old, or told all at once, open their new connections. */
const MOVE_SPREAD_MS = 5_000;

/** Milliseconds an old connection serves on after its client was told to open a new one. */
const MOVE_OVERLAP_MS = 10_000;

/** Part of a drain in which clients open their new connections; the rest is for the last of them. */
const DRAIN_SPREAD_PART = 0.7;

interface SessionsOptions {
  readonly edge: Pick<Edge, "authenticate">;
  readonly subscribing: Subscribing;
  readonly rights: Rights;
  readonly presence: PresenceTracker;
  readonly admission: Admission;
  readonly wheel: Wheel;
  readonly clock: Clock;
  readonly totals: OutboxTotals;
  readonly config: Pick<Config, "connectionMaxAge" | "unsentBytes" | "anonymous">;
  readonly incarnation: string;
  readonly metrics: SessionsMetrics;
  /** For tests; 0 <= random() < 1. */
  readonly random?: () => number;
}

export interface SessionsMetrics {
  connections(encoding: Encoding, change: 1 | -1): void;
  /** A connection has ended. */
  ended(how: SessionEnding): void;
}

export class Sessions implements Component {
  readonly #options: SessionsOptions;
  readonly #byId = new Map<string, Session>();
  readonly #limits: OutboxLimits;
  readonly #random: () => number;
  readonly #emptied = new Set<() => void>();
  readonly #jumps: ClockJumps;
  #counter = 0;
  #draining = false;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#limits = { unsentBytes: options.config.unsentBytes, controlBytes: CONTROL_UNSENT_BYTES_MAX };
    this.#random = options.random ?? Math.random;
    this.#jumps = new ClockJumps(options.clock, () => {
      for (const session of this.#byId.values()) planTokenEnd(session, options, () => this.#expired(session));
    });
  }

  get size(): number {
    return this.#byId.size;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Bytes that clients have not taken yet, in their sockets and in queues of ours. */
  unsentBytes(): number {
    let bytes = 0;
    for (const { outbox } of this.#byId.values()) bytes += outbox.queuedBytes + outbox.socket.writableLength;
    return bytes;
  }

  get(connectionId: string): Session | undefined {
    return this.#byId.get(connectionId);
  }

  subscriptionOf(connectionId: string, topicId: string): Subscription | undefined {
    return this.#byId.get(connectionId)?.subscriptions.get(topicId);
  }

  /** A new connection. Its place was taken before (admission.enter) and is given back when it ends. */
  enter(transport: Transport, address: string): Session {
    this.#counter += 1;
    const session = new Session({
      id: `${this.#options.incarnation.slice(0, 6)}-${this.#counter.toString(16)}`,
      address,
      transport,
      limits: this.#limits,
      totals: this.#options.totals,
      ended: (ended, how) => this.#ended(ended, how),
    });
    this.#byId.set(session.connectionId, session);
    this.#options.metrics.connections(transport.encoding, 1);
    return session;
  }

  /**
   * Proves who a connection is, and takes that in: `welcome` for a new one, else a change of who it is. A token of
   * undefined is anonymous. Throws unauthenticated, token_expired, overloaded, rate_limited; the connection then is as it was.
   */
  async authenticate(session: Session, token: string | undefined, id?: string): Promise<void> {
    const principal = await this.#options.edge.authenticate(token, session.address);
    this.admit(session, principal, id);
  }

  /**
   * Takes in a principal that was proven; `id` is that of the frame it came with, which is answered. Throws
   * unauthenticated (no anonymous access), overloaded.
   */
  admit(session: Session, principal: Principal, id?: string): void {
    if (session.state === "ended") return;
    if (principal.kind === "anonymous" && !this.#options.config.anonymous) throw new EarshotError("unauthenticated");
    if (session.state === "open") {
      this.#replacePrincipal(session, principal, id);
      return;
    }
    if (principal.kind !== "anonymous") this.#options.admission.enterUser(principal.userId);
    session.endTimer?.cancel();
    this.#take(session, principal);
    session.welcome();
    this.#planAge(session);
  }

  /** Tells every client when to move, spread over the drain; resolves when all are gone or the time is over. */
  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    if (this.#byId.size === 0) return;
    const spreadMs = deadlineMs * DRAIN_SPREAD_PART;
    const overlapMs = Math.min(MOVE_OVERLAP_MS, (deadlineMs - spreadMs) / 2);
    for (const session of this.#byId.values()) this.#move(session, this.#random() * spreadMs, overlapMs);
    await new Promise<void>((resolve) => {
      this.#emptied.add(resolve);
      this.#options.clock.after(deadlineMs, resolve);
    });
  }

  close(): Promise<void> {
    this.#draining = true;
    for (const session of this.#byId.values()) session.end(1012);
    return this.#jumps.close();
  }

  #ended(session: Session, how: SessionEnding): void {
    const { subscribing, admission, metrics } = this.#options;
    subscribing.endAll(session);
    this.#byId.delete(session.connectionId);
    admission.leave(session.address);
    if (session.principal.kind !== "anonymous") admission.leaveUser(session.principal.userId);
    metrics.connections(session.encoding, -1);
    metrics.ended(how);
    if (this.#byId.size > 0) return;
    for (const told of this.#emptied) told();
    this.#emptied.clear();
  }

  #take(session: Session, principal: Principal): void {
    takePrincipal(session, principal, this.#options, () => this.#expired(session));
  }

  #expired(session: Session): void {
    for (const subscription of session.subscriptions.values()) {
      this.#options.subscribing.end(session, subscription, "token_expired");
    }
    session.failWith(new EarshotError("token_expired"), 3101);
  }

  /** A token in place of another, or of none: who it is may change, and with it what it may hear. */
  #replacePrincipal(session: Session, principal: Principal, id: string | undefined): void {
    const { admission, presence, subscribing, rights } = this.#options;
    const before = session.principal;
    const sameUser = publicIdOf(before, session.connectionId) === publicIdOf(principal, session.connectionId);
    if (!sameUser) {
      if (principal.kind !== "anonymous") admission.enterUser(principal.userId);
      if (before.kind !== "anonymous") admission.leaveUser(before.userId);
    }
    const sameMember = sameUser && infoOf(before) === infoOf(principal);
    const listed = [...session.subscriptions.values()].filter(isMember);
    if (!sameMember) for (const subscription of listed) presence.left(subscribing.entryOf(session, subscription));
    this.#take(session, principal);
    session.say({ type: "token", id, userId: session.userId, tokenExpiresAtMs: session.tokenExpiresAtMs });
    if (!sameMember) for (const subscription of listed) presence.joined(subscribing.entryOf(session, subscription));
    for (const subscription of session.subscriptions.values()) rights.judge(session, subscription);
  }

  #planAge(session: Session): void {
    if (this.#draining) {
      this.#move(session, this.#random() * 1_000, 1_000);
      return;
    }
    const { connectionMaxAge } = this.#options.config;
    if (connectionMaxAge === 0) return;
    const ageMs = connectionMaxAge * (1 - AGE_SPREAD + this.#random() * 2 * AGE_SPREAD);
    session.endTimer = this.#options.wheel.after(ageMs, () => {
      this.#move(session, this.#random() * MOVE_SPREAD_MS, MOVE_OVERLAP_MS);
    });
  }

  /** Tells a client to open its new connection after `delayMs`; this one serves `overlapMs` longer. */
  #move(session: Session, delayMs: number, overlapMs: number): void {
    const closesInMs = Math.round(delayMs + overlapMs);
    session.move(Math.round(delayMs), closesInMs);
    session.endTimer?.cancel();
    session.endTimer = this.#options.wheel.after(closesInMs, () => session.end(1012));
  }
}

function infoOf(principal: Principal): string | undefined {
  return principal.kind === "anonymous" ? undefined : principal.info;
}

function isMember(subscription: Subscription): boolean {
  return subscription.state !== "asked" && subscription.topic.topic.policy.presence === "Members";
}
