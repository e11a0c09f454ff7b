// Owns: what the page's "Kill a router" button asks for: the router that carries the page's topic is killed, so that its
// user sees what becomes of messages. There where a supervisor is (standalone mode), which does it and has the last word.
// It is no part of the API: not in the OpenAPI document, and only the page itself may ask (local-only.ts).

import type { FastifyInstance, FastifyRequest } from "fastify";
import { ownersOf, type ShardOwners } from "#core/domain/shard-map.ts";
import { parseTopicId } from "#core/domain/topic-id.ts";
import type { PeerEndpoint } from "#core/fleet/peers.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { readFields } from "../body.ts";
import type { HttpDeps } from "../deps.ts";
import { PROBLEM_TYPE, protocolProblem } from "../problem.ts";
import { foreignness } from "./local-only.ts";

export const KILL_PATH = "/api/v1/standalone/kill-router";

/** Bytes of a body: one topic id. */
const BODY_BYTES_MAX = 1024;

const ONLY_ONE =
  "only one router carries this topic now: killed, it would take the topic along; wait for the other one";

export function killRoutes(app: FastifyInstance, { killer, peers, fleet, config, log }: HttpDeps): void {
  if (killer === undefined || peers === undefined) return;
  const options = { config: { sameOriginOnly: true, bodyBytesMax: BODY_BYTES_MAX } };
  const guard = async (request: FastifyRequest): Promise<void> => {
    const { caller, headers, socket } = request;
    const why = foreignness({ remoteAddress: socket.remoteAddress, headers }, killer.nonce);
    if (why !== undefined) throw new EarshotError("forbidden", why);
    if (caller.principal.kind === "anonymous" && !config.anonymous) {
      throw new EarshotError("unauthenticated", "a token is needed for this");
    }
  };
  // A preflight finds the route, and by its config nothing that would let another origin in.
  app.options(KILL_PATH, options, async () => undefined);
  app.post(KILL_PATH, { ...options, onRequest: guard }, async (request, reply) => {
    const topicId = readFields(request.body, (fields) => fields.string("topic_id"));
    const parsed = parseTopicId(topicId);
    if (!parsed.ok) throw new EarshotError("topic_id_invalid", parsed.reason);
    const router = routerToKill(ownersOf(fleet.map, topicId), peers.list("router"));
    const outcome = router === undefined ? "only_one" : await killer.kill(router.pid);
    log.warn({ router: router?.name, outcome }, "the page asked for a router to be killed");
    switch (outcome) {
      case "killed":
        return { name: router?.name, incarnation: router?.incarnation, pid: router?.pid };
      case "too_soon":
        throw new EarshotError("rate_limited", "one router in two seconds may be killed; try again in a moment");
      case "only_one": {
        const { status, body } = protocolProblem(409, ONLY_ONE);
        return reply.code(status).type(PROBLEM_TYPE).serializer(String).send(body);
      }
      case "no_answer":
        throw new EarshotError("control_plane_unavailable", "the supervisor does not answer");
    }
  });
}

/** The one that carries the topic, where another one stands by for it. Pure. */
export function routerToKill(owners: ShardOwners, alive: readonly PeerEndpoint[]): PeerEndpoint | undefined {
  const carrying = owners.flatMap(({ incarnation }) => alive.filter((peer) => peer.incarnation === incarnation));
  return carrying.length > 1 ? carrying[0] : undefined;
}
