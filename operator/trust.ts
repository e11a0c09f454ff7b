// Owns: by what the operator proves itself to the fleet, how it judges who calls it, and the keys that it hands out so that
// everybody else can judge too. Elsewhere: where keys and certificates come from (platform).

import { create } from "@bufbuild/protobuf";
import { createPeerIdentity, type PeerIdentityOptions } from "#core/fleet/peer-identity.ts";
import { ServiceAccounts } from "#core/fleet/service-accounts.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import type { Config } from "#core/runtime/settings.ts";
import { type ServiceAccountKeys, ServiceAccountKeysSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Platform } from "./platform/platform.ts";

export interface TrustOptions extends Pick<PeerIdentityOptions, "clock" | "log" | "registry"> {
  readonly config: Config;
  readonly platform: Pick<Platform, "tls" | "clusterKeys">;
}

export class Trust implements Component {
  readonly identity: PeerIdentity & Component;
  readonly #options: TrustOptions;
  readonly #accounts: ServiceAccounts;
  readonly #listeners = new Set<() => void>();
  readonly #unlisten: (() => void) | undefined;
  #keys: ServiceAccountKeys | undefined;

  /** Throws ConfigError. */
  constructor(options: TrustOptions) {
    const { platform, ...rest } = options;
    this.#options = options;
    this.#accounts = new ServiceAccounts(options);
    this.identity = createPeerIdentity({ ...rest, accounts: this.#accounts, tls: platform.tls });
    this.#unlisten = platform.clusterKeys?.onChange(() => this.#take());
    this.#take();
  }

  /** What the fleet is given; undefined while it is not known, or where there are no ServiceAccounts. */
  get keys(): ServiceAccountKeys | undefined {
    return this.#keys;
  }

  onKeys(listener: () => void): void {
    this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    this.#unlisten?.();
    await this.identity.close();
  }

  #take(): void {
    const { platform, config } = this.#options;
    const current = platform.clusterKeys?.current;
    if (current === undefined) return;
    this.#keys = create(ServiceAccountKeysSchema, { ...current, public: config.serviceAccountTokens });
    this.#accounts.update(this.#keys);
    for (const listener of this.#listeners) listener();
  }
}
