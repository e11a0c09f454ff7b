// Owns: proving tokens (JWT, RFC 7519): which issuer's keys a token must be signed with, by which algorithm, and a
// bounded memory of tokens already proven. The key source decides the algorithm, never the token alone, so a public key
// is never taken for a secret. Elsewhere: what the claims must say (claims.ts), where keys come from (key-source.ts,
// jwks.ts). Invariant: no token, or part of one, is ever in a log line or a message.

import { hash } from "node:crypto";
import { NO_CAPABILITIES, type Principal } from "../domain/principal.ts";
import type { Unlisten } from "../fleet/fleet.ts";
import { type ServiceAccount, serviceAccountUser } from "../fleet/service-account-claims.ts";
import type { ServiceAccounts } from "../fleet/service-accounts.ts";
import type { Clock } from "../runtime/clock.ts";
import { ConfigError } from "../runtime/config.ts";
import { EarshotError, messageOf } from "../runtime/errors.ts";
import { peekToken, signedClaims, TOKEN_LENGTH_MAX } from "../runtime/jwt.ts";
import { expired } from "../runtime/jwt-claims.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { Counter, Gauge, type Registry, readGauge } from "../runtime/metrics.ts";
import { SECRET_BYTES_MIN } from "../runtime/secret.ts";
import type { Config } from "../runtime/settings.ts";
import { TokenBuckets } from "../runtime/token-bucket.ts";
import { type ClaimRules, principalOf } from "./claims.ts";
import { OWN_ISSUER, parseIssuers } from "./issuers.ts";
import { JWKS_WAITERS_MAX, JwksSource } from "./jwks.ts";
import { type KeySource, SecretFileSource, SecretSource } from "./key-source.ts";

/** Proven tokens remembered: one a connection of a full gateway; 10 MB at most. The one used longest ago goes first. */
export const PROVEN_TOKENS_MAX = 16_384;

/** Milliseconds for which a proven token is believed without looking at its key again: as long as keys are fresh. */
const PROVEN_TOKEN_MS = 10 * 60_000;

/** Bad tokens a second, and at once, that one address may send; each costs us about 60 us to look at. */
const BAD_TOKENS_PER_SECOND = 100;
export const BAD_TOKENS_BURST = 1_000;

/** Addresses with bad tokens that are remembered. */
const BAD_ADDRESSES_MAX = 10_000;

interface Issuer extends ClaimRules {
  readonly keys: KeySource;
}

interface Proven {
  readonly principal: Principal;
  /** Monotonic. */
  readonly untilMs: number;
}

interface TokenOptions {
  readonly config: Pick<Config, "secret" | "issuers" | "audience" | "shutOut">;
  /** Whose ServiceAccount tokens are believed; absent: this installation is not in Kubernetes. */
  readonly accounts?: ServiceAccounts | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

export class Tokens implements Component {
  readonly #issuers: ReadonlyMap<string, Issuer>;
  readonly #shutOut: ReadonlySet<string>;
  readonly #audience: string;
  readonly #accounts: ServiceAccounts | undefined;
  readonly #clock: Clock;
  readonly #unlisten: Unlisten | undefined;
  readonly #proven = new Map<string, Proven>();
  readonly #bad = new TokenBuckets(BAD_TOKENS_PER_SECOND, BAD_TOKENS_BURST, BAD_ADDRESSES_MAX);
  readonly #verifications: Counter<"outcome">;

