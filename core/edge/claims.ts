// Owns: what the claims of a token must look like, and the principal they make. Called with claims whose signature is
// already proven (tokens.ts). Pure. Invariant: nobody becomes somebody whose name Kubernetes or Earshot gives out itself
// (`system:`, `anonymous:`).

import { isPattern, PATTERNS_MAX } from "../domain/capability.ts";
import { type JsonFields, readJsonObject } from "../domain/json-text.ts";
import type { Capabilities, Principal } from "../domain/principal.ts";
import { NO_CAPABILITIES } from "../domain/principal.ts";
import { EarshotError } from "../runtime/errors.ts";
import { expired, readAudience, readTimes } from "../runtime/jwt-claims.ts";

export interface ClaimRules {
  /** `aud` must name one of them. */
  readonly audiences: readonly string[];
  /** Namespaces that the issuer may speak for; undefined: all. */
  readonly namespaces: readonly string[] | undefined;
}

/** Bytes of `earshot.info`: a name and a picture's address, shown to everybody present. */
export const INFO_BYTES_MAX = 4 * 1024;

/** Characters of a user id or group: it goes out with every message its user speaks. */
export const NAME_LENGTH_MAX = 256;

/**
 * The principal that claims (JSON bytes) speak of. Throws unauthenticated with the claim's name, or token_expired.
 */
export function principalOf(claims: Uint8Array, rules: ClaimRules, nowMs: number): Principal {
  const read = readJsonObject(claims, (fields): Principal => {
    fields.ignoreOthers();
    const userId = readUserId(fields);
    const expiresAtMs = readTimes(fields, nowMs);
    readAudience(fields, rules.audiences);
    const groups = readGroups(fields);
    const own = fields.optionalObject("earshot", readEarshot);
    if (expiresAtMs <= nowMs) throw expired(expiresAtMs, nowMs);
    return {
      kind: "user",
      userId,
      groups,
      capabilities: own?.capabilities ?? NO_CAPABILITIES,
      namespaces: rules.namespaces,
      expiresAtMs,
      info: own?.info,
    };
  });
  if (read.ok) return read.value;
  throw new EarshotError("unauthenticated", `the token is not accepted: ${read.message}`);
}

function readUserId(fields: JsonFields): string {
  const userId = fields.string("sub");
  checkName(fields, "sub", userId);
  return userId;
}

function checkName(fields: JsonFields, claim: string, name: string): void {
  if (name === "" || name.length > NAME_LENGTH_MAX) fields.fail(claim, `must have 1 to ${NAME_LENGTH_MAX} characters`);
  if (!name.isWellFormed() || /\p{Cc}/u.test(name)) fields.fail(claim, "must not hold control characters");
  for (const reserved of ["system:", "anonymous:"]) {
    if (name.startsWith(reserved)) fields.fail(claim, `must not begin with ${reserved}`);
  }
}

function readGroups(fields: JsonFields): readonly string[] {
  const groups = fields.optionalStrings("groups", GROUPS_MAX) ?? [];
  for (const [index, group] of groups.entries()) checkName(fields, `groups[${index}]`, group);
  return groups;
}

/** Groups in one token: what large directories hand out, within a token's 16 KiB. */
const GROUPS_MAX = 1_024;

function readEarshot(fields: JsonFields): { capabilities: Capabilities; info: string | undefined } {
  const publish = readPatterns(fields, "publish");
  const subscribe = readPatterns(fields, "subscribe");
  const manage = readPatterns(fields, "manage");
  const info = fields.optionalRaw("info");
  if (info !== undefined && Buffer.byteLength(info) > INFO_BYTES_MAX) {
    fields.fail("info", `has more than ${INFO_BYTES_MAX} bytes`);
  }
  return { capabilities: { publish, subscribe, manage }, info: info === "null" ? undefined : info };
}

function readPatterns(fields: JsonFields, name: "publish" | "subscribe" | "manage"): readonly string[] {
  const patterns = fields.optionalStrings(name, PATTERNS_MAX) ?? [];
  const wrong = patterns.findIndex((pattern) => !isPattern(pattern));
  if (wrong >= 0) fields.fail(`${name}[${wrong}]`, "must be a topic id, the beginning of one with * behind, or *");
  return patterns;
}
