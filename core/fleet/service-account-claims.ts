// Owns: what the claims of a Kubernetes ServiceAccount token say (the API server's own: `kubernetes.io`), and that they
// agree with its subject. Called with claims whose signature is already proven. Pure.

import { type JsonFields, readJsonObject } from "../domain/json-text.ts";
import { EarshotError } from "../runtime/errors.ts";
import { expired, readAudience, readTimes } from "../runtime/jwt-claims.ts";

/**
 * Seconds that a token's `nbf` may lie ahead, as for Kubernetes itself: a pod shows its token at once, and the clocks of
 * its node, of this one and of the API server differ.
 */
const NOT_BEFORE_TOLERANCE_S = 60;

export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

/** The name that Kubernetes gives a ServiceAccount among users. */
export function serviceAccountUser({ namespace, name }: Pick<ServiceAccount, "namespace" | "name">): string {
  return `system:serviceaccount:${namespace}:${name}`;
}

/** Throws unauthenticated with the claim's name, or token_expired. */
export function serviceAccountOf(claims: Uint8Array, audience: string, nowMs: number): ServiceAccount {
  const read = readJsonObject(claims, (fields: JsonFields): ServiceAccount => {
    fields.ignoreOthers();
    const subject = fields.string("sub");
    const expiresAtMs = readTimes(fields, nowMs, NOT_BEFORE_TOLERANCE_S);
    readAudience(fields, [audience]);
    const account = fields.optionalObject("kubernetes.io", readBinding);
    if (account === undefined) fields.fail("kubernetes.io", "is missing");
    if (subject !== serviceAccountUser(account))
      fields.fail("sub", "must be the service account that kubernetes.io names");
    if (expiresAtMs <= nowMs) throw expired(expiresAtMs, nowMs);
    return { ...account, expiresAtMs };
  });
  if (read.ok) return read.value;
  throw new EarshotError("unauthenticated", `the token is not accepted: ${read.message}`);
}

function readBinding(fields: JsonFields): Pick<ServiceAccount, "namespace" | "name"> {
  fields.ignoreOthers();
  const namespace = fields.string("namespace");
  const name = fields.optionalObject("serviceaccount", (account) => {
    account.ignoreOthers();
    return account.string("name");
  });
  if (name === undefined) fields.fail("serviceaccount", "is missing");
  if (namespace === "" || name === "") fields.fail("serviceaccount", "must name a namespace and a service account");
  return { namespace, name };
}