  /** Throws ConfigError when a secret or an issuer cannot be used. */
  constructor(options: TokenOptions) {
    this.#clock = options.clock;
    this.#issuers = issuersOf(options);
    this.#shutOut = new Set(options.config.shutOut);
    this.#audience = options.config.audience;
    this.#accounts = options.accounts;
    this.#unlisten = options.accounts?.onChange(() => this.#forgetAccounts());
    this.#verifications = new Counter({
      name: "earshot_token_verifications_total",
      help: "Tokens by outcome: remembered, proven, refused; unseen: refused without a look, its address sent too many bad ones.",
      labelNames: ["outcome"],
      registers: [options.registry],
    });
    for (const outcome of ["remembered", "proven", "refused", "unseen"]) this.#verifications.inc({ outcome }, 0);
    const bad = `Addresses that sent tokens which were not accepted, ${BAD_ADDRESSES_MAX} at most; above a rate theirs are refused unseen.`;
    readGauge(options.registry, "earshot_bad_token_addresses", bad, () => this.#bad.size);
    const help = `Proven tokens remembered, ${PROVEN_TOKENS_MAX} at most; the one used longest ago goes first.`;
    readGauge(options.registry, "earshot_remembered_tokens", help, () => this.#proven.size);
  }

  /**
   * Who a token proves its bearer to be. An `address` that sends too many bad ones is refused unseen, but for tokens
   * that are already proven. Throws unauthenticated, token_expired, rate_limited, overloaded (also while it
   * is not known whose ServiceAccount tokens count), and forbidden for a user who is shut out.
   */
  async prove(token: string, address: string | undefined): Promise<Principal> {
    const principal = await this.#known(token, address);
    if (principal.kind !== "anonymous" && this.#shutOut.has(principal.userId)) {
      throw new EarshotError("forbidden", "this user is shut out of this installation");
    }
    return principal;
  }

  async #known(token: string, address: string | undefined): Promise<Principal> {
    if (token.length > TOKEN_LENGTH_MAX) {
      throw new EarshotError("unauthenticated", `a token has at most ${TOKEN_LENGTH_MAX} characters`);
    }
    const key = hash("sha256", token, "base64");
    const remembered = this.#recall(key);
    if (remembered !== undefined) {
      this.#verifications.inc({ outcome: "remembered" });
      return remembered;
    }
    if (address !== undefined && !this.#bad.has(address, this.#clock.monotonic())) {
      this.#verifications.inc({ outcome: "unseen" });
      throw new EarshotError("rate_limited", "too many tokens of this address were not accepted");
    }
    try {
      const principal = await this.#verify(token);
      this.#remember(key, principal);
      this.#verifications.inc({ outcome: "proven" });
      return principal;
    } catch (error) {
      this.#verifications.inc({ outcome: "refused" });
      if (address !== undefined && !isOurs(error)) this.#bad.take(address, this.#clock.monotonic());
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#unlisten?.();
    this.#proven.clear();
    await Promise.all([...this.#issuers.values()].map((issuer) => issuer.keys.close()));
  }

  async #verify(token: string): Promise<Principal> {
    const { header, issuerName } = peekToken(token);
    if (issuerName !== undefined && this.#accounts?.isPublicIssuer(issuerName) === true) {
      return principalOfAccount(await this.#accounts.prove(token, this.#audience));
    }
    const issuer = this.#issuers.get(issuerName ?? OWN_ISSUER);
    if (issuer === undefined) {
      if (this.#accounts?.known === false) {
        throw new EarshotError("overloaded", "which issuers' tokens count is not known here yet");
      }
      throw new EarshotError(
        "unauthenticated",
        issuerName === undefined
          ? "the token names no issuer (iss), and this installation has no secret of its own"
          : "the token's issuer (iss) is not one of this installation",
      );
    }
    const { algorithms } = issuer.keys;
    if (header.alg === undefined || !algorithms.includes(header.alg)) {
      throw new EarshotError("unauthenticated", `tokens of this issuer are signed with ${algorithms.join(", ")}`);
    }
    const key = await issuer.keys.keyFor(header);
    const claims = await signedClaims(token, key, algorithms);
    return principalOf(claims, issuer, this.#clock.now());
  }

  #recall(key: string): Principal | undefined {
    const proven = this.#proven.get(key);
    if (proven === undefined) return undefined;
    this.#proven.delete(key);
    if (proven.untilMs <= this.#clock.monotonic()) return undefined;
    this.#proven.set(key, proven);
    const { principal } = proven;
    const nowMs = this.#clock.now();
    if (principal.kind !== "anonymous" && principal.expiresAtMs <= nowMs) throw expired(principal.expiresAtMs, nowMs);
    return principal;
  }

  /** Whom keys proved that may count no longer. */
  #forgetAccounts(): void {
    for (const [key, { principal }] of this.#proven) {
      if (principal.kind === "serviceAccount") this.#proven.delete(key);
    }
  }

  #remember(key: string, principal: Principal): void {
    const nowMs = this.#clock.monotonic();
    this.#proven.set(key, { principal, untilMs: nowMs + PROVEN_TOKEN_MS });
    // The one used longest ago stands first; what nobody uses any more is not kept until others need its place.
    for (const [oldest, { untilMs }] of this.#proven) {
      if (untilMs > nowMs && this.#proven.size <= PROVEN_TOKENS_MAX) return;
      this.#proven.delete(oldest);
    }
  }
}

/** As Kubernetes names it among users, and the groups that it is in there. */
function principalOfAccount(account: ServiceAccount): Principal {
  const { namespace, name, expiresAtMs } = account;
  return {
    kind: "serviceAccount",
    userId: serviceAccountUser(account),
    namespace,
    name,
    groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`],
    capabilities: NO_CAPABILITIES,
    namespaces: undefined,
    expiresAtMs,
    info: undefined,
  };
}

/** Whether a refusal says nothing against the token. */
function isOurs(error: unknown): boolean {
  return error instanceof EarshotError && error.code === "overloaded";
}

function issuersOf(options: TokenOptions): ReadonlyMap<string, Issuer> {
  const { config, clock, log, registry } = options;
  const issuers = new Map<string, Issuer>();
  if (config.secret !== "") {
    if (Buffer.byteLength(config.secret) < SECRET_BYTES_MIN) {
      throw new ConfigError(`secret (EARSHOT_SECRET) must have ${SECRET_BYTES_MIN} bytes at least`);
    }
    const keys = new SecretSource(config.secret);
    issuers.set(OWN_ISSUER, { keys, audiences: [config.audience], namespaces: undefined });
  }
  const fetches = new Counter({
    name: "earshot_jwks_fetches_total",
    help: "Fetches of issuers' keys, by outcome: ok, failed.",
    labelNames: ["outcome"],
    registers: [registry],
  });
  for (const outcome of ["ok", "failed"]) fetches.inc({ outcome }, 0);
  const waiters = new Gauge({
    name: "earshot_jwks_waiters",
    help: `Tokens that wait for their issuer's keys, ${JWKS_WAITERS_MAX} an issuer at most; one more is refused.`,
    registers: [registry],
  });
  for (const [index, setting] of parseIssuers(config.issuers, config.audience).entries()) {
    const { issuer, audiences, namespaces } = setting;
    const keys =
      setting.keys.kind === "jwks"
        ? new JwksSource({ issuer, uri: setting.keys.uri, clock, log, fetches, waiters })
        : secretFileSource(`issuers[${index}].secretFile`, setting.keys.path, clock, log);
    issuers.set(issuer, { keys, audiences, namespaces });
  }
  return issuers;
}

function secretFileSource(where: string, path: string, clock: Clock, log: Log): KeySource {
  try {
    return new SecretFileSource(path, clock, log);
  } catch (error) {
    throw new ConfigError(`${where} cannot be used: ${messageOf(error)}`);
  }
}
