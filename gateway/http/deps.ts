// Owns: what the HTTP door is given by the gateway that builds it.

import type { FastifyPluginAsync } from "fastify";
import type { Edge } from "#core/edge/edge.ts";
import type { Fleet } from "#core/fleet/fleet.ts";
import type { PeerDirectory } from "#core/fleet/peers.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import type { SlotReport } from "#core/runtime/parent.ts";
import type { Config } from "#core/runtime/settings.ts";
import type { DescribeTopicResponse } from "#proto/earshot/internal/v1/router_pb.ts";
import type { Killer } from "./page/killer.ts";
import type { PresenceTracker } from "../presence/presence.ts";

/** What HTTP asks of routers; core/fleet/placer.ts does it. */
interface Placing {
  place(order: PublishOrder): Promise<PublishResult>;
  describe(topicId: string): Promise<DescribeTopicResponse>;
  /** Subscriptions of each id, in the order asked; undefined where no router could be asked. */
  countSubscriptions(topicIds: readonly string[]): Promise<readonly (number | undefined)[] | undefined>;
}

export interface HttpDeps {
  readonly edge: Edge;
  readonly placer: Placing;
  readonly fleet: Fleet;
  readonly presence: PresenceTracker;
  readonly config: Pick<Config, "allowedOrigins" | "trustedProxies" | "anonymous">;
  readonly log: Log;
  readonly registry: Registry;
  readonly incarnation: string;
  /** The SSE routes (gateway/sse): `GET .../subscribe`. They judge their own callers. */
  readonly sseRoutes: FastifyPluginAsync;
  /** Standalone mode: who else runs on this machine, for `/api/v1/status`. Absent elsewhere, and so is that route. */
  readonly peers?: Pick<PeerDirectory, "list">;
  /** How the places of those processes do, as their supervisor sees it; undefined where there is none. */
  readonly slots?: () => Promise<readonly SlotReport[] | undefined>;
  /** Where a supervisor is: kills routers for the page. Absent elsewhere, and so is that route. */
  readonly killer?: Killer;
  /** Whether this gateway is going away: answers then ask the client to open its next connection elsewhere. */
  readonly draining?: () => boolean;
}
