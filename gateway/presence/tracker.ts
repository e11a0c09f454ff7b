// Owns: presence in one gateway, between its sessions and the store. Joins and leaves are gathered into batches, one
// under way at a time (while it is, the next one fills); a lease keeps alive what this gateway holds; changes the store
// decided go to the topics' routers; snapshots answer within a deadline, from the store or from what it said last.
// Elsewhere: what is sent (ledger.ts), what routers are told (changes.ts), where the store is (remote-store.ts).

import type { PublishResult } from "#core/fleet/publish-order.ts";
import { Backoff } from "#core/runtime/backoff.ts";
import { type Clock, SYSTEM_CLOCK, type Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { ordersOf, ordersOfReaped, type PresenceOrder } from "./changes.ts";
import { Ledger, type LedgerBatch } from "./ledger.ts";
import { RECOVERY_MS } from "./memory-store.ts";
import type { PresenceEmptied, PresenceEntry, PresenceSnapshot, PresenceStore, PresenceTracker } from "./presence.ts";
import { Snapshots } from "./snapshots.ts";
import { Teller } from "./teller.ts";
import { createTrackerMetrics, type TrackerMetrics } from "./tracker-metrics.ts";

/**
 * Milliseconds between lease renewals, and how long a lease lasts: two renewals may be lost. Presence is promised to be
 * right within 2 s: a lease, a look, and some time to tell.
 */
const RENEW_MS = 400;
const LEASE_MS = 1_200;

/** Milliseconds between looks for users whose gateways are gone; each gateway looks, the store tells each user once. */
const REAP_MS = 250;

/** Milliseconds before a batch that failed is sent again. */
const RETRY_MS = 100;

/** Milliseconds before it is said again that the store does not answer: a part of it may come and go. */
const SAID_AGAIN_MS = 10_000;

/** Milliseconds in which joins and leaves gather before a batch is sent: below what anybody sees. */
const GATHER_MS = 5;

interface TrackerOptions {
  readonly store: PresenceStore;
  /** core/fleet/placer.ts. */
  readonly place: (order: PresenceOrder) => Promise<PublishResult>;
  /** Of this gateway. */
  readonly incarnation: string;
  readonly log: Log;
  readonly registry: Registry;
  readonly clock?: Clock;
}

export class StoreTracker implements PresenceTracker {
  readonly available = true;
  readonly #store: PresenceStore;
  readonly #incarnation: string;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #ledger = new Ledger();
  readonly #snapshots: Snapshots;
  readonly #teller: Teller;
  readonly #metrics: TrackerMetrics;
  readonly #owedListeners = new Set<() => void>();
  readonly #backoff = new Backoff({ firstMs: 100, maxMs: 500 });
  /** Whether the store answered last. */
  #reached = false;
  #hasAnswered = false;
  #lostAtMs = 0;
  /** When it was last said that the store does not answer, and whether it was said that it does again. */
  #saidAtMs = Number.NEGATIVE_INFINITY;
  #isSaid = false;
  #applying = false;
  #gathering: Timer | undefined;
  #renewing: Timer | undefined;
  #reaping: Timer | undefined;
  #renewal: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor({ store, place, incarnation, log, registry, clock = SYSTEM_CLOCK }: TrackerOptions) {
    this.#store = store;
    this.#incarnation = incarnation;
    this.#log = log;
    this.#clock = clock;
    this.#teller = new Teller(place, clock, registry);
    this.#metrics = createTrackerMetrics(registry, {
      held: () => this.#ledger.held,
      pending: () => this.#ledger.pending,
      outstanding: () => this.#teller.outstanding,
      reachable: () => this.#reached,
    });
    this.#snapshots = new Snapshots({
      store,
      clock,
      registry,
      flush: () => this.#flush(),
      settles: () => (this.#reached ? this.#ledger.lastChange : "never"),
    });
    store.onEmptied((why) => this.#emptied(why));
    store.onFound?.(() => void this.#renew());
    store.onGone((gone) => this.#teller.tell(ordersOfReaped(gone)));
    void this.#renew();
    this.#scheduleReap();
  }

  joined(entry: PresenceEntry): void {
    this.#ledger.join(entry);
    this.#gather();
  }

  left(entry: PresenceEntry): void {
    this.#ledger.leave(entry);
    this.#gather();
  }

  snapshot(topicId: string, limit: number, cursor: string | undefined): Promise<PresenceSnapshot> {
    return this.#snapshots.take({ topicId, limit, cursor });
  }

  onListsOwed(listener: () => void): void {
    this.#owedListeners.add(listener);
  }

  whole(topicId: string, limit: number): Promise<PresenceSnapshot> {
    return this.#snapshots.whole({ topicId, limit, cursor: undefined });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const timer of [this.#gathering, this.#renewing, this.#reaping]) timer?.cancel();
    this.#snapshots.close();
    // What is held here ends now instead of when the lease would run out. Others tell of it.
    if (this.#reached) await this.#store.renewLease(this.#incarnation, 0).catch(() => {});
    this.#teller.close();
    await this.#store.close();
  }

  #emptied(why: PresenceEmptied): void {
    const { held } = this.#ledger;
    if (held > 0)
      this.#log.warn({ why, held }, "presence store may not hold what this gateway told: telling all again");
    this.#ledger.emptied(why);
    this.#snapshots.interrupted();
    this.#snapshots.incompleteFor(RECOVERY_MS);
    for (const listener of this.#owedListeners) listener();
  }

  #gather(): void {
    this.#gathering ??= this.#clock.after(GATHER_MS, () => this.#flush());
  }

  #flush(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    if (this.#applying || !this.#reached || this.#closing !== undefined) return;
    const batch = this.#ledger.nextBatch();
    if (batch === undefined) {
      this.#store.allTold?.();
      return;
    }
    this.#applying = true;
    void this.#apply(batch).finally(() => {
      this.#applying = false;
      this.#flush();
    });
  }

  async #apply(batch: LedgerBatch): Promise<void> {
    const { operations, number, change } = batch;
    const startedAtMs = this.#clock.monotonic();
    try {
      const decisions = await this.#store.apply(this.#incarnation, operations, number);
      this.#ledger.applied(batch);
      this.#metrics.applied(operations, (this.#clock.monotonic() - startedAtMs) / 1_000);
      this.#teller.tell(ordersOf(operations, decisions));
      this.#snapshots.settled(change);
    } catch (error) {
      this.#metrics.failed();
      this.#lost(error);
      // The renewal shows whether the store is there, and whether it still knows this gateway.
      await this.#renew();
      await new Promise<void>((resolve) => {
        this.#clock.after(RETRY_MS, resolve);
      });
    }
  }

  #renew(): Promise<void> {
    if (this.#closing !== undefined) return Promise.resolve();
    // One that has just ended has set the timer of the next one, which must stay.
    if (this.#renewal !== undefined) return this.#renewal;
    this.#renewing?.cancel();
    this.#renewal = this.#renewOnce().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #renewOnce(): Promise<void> {
    let delayMs = RENEW_MS;
    try {
      await this.#store.renewLease(this.#incarnation, LEASE_MS);
      this.#backoff.reset();
      this.#found();
    } catch (error) {
      this.#lost(error);
      delayMs = this.#backoff.next();
    }
    if (this.#closing !== undefined) return;
    this.#renewing = this.#clock.after(delayMs, () => void this.#renew());
    if (this.#reached) this.#flush();
  }

  #found(): void {
    if (this.#hasAnswered && !this.#reached) {
      // Others may not have renewed yet, and who is gone may still be counted.
      const outageMs = this.#clock.monotonic() - this.#lostAtMs;
      if (outageMs > LEASE_MS) this.#snapshots.incompleteFor(RECOVERY_MS);
      if (this.#isSaid) this.#log.info({ held: this.#ledger.held }, "presence store answers again");
      this.#isSaid = false;
    }
    this.#reached = true;
    this.#hasAnswered = true;
  }

  #lost(error: unknown): void {
    const nowMs = this.#clock.monotonic();
    if (this.#reached) this.#lostAtMs = nowMs;
    // Before it ever answered there is nothing to say: it may start after this gateway.
    if (this.#hasAnswered && !this.#isSaid && nowMs - this.#saidAtMs > SAID_AGAIN_MS) {
      this.#saidAtMs = nowMs;
      this.#isSaid = true;
      this.#log.warn({ cause: messageOf(error) }, "presence store does not answer");
    }
    this.#reached = false;
    this.#snapshots.interrupted();
  }

  #scheduleReap(): void {
    // Spread, so that gateways that started together do not look together.
    const delayMs = REAP_MS / 2 + Math.random() * REAP_MS;
    this.#reaping = this.#clock.after(delayMs, () => {
      void this.#reap().finally(() => {
        if (this.#closing === undefined) this.#scheduleReap();
      });
    });
  }

  async #reap(): Promise<void> {
    if (!this.#reached) return;
    try {
      await this.#store.reap();
    } catch (error) {
      this.#log.debug({ cause: messageOf(error) }, "presence store was not looked through");
    }
  }
}
