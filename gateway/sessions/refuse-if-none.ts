// Owns: what streams with a status (SSE, gRPC) ask before they begin: whether any of their topics can be had at all.
// Elsewhere: each topic by itself, once the stream is there (subscribing.ts).

import type { Principal } from "#core/domain/principal.ts";
import type { Edge } from "#core/edge/edge.ts";

/** Throws the first topic's refusal when every one is refused. */
export function refuseIfNone(edge: Pick<Edge, "authorize">, principal: Principal, topicIds: readonly string[]): void {
  let refused: unknown;
  for (const topicId of topicIds) {
    try {
      edge.authorize("subscribe", principal, topicId);
      return;
    } catch (error) {
      refused ??= error;
    }
  }
  throw refused;
}
