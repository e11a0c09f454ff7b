// Owns: who an HTTP call comes from: its token (header first, `?token=` for browsers), its principal, its address, and
// an id for a call that has no connection. Counts the call against the caller's buckets. SSE and the WebSocket upgrade
// use tokenOf and clientAddress too, but judge later than here. Invariant: a token is never kept, logged or answered.

import type { BlockList } from "node:net";
import type { FastifyRequest } from "fastify";
import { ANONYMOUS } from "#core/domain/principal.ts";
import { bearerToken } from "#core/edge/bearer.ts";
import type { Caller, Edge } from "#core/edge/edge.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { clientAddress } from "./client-address.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Who calls; set on every API route before its body is read. */
    caller: Caller;
  }
}

interface IdentifyDeps {
  readonly edge: Edge;
  readonly trusted: BlockList;
  /** Of this gateway: its first characters begin every id of a call. */
  readonly incarnation: string;
}

/** The token of a request, or undefined. Throws unauthenticated where Authorization is there and is no Bearer token. */
export function tokenOf(authorization: string | undefined, query: unknown): string | undefined {
  if (authorization !== undefined) return bearerToken(authorization);
  const token = (query as Record<string, unknown> | null | undefined)?.["token"];
  if (token === undefined || token === "") return undefined;
  if (typeof token !== "string") throw new EarshotError("unauthenticated", "token must stand once in the query");
  return token;
}

/** Whether a request tried to say who it is. */
export function sentToken(request: FastifyRequest): boolean {
  const query = request.query as Record<string, unknown> | null | undefined;
  return request.headers.authorization !== undefined || (query?.["token"] ?? "") !== "";
}

/** Makes the function that proves and counts a caller. It throws unauthenticated, token_expired, rate_limited. */
export function createIdentify({ edge, trusted, incarnation }: IdentifyDeps) {
  let calls = 0;
  return async (request: FastifyRequest): Promise<Caller> => {
    const address = clientAddress(request.socket.remoteAddress, request.headers["x-forwarded-for"], trusted);
    calls += 1;
    // An `h` is no hex digit: never the id of a connection.
    const connectionId = `${incarnation.slice(0, 6)}-h${calls.toString(16)}`;
    try {
      const principal = await edge.authenticate(tokenOf(request.headers.authorization, request.query), address);
      const caller: Caller = { principal, address, connectionId, door: "http" };
      edge.admitCall(caller);
      return caller;
    } catch (error) {
      // Guessing tokens is counted too, against the address.
      if (error instanceof EarshotError && error.code !== "rate_limited") {
        edge.admitCall({ principal: ANONYMOUS, address, connectionId, door: "http" });
      }
      throw error;
    }
  };
}
