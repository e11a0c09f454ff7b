// Owns: this gateway's lease in Redis. What is held belongs to a holder, `<gateway>/<lease>`: what a former lease left can
// be taken away without touching what was told again under the next one. A former holder whose data may still be whole is
// kept alive until everything was told again, so that no user is gone in between.
// Called by redis-store.ts. Elsewhere: what a renewal decides (lease-scripts.ts).

import type { Clock } from "#core/runtime/clock.ts";
import { RECOVERY_MS } from "../memory-store.ts";
import type { PresenceEmptied } from "../presence.ts";
import type { RedisConnection } from "./connection.ts";
import { leaseKeys } from "./keys.ts";
import { listOf, numberOf, textOf } from "./replies.ts";

/** Gateways with a lease, the ones that were just replaced included: far above any installation's. */
const LEASES_MAX = 10_000;

/** Former holders that are kept alive at once; a further one lets the oldest go. Each is a failover during another's repair. */
const FORMER_MAX = 8;

interface Held {
  readonly id: string;
  readonly holder: string;
  /** When the store began that gave it. */
  readonly born: string;
}

interface LeaseOptions {
  readonly connection: RedisConnection;
  readonly prefix: string;
  readonly clock: Clock;
  /** Whether one clock measures leases and batches: then no batch is applied after the end of its lease. */
  readonly isFenced: boolean;
}

export class Lease {
  readonly #options: LeaseOptions;
  #held: Held | undefined;
  #endsAtMs = 0;
  #fenceMs = 0;
  /** Of the connection, when this lease was taken: what was told before a later loss may be gone. */
  #losses = 0;
  #storeBornAtMs = 0;
  #former: string[] = [];
  #leaving: string[] = [];

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** Undefined when there is none in force, or the store may have lost what was told under it. */
  get holder(): string | undefined {
    const { connection, clock } = this.#options;
    const isInForce = clock.monotonic() < this.#endsAtMs && connection.losses === this.#losses;
    return isInForce ? this.#held?.holder : undefined;
  }

  /** When the lease runs out by the server's clock; 0: the server that is asked may have another clock. */
  get fenceMs(): number {
    return this.#fenceMs;
  }

  /** About when the store began, in monotonic milliseconds of this process. */
  get storeBornAtMs(): number {
    return this.#storeBornAtMs;
  }

  isOwn(holder: string): boolean {
    return holder === this.#held?.holder || this.#former.includes(holder) || this.#leaving.includes(holder);
  }

  /** Answers why everything has to be told again, if it has. */
  async renew(gateway: string, ttlMs: number): Promise<PresenceEmptied | undefined> {
    const { connection, prefix, clock } = this.#options;
    const { losses } = connection;
    const before = this.#held;
    const isAnother = before !== undefined && losses !== this.#losses;
    const leaving = [...this.#leaving];
    const startedAtMs = clock.monotonic();
    const reply = await connection.run("earshotRenew", leaseKeys(prefix), [
      gateway,
      before?.id ?? "",
      ttlMs,
      isAnother ? "1" : "0",
      LEASES_MAX,
      this.#former.length,
      ...this.#former,
      ...leaving,
    ]);
    this.#leaving = this.#leaving.filter((holder) => !leaving.includes(holder));
    if (ttlMs === 0) return undefined;
    const [id, verdict, born, ageMs, fenceMs] = listOf(reply);
    this.#held = { id: textOf(id), holder: `${gateway}/${textOf(id)}`, born: textOf(born) };
    // From when it was asked for: the store's own time began later.
    this.#endsAtMs = startedAtMs + ttlMs;
    this.#fenceMs = this.#options.isFenced ? numberOf(fenceMs) : 0;
    this.#losses = losses;
    this.#storeBornAtMs = clock.monotonic() - numberOf(ageMs);
    // Others may be telling all again to a store that has just begun, and that is no news: lists lack them until then.
    if (before === undefined) return numberOf(ageMs) < RECOVERY_MS ? "restarted" : undefined;
    if (before.id === this.#held.id) return undefined;
    if (verdict === "moved") this.#retire(before.holder);
    if (before.born !== this.#held.born) return "restarted";
    return verdict === "lapsed" ? "lapsed" : "moved";
  }

  /** Everything was told again: what former leases hold is taken away from the next renewal on. */
  settle(): void {
    this.#leaving.push(...this.#former);
    this.#former = [];
  }

  #retire(holder: string): void {
    this.#former.push(holder);
    if (this.#former.length > FORMER_MAX) this.#leaving.push(...this.#former.splice(0, 1));
  }
}
