// Owns: putting a gateway's presence together: the tracker, and the store that it reaches, which is Redis where settings
// name one, otherwise the presence process of this machine. Called once by gateway/main.ts, which closes it after its
// sessions.

import type { PeerDirectory } from "#core/fleet/peers.ts";
import type { PublishResult } from "#core/fleet/publish-order.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import { redisTargetOf } from "#core/runtime/redis-target.ts";
import type { Config } from "#core/runtime/settings.ts";
import type { PresenceOrder } from "./changes.ts";
import type { PresenceStore, PresenceTracker } from "./presence.ts";
import { RemotePresenceStore } from "./remote-store.ts";
import { StoreTracker } from "./tracker.ts";

interface PresenceOptions {
  readonly config: Config;
  /** Still the caller's: closing presence does not close it. */
  readonly peers: PeerDirectory;
  readonly identity: PeerIdentity;
  readonly placer: { place(order: PresenceOrder): Promise<PublishResult> };
  /** Of this gateway. */
  readonly incarnation: string;
  readonly log: Log;
  readonly registry: Registry;
}

/** Rejects with a ConfigError where what is said of Redis cannot be used. */
export async function createPresence(options: PresenceOptions): Promise<PresenceTracker> {
  const { placer, incarnation, log, registry } = options;
  const store = await createStore(options);
  return new StoreTracker({ store, place: (order) => placer.place(order), incarnation, log, registry });
}

async function createStore({ config, peers, identity, log, registry }: PresenceOptions): Promise<PresenceStore> {
  const target = redisTargetOf(config);
  if (target === undefined) return new RemotePresenceStore(peers, identity);
  // ioredis takes some 50 ms to load, which standalone mode need not wait for.
  const { RedisPresenceStore } = await import("./redis/redis-store.ts");
  return new RedisPresenceStore({ target, clock: SYSTEM_CLOCK, log, registry });
}
