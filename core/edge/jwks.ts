// Owns: the public keys of one issuer, fetched from its JWKS address (RFC 7517). One fetch at a time, however many
// tokens wait; after a failure or an unknown key id the next one waits for its cooldown, so that no caller can make us
// storm an issuer. Fetched keys are fresh for a while, then renewed behind the scenes, and stay in use for a bounded
// time when that fails. Invariant: whatever the other side sends or does not send costs bounded time and memory, and
// only public keys of signatures are ever taken from it.

import type { CryptoKey, JWSHeaderParameters } from "jose";
import { Backoff } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import { EarshotError, messageOf } from "../runtime/errors.ts";
import { PublicKeys } from "../runtime/jwt.ts";
import type { Log } from "../runtime/log.ts";
import type { Counter, Gauge } from "../runtime/metrics.ts";
import type { KeySource } from "./key-source.ts";

/** Milliseconds one fetch may take, body included. */
export const JWKS_TIMEOUT_MS = 3_000;

/** Bytes of a JWKS answer: 100 keys of 4,096-bit RSA fit. */
export const JWKS_BYTES_MAX = 256 * 1024;

/** Milliseconds for which keys are used without looking again. */
export const JWKS_FRESH_MS = 10 * 60_000;

/**
 * Milliseconds after which a token waits for newer keys, where the last fetch did not fail: a key that its issuer took
 * back long ago is gone, also when nobody has asked for a while.
 */
export const JWKS_OLD_MS = 2 * JWKS_FRESH_MS;

/** Milliseconds for which keys stay in use when they cannot be renewed: a night's outage of an issuer shuts nobody out. */
export const JWKS_STALE_MS = 24 * 60 * 60_000;

/** Milliseconds after a fetch in which an unknown key id does not make us fetch again. */
export const JWKS_COOLDOWN_MS = 10_000;

/** Callers that may wait for a fetch of one issuer; one more is told `overloaded`. */
export const JWKS_WAITERS_MAX = 1_000;

const ALGORITHMS = ["RS256", "ES256", "EdDSA"] as const;

interface Keys {
  readonly keys: PublicKeys;
  readonly fetchedAtMs: number;
}

interface JwksOptions {
  readonly issuer: string;
  readonly uri: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly fetches: Counter<"outcome">;
  /** Of all issuers together. */
  readonly waiters: Gauge;
}

export class JwksSource implements KeySource {
  readonly algorithms = ALGORITHMS;
  readonly #options: JwksOptions;
  readonly #backoff = new Backoff({ firstMs: 1_000, maxMs: 30_000 });
  readonly #closing = new AbortController();
  #keys: Keys | undefined;
  #fetching: Promise<void> | undefined;
  #nextFetchAtMs = 0;
  #lastFailed = false;
  #waiters = 0;

  constructor(options: JwksOptions) {
    this.#options = options;
  }

  async keyFor(header: JWSHeaderParameters): Promise<CryptoKey> {
    const ageMs = this.#keys === undefined ? Infinity : this.#options.clock.monotonic() - this.#keys.fetchedAtMs;
    if (ageMs >= JWKS_STALE_MS || (ageMs >= JWKS_OLD_MS && !this.#lastFailed)) await this.#renewed();
    else if (ageMs >= JWKS_FRESH_MS) void this.#renew();
    const keys = this.#keys;
    if (keys === undefined || this.#options.clock.monotonic() - keys.fetchedAtMs >= JWKS_STALE_MS) {
      throw new EarshotError("unauthenticated", "the keys of the token's issuer cannot be fetched now");
    }
    const key = await keys.keys.find(header);
    if (key !== undefined) return key;
    await this.#renewed();
    const renewed = this.#keys === keys || this.#keys === undefined ? undefined : await this.#keys.keys.find(header);
    if (renewed !== undefined) return renewed;
    throw new EarshotError("unauthenticated", "no key of the token's issuer fits its key id (kid) and algorithm");
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#fetching;
  }

  /** Waits for the fetch under way, or for one of its own where the cooldown allows it. Never rejects but at the cap. */
  async #renewed(): Promise<void> {
    const fetching = this.#renew();
    if (fetching === undefined) return;
    if (this.#waiters >= JWKS_WAITERS_MAX) {
      throw new EarshotError("overloaded", "too many tokens wait for the keys of their issuer");
    }
    this.#waiters += 1;
    this.#options.waiters.inc();
    try {
      await fetching;
    } finally {
      this.#waiters -= 1;
      this.#options.waiters.dec();
    }
  }

  /** The fetch under way or a new one; undefined while none may begin. Never rejects. */
  #renew(): Promise<void> | undefined {
    if (this.#fetching !== undefined) return this.#fetching;
    if (this.#closing.signal.aborted || this.#options.clock.monotonic() < this.#nextFetchAtMs) return undefined;
    this.#fetching = this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetch(): Promise<void> {
    const { issuer, uri, clock, log, fetches } = this.#options;
    try {
      const keys = await fetchKeys(uri, this.#closing.signal);
      this.#keys = { keys, fetchedAtMs: clock.monotonic() };
      this.#backoff.reset();
      this.#lastFailed = false;
      this.#nextFetchAtMs = clock.monotonic() + JWKS_COOLDOWN_MS;
      fetches.inc({ outcome: "ok" });
    } catch (error) {
      this.#lastFailed = true;
      this.#nextFetchAtMs = clock.monotonic() + this.#backoff.next();
      if (this.#closing.signal.aborted) return;
      fetches.inc({ outcome: "failed" });
      log.warn({ issuer, uri, reason: messageOf(error) }, "issuer keys not fetched");
    }
  }
}

async function fetchKeys(uri: string, closing: AbortSignal): Promise<PublicKeys> {
  const response = await fetch(uri, {
    headers: { accept: "application/jwk-set+json, application/json" },
    redirect: "error",
    signal: AbortSignal.any([closing, AbortSignal.timeout(JWKS_TIMEOUT_MS)]),
  });
  const text = await readBody(response);
  if (response.status !== 200) throw new Error(`the answer has status ${response.status}, not 200`);
  return new PublicKeys(text);
}

async function readBody(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    // Leaving the loop cancels the body, and with it the connection.
    if (size > JWKS_BYTES_MAX) throw new Error(`the answer has more than ${JWKS_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
