// Owns: an edge's way to real routers for tests: the placer of every edge, fed with maps by hand.

import type { Router } from "#core/domain/shard-map.ts";
import { Placer } from "#core/fleet/placer.ts";
import type { PublishOrder } from "#core/fleet/publish-order.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { HandMap } from "./hand-map.ts";
import { PEER_SECRET } from "./router-rig.ts";

type MessageOrder = Extract<PublishOrder, { kind: "message" }>;

export function messageOrder(topicId: string, payload: unknown, parts: Partial<MessageOrder> = {}): MessageOrder {
  return {
    kind: "message",
    topicId,
    payload: Buffer.from(JSON.stringify(payload)),
    binary: false,
    publisherId: "bob",
    priority: undefined,
    receipt: "router",
    originConnectionId: "",
    excludeConnectionId: "",
    ...parts,
  };
}

export class RouterPublisher {
  readonly hand = new HandMap();
  readonly placer: Placer;

  constructor(owners: readonly Router[]) {
    this.placer = new Placer({
      fleet: this.hand,
      log: createLog("silent", {}),
      clock: SYSTEM_CLOCK,
      incarnation: "edge",
      name: "edge-0",
      identity: secretIdentity(PEER_SECRET),
      registry: createRegistry("gateway"),
    });
    this.hand.set(owners);
  }

  close(): Promise<void> {
    return this.placer.close();
  }
}
