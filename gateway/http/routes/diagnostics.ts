// Owns: answers for whoever asks why: the way of a topic (`route`), and in standalone mode the processes (`status`).

import type { FastifyInstance } from "fastify";
import { EarshotError } from "#core/runtime/errors.ts";
import type { HttpDeps } from "../deps.ts";
import { statusSeen } from "../status-view.ts";
import { routeSeen } from "../views.ts";

const ROLES = ["operator", "router", "gateway", "presence"] as const;

export function diagnosticRoutes(app: FastifyInstance, { edge, placer, fleet, peers, slots, config }: HttpDeps): void {
  app.get<{ Params: { topicId: string } }>("/api/v1/topics/:topicId/route", async (request) => {
    const { topicId } = edge.authorize("manage", request.caller.principal, request.params.topicId);
    return routeSeen(topicId.id, fleet.map, await placer.describe(topicId.id));
  });

  if (peers === undefined) return;
  app.get("/api/v1/status", async (request) => {
    if (request.caller.principal.kind === "anonymous" && !config.anonymous) {
      throw new EarshotError("unauthenticated", "a token is needed for this");
    }
    const live = ROLES.flatMap((role) => peers.list(role));
    return statusSeen({ fleet, peers: live, slots: await slots?.() });
  });
}
