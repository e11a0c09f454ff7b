// Owns: who makes a gRPC call: the token in its metadata, the address it comes from. Every public service asks here
// first, once a call or stream.

import { randomBytes } from "node:crypto";
import type { Metadata } from "../runtime/grpc.ts";
import { EarshotError } from "../runtime/errors.ts";
import { bearerToken } from "./bearer.ts";
import type { Caller, Edge } from "./edge.ts";
import { limitAddress } from "./limit-address.ts";

/** Proves and admits a caller. Throws unauthenticated, token_expired, rate_limited, overloaded. */
export async function admitCaller(
  edge: Pick<Edge, "authenticate" | "admitCall">,
  call: { readonly metadata: Metadata; readonly peer: string },
): Promise<Caller> {
  const address = addressOf(call.peer);
  const principal = await edge.authenticate(tokenOf(call.metadata), address);
  const caller: Caller = { principal, address, connectionId: newCallId(), door: "grpc" };
  edge.admitCall(caller);
  return caller;
}

function tokenOf(metadata: Metadata): string | undefined {
  const values = metadata.get("authorization");
  const [value] = values;
  if (values.length > 1 || Buffer.isBuffer(value)) {
    throw new EarshotError("unauthenticated", "authorization must be given once, as Bearer <token>");
  }
  return bearerToken(value);
}

/** Random once a process: a random number a call is a tenth of what an empty call costs. */
const CALL_ID_PREFIX = randomBytes(6).toString("base64url");
let calls = 0;

/** The id that stands for an anonymous caller of one call (`anonymous:<id>`). */
function newCallId(): string {
  calls += 1;
  return `${CALL_ID_PREFIX}-${calls.toString(36)}`;
}

/** What the address of a `host:port` counts as. */
export function addressOf(peer: string): string {
  const colon = peer.lastIndexOf(":");
  return limitAddress(colon < 0 ? peer : peer.slice(0, colon));
}
