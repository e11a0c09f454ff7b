// Owns: whether one more connection is taken: rate, number, number of one address, number of one user. Asked before
// anything is hashed or verified (the user's number right after). Counts stay exact: every taken place is given back once.

import { EarshotError } from "#core/runtime/errors.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Config } from "#core/runtime/settings.ts";
import { TokenBucket } from "#core/runtime/token-bucket.ts";

type AdmissionLimits = Pick<
  Config,
  "connectionsMax" | "connectionsPerAddress" | "connectionsPerPrincipal" | "upgradesPerSecond"
>;

export interface AdmissionMetrics {
  refused(limit: "connections" | "address" | "rate" | "user"): void;
}

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #clock: Clock;
  readonly #metrics: AdmissionMetrics;
  readonly #rate: TokenBucket;
  readonly #byAddress = new Map<string, number>();
  readonly #byUser = new Map<string, number>();
  #connections = 0;

  constructor(limits: AdmissionLimits, clock: Clock, metrics: AdmissionMetrics) {
    this.#metrics = metrics;
    this.#limits = limits;
    this.#clock = clock;
    this.#rate = new TokenBucket(limits.upgradesPerSecond, limits.upgradesPerSecond * 2, clock.monotonic());
  }

  /** Takes a place for a connection. Throws overloaded. */
  enter(address: string): void {
    if (this.#connections >= this.#limits.connectionsMax) {
      this.#metrics.refused("connections");
      throw new EarshotError("overloaded", "this gateway holds as many connections as it may");
    }
    const { connectionsPerAddress } = this.#limits;
    if (connectionsPerAddress > 0 && (this.#byAddress.get(address) ?? 0) >= connectionsPerAddress) {
      this.#metrics.refused("address");
      throw new EarshotError("overloaded", `an address holds at most ${connectionsPerAddress} connections here`);
    }
    if (!this.#rate.take(this.#clock.monotonic())) {
      this.#metrics.refused("rate");
      throw new EarshotError("overloaded", "too many new connections at once");
    }
    this.#connections += 1;
    if (connectionsPerAddress > 0) add(this.#byAddress, address, 1);
  }

  leave(address: string): void {
    this.#connections -= 1;
    if (this.#limits.connectionsPerAddress > 0) add(this.#byAddress, address, -1);
  }

  /** Takes a place for one more connection of a proven user. Throws overloaded. */
  enterUser(userId: string): void {
    const { connectionsPerPrincipal } = this.#limits;
    if (connectionsPerPrincipal === 0) return;
    if ((this.#byUser.get(userId) ?? 0) >= connectionsPerPrincipal) {
      this.#metrics.refused("user");
      throw new EarshotError("overloaded", `a user holds at most ${connectionsPerPrincipal} connections here`);
    }
    add(this.#byUser, userId, 1);
  }

  leaveUser(userId: string): void {
    if (this.#limits.connectionsPerPrincipal > 0) add(this.#byUser, userId, -1);
  }
}

function add(counts: Map<string, number>, key: string, change: number): void {
  const count = (counts.get(key) ?? 0) + change;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}
