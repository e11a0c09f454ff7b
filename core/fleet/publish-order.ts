// Owns: the shape of one publish between the edge where it entered and the router that sequences it, and of what comes
// back. Made by core/edge/publish.ts and the gateway's presence; carried by core/fleet/placer.ts; done by router/sequencer.

import type { DropReason } from "../domain/codes.ts";
import type { Priority } from "../domain/topic.ts";

export interface PresenceMember {
  readonly userId: string;
  /** JSON text, or undefined. */
  readonly info: string | undefined;
}

/** What changed in a topic's member list, as the presence store decided it. */
export interface PresenceUpdate {
  /** Users after the change. */
  readonly count: number;
  /** Grows with every change of this topic's list. */
  readonly version: number;
  readonly joined: readonly PresenceMember[];
  readonly left: readonly PresenceMember[];
}

/** Whose subscriptions to end. Exactly one of the three names them. */
export type EvictionTarget =
  | { readonly userId: string; readonly connectionId: string | undefined }
  | { readonly connectionKey: string };

export interface Eviction {
  readonly target: EvictionTarget;
  readonly reason: "requested" | "removed";
}

interface OrderCommon {
  readonly topicId: string;
}

export type PublishOrder =
  | (OrderCommon & {
      readonly kind: "message";
      /** One JSON value as UTF-8 without line ends; or any bytes when `binary`. Never changed after it was given. */
      readonly payload: Uint8Array;
      readonly binary: boolean;
      readonly publisherId: string;
      /** Undefined: the Topic's own. */
      readonly priority: Priority | undefined;
      readonly receipt: "router" | "gateway";
      /** Connection it came from, for subscriptions with `echo: false`; empty: none. */
      readonly originConnectionId: string;
      /** Connection that shall not hear it; empty: none. */
      readonly excludeConnectionId: string;
    })
  | (OrderCommon & { readonly kind: "presence"; readonly update: PresenceUpdate })
  | (OrderCommon & { readonly kind: "evict"; readonly eviction: Eviction });

/** What became of a publish that a router took. Failures are EarshotErrors. */
export interface PublishResult {
  /** `<router incarnation>-<sequence>`; empty for presence and evictions. */
  readonly messageId: string;
  readonly deliveredTo: number;
  readonly exact: boolean;
  readonly dropped: boolean;
  readonly reason: DropReason | undefined;
  /** With receipt "gateway": subscriptions not delivered to, by reason; else empty. */
  readonly notDelivered: Readonly<Record<string, number>>;
}
