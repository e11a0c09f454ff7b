// Owns: what HTTP says of a topic's subscriptions: ending the caller's own, wherever they are, and who is there.
// Elsewhere: the streams themselves (gateway/sse, gateway/websocket), the member lists (gateway/presence).

import type { FastifyInstance } from "fastify";
import type { Caller, Granted } from "#core/edge/edge.ts";
import type { Eviction } from "#core/fleet/publish-order.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { HttpDeps } from "../deps.ts";
import { readPaging } from "../paging.ts";
import { queryText } from "../query.ts";
import { subscribersText } from "../views.ts";

interface WithTopicId {
  Params: { topicId: string };
}

/** Characters of an id or key in a query: none of ours is longer. */
const ID_LENGTH_MAX = 128;

/** Characters of a user id in a query: no token has a longer one (core/edge/claims.ts), but for ServiceAccounts'. */
const USER_ID_LENGTH_MAX = 512;

export function subscriptionRoutes(app: FastifyInstance, deps: HttpDeps): void {
  app.delete<WithTopicId>("/api/v1/topics/:topicId/subscribe", async (request) => {
    const userId = queryText(request.query, "user_id", USER_ID_LENGTH_MAX);
    const action = userId === undefined ? "subscribe" : "manage";
    const { topicId } = deps.edge.authorize(action, request.caller.principal, request.params.topicId);
    const eviction = readEviction(request.caller, request.query, userId);
    const { deliveredTo } = await deps.placer.place({ kind: "evict", topicId: topicId.id, eviction });
    return { success: deliveredTo > 0 };
  });

  app.get<WithTopicId>("/api/v1/topics/:topicId/subscribers", async (request, reply) => {
    const { topicId } = mayListMembers(deps, request.caller, request.params.topicId);
    const { limit, cursor } = readPaging(request.query);
    if (!deps.presence.available) throw new EarshotError("presence_unavailable", "this installation keeps no members");
    const [snapshot, counts] = await Promise.all([
      deps.presence.snapshot(topicId.id, limit, cursor),
      deps.placer.countSubscriptions([topicId.id]),
    ]);
    if (snapshot.page === undefined) throw new EarshotError("presence_unavailable");
    reply.type("application/json; charset=utf-8").serializer(String);
    return subscribersText(snapshot.page, counts?.[0], snapshot.stale);
  });
}

/**
 * Whose subscriptions a call ends: another user's, those of the connection whose secret it gives, or the caller's own.
 */
function readEviction({ principal }: Caller, query: unknown, userId: string | undefined): Eviction {
  const connectionId = queryText(query, "connection_id", ID_LENGTH_MAX);
  if (userId !== undefined) return { target: { userId, connectionId }, reason: "removed" };
  const connectionKey = queryText(query, "connection_key", ID_LENGTH_MAX);
  if (connectionKey !== undefined) return { target: { connectionKey }, reason: "requested" };
  if (principal.kind !== "anonymous") {
    return { target: { userId: principal.userId, connectionId }, reason: "requested" };
  }
  throw new EarshotError(
    "unauthenticated",
    "without a token, the connection_key of the connection's welcome is needed to end its subscriptions",
  );
}

/**
 * Who may subscribe to a topic or manage it may see its members. A Topic that keeps none says so to everybody who sees
 * it at all.
 */
function mayListMembers({ edge }: HttpDeps, { principal }: Caller, id: string): Granted {
  let refused: unknown;
  for (const action of ["subscribe", "manage", "publish"] as const) {
    try {
      const granted = edge.authorize(action, principal, id);
      if (granted.topic.policy.presence !== "Members") throw new EarshotError("presence_not_kept");
      if (action !== "publish") return granted;
    } catch (error) {
      if (!isLackOfRight(error)) throw error;
      refused ??= error;
    }
  }
  throw refused;
}

function isLackOfRight(error: unknown): boolean {
  return error instanceof EarshotError && (error.code === "forbidden" || error.code === "unauthenticated");
}
