// Owns: putting a gateway's presence together in standalone mode: the tracker, and the store that it reaches in the
// presence process. Called once by gateway/main.ts, which closes it after its sessions.

import type { PeerDirectory } from "#core/fleet/peers.ts";
import type { PublishResult } from "#core/fleet/publish-order.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import type { PresenceOrder } from "./changes.ts";
import type { PresenceTracker } from "./presence.ts";
import { RemotePresenceStore } from "./remote-store.ts";
import { StoreTracker } from "./tracker.ts";

interface PresenceOptions {
  /** Still the caller's: closing presence does not close it. */
  readonly peers: PeerDirectory;
  readonly peerSecret: string;
  readonly placer: { place(order: PresenceOrder): Promise<PublishResult> };
  /** Of this gateway. */
  readonly incarnation: string;
  readonly log: Log;
  readonly registry: Registry;
}

export function createPresence(options: PresenceOptions): PresenceTracker {
  const { peers, peerSecret, placer, incarnation, log, registry } = options;
  const store = new RemotePresenceStore(peers, peerSecret);
  return new StoreTracker({ store, place: (order) => placer.place(order), incarnation, log, registry });
}
