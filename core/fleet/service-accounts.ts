// Owns: whose ServiceAccount tokens this process believes: the keys of the cluster it runs in, as the operator hands them
// out, and proving a token by them, with no call to anybody. Who asks: callers of ports between processes (peer-judge.ts)
// and the doors of users (core/edge/tokens.ts), each with an audience of its own.
// Invariant: until keys have come nobody is believed, and nobody is called a liar for it either.

import type { Clock } from "../runtime/clock.ts";
import { EarshotError, messageOf } from "../runtime/errors.ts";
import { peekToken, PublicKeys, signedClaims } from "../runtime/jwt.ts";
import type { Log } from "../runtime/log.ts";
import type { Config } from "../runtime/settings.ts";
import type { ServiceAccountKeys } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Unlisten } from "./fleet.ts";
import { type ServiceAccount, serviceAccountOf } from "./service-account-claims.ts";

/** What the doors of users are to know of them: nothing where this installation is not in Kubernetes. */
export function publicAccounts(
  config: Pick<Config, "peerAudience">,
  accounts: ServiceAccounts,
): ServiceAccounts | undefined {
  return config.peerAudience === "" ? undefined : accounts;
}

/** By which a Kubernetes API server signs, whatever kind of key it was given. */
const ALGORITHMS = ["RS256", "ES256", "ES384", "ES512"] as const;

interface Held {
  /** Empty: this installation believes no ServiceAccount. */
  readonly issuer: string;
  readonly keys: PublicKeys | undefined;
  readonly isPublic: boolean;
  /** As they came. */
  readonly jwks: string;
}

export class ServiceAccounts {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #listeners = new Set<() => void>();
  #held: Held | undefined;

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Takes what counts from now on. Keys that cannot be read change nothing. */
  update({ issuer, jwks, public: isPublic }: Pick<ServiceAccountKeys, "issuer" | "jwks" | "public">): void {
    const before = this.#held;
    if (before?.issuer === issuer && before.jwks === jwks && before.isPublic === isPublic) return;
    let keys: PublicKeys | undefined;
    try {
      keys = issuer === "" ? undefined : new PublicKeys(jwks);
    } catch (error) {
      this.#log.error({ reason: messageOf(error) }, "keys of service accounts not usable, last ones kept");
      return;
    }
    this.#held = { issuer, keys, isPublic, jwks };
    for (const listener of this.#listeners) listener();
  }

  /** Called after every change: what was proven before counts no longer. */
  onChange(listener: () => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether it is known which tokens count, be it none. */
  get known(): boolean {
    return this.#held !== undefined;
  }

  /** Whether tokens of this issuer are of ServiceAccounts that count at the doors of users. */
  isPublicIssuer(issuer: string): boolean {
    return this.#held !== undefined && this.#held.isPublic && this.#held.issuer !== "" && this.#held.issuer === issuer;
  }

  /**
   * Who a token proves its bearer to be. Throws unauthenticated, token_expired, and overloaded while no
   * keys have come.
   */
  async prove(token: string, audience: string): Promise<ServiceAccount> {
    const held = this.#held;
    if (held === undefined) {
      throw new EarshotError("overloaded", "the keys of service accounts are not known here yet");
    }
    const { header, issuerName } = peekToken(token);
    if (held.keys === undefined || issuerName !== held.issuer) {
      throw new EarshotError("unauthenticated", "the token's issuer (iss) is not the cluster of this installation");
    }
    if (header.alg === undefined || !(ALGORITHMS as readonly string[]).includes(header.alg)) {
      throw new EarshotError("unauthenticated", `tokens of this issuer are signed with ${ALGORITHMS.join(", ")}`);
    }
    const key = await held.keys.find(header);
    if (key === undefined) {
      throw new EarshotError("unauthenticated", "no key of the token's issuer fits its key id (kid) and algorithm");
    }
    const claims = await signedClaims(token, key, ALGORITHMS);
    // Keys that came meanwhile may lack the one that it was signed with.
    if (this.#held !== held) return this.prove(token, audience);
    return serviceAccountOf(claims, audience, this.#clock.now());
  }
}
