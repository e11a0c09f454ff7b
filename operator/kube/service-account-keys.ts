// Owns: the public keys by which this cluster's ServiceAccount tokens are proven: its issuer and its JWKS, read from the
// API server (OpenID discovery, KEP-1393), looked at again every few minutes: a cluster rotates its keys.
// The last good ones stay while the API server does not answer. Elsewhere: who is given them (control-plane), and proving.

import type { Unlisten } from "#core/fleet/fleet.ts";
import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { ClusterKeys, ClusterKeysSource } from "../platform/platform.ts";
import type { KubeApi } from "./api.ts";

export interface ServiceAccountKeysOptions {
  readonly api: Pick<KubeApi, "call">;
  readonly clock: Clock;
  readonly log: Log;
}

/** Milliseconds between looks: a new key is published long before it signs. */
const LOOK_MS = 5 * 60_000;

/** Between tries while the API server refuses or does not answer. */
const BACKOFF = { firstMs: 500, maxMs: 30_000 };

/** Characters of a JWKS: 100 keys of 4,096-bit RSA fit. */
const JWKS_LENGTH_MAX = 256 * 1024;

export class ServiceAccountKeys implements ClusterKeysSource, Component {
  readonly #options: ServiceAccountKeysOptions;
  readonly #backoff = new Backoff(BACKOFF);
  readonly #listeners = new Set<() => void>();
  readonly #ending = new AbortController();
  #keys: ClusterKeys | undefined;
  #next: Timer | undefined;
  #failing = false;

  constructor(options: ServiceAccountKeysOptions) {
    this.#options = options;
  }

  /** Undefined until they were read once. */
  get current(): ClusterKeys | undefined {
    return this.#keys;
  }

  onChange(listener: () => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves after the first look, whether or not it worked. */
  start(): Promise<void> {
    return this.#look();
  }

  close(): Promise<void> {
    this.#ending.abort();
    this.#next?.cancel();
    this.#listeners.clear();
    return Promise.resolve();
  }

  async #look(): Promise<void> {
    const { clock, log } = this.#options;
    let waitMs = LOOK_MS;
    try {
      this.#take(await this.#read());
      this.#backoff.reset();
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) log.warn({ cause: messageOf(error) }, "cluster's token keys cannot be read, is tried again");
      this.#failing = true;
      waitMs = this.#backoff.next();
    }
    if (!this.#ending.signal.aborted) this.#next = clock.after(waitMs, () => void this.#look());
  }

  async #read(): Promise<ClusterKeys> {
    const { api } = this.#options;
    const { signal } = this.#ending;
    const discovery = await api.call<{ issuer?: unknown }>("GET", "/.well-known/openid-configuration", { signal });
    const jwks = await api.call<{ keys?: unknown }>("GET", "/openid/v1/jwks", { signal });
    if (typeof discovery.issuer !== "string" || discovery.issuer === "")
      throw new Error("the discovery names no issuer");
    if (!Array.isArray(jwks.keys)) throw new Error("the JWKS has no list of keys");
    const text = JSON.stringify({ keys: jwks.keys as unknown });
    if (text.length > JWKS_LENGTH_MAX) throw new Error(`the JWKS is longer than ${JWKS_LENGTH_MAX} characters`);
    return { issuer: discovery.issuer, jwks: text };
  }

  #take(keys: ClusterKeys): void {
    if (keys.issuer === this.#keys?.issuer && keys.jwks === this.#keys.jwks) return;
    this.#keys = keys;
    this.#options.log.info({ issuer: keys.issuer }, "cluster's token keys read");
    for (const listener of this.#listeners) listener();
  }
}
