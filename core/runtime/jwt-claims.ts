// Owns: the claims that every token must have, whoever made it: for whom it is, from when, until when. Pure.

import type { JsonFields } from "../domain/json-text.ts";
import { EarshotError } from "./errors.ts";

/** Seconds that a token's `nbf` may lie ahead of our clock. `exp` has no such grace: it ends when it says. */
const NOT_BEFORE_TOLERANCE_S = 5;

/** Last second of the year 9999: beyond it a time is no date, and mostly one in milliseconds. */
const EXPIRY_MAX_S = 253_402_300_799;

/** Audiences in one token; no issuer has so many. */
const AUDIENCES_MAX = 64;

/** Checks `nbf`; returns when the token ends, in milliseconds, which may be past. */
export function readTimes(fields: JsonFields, nowMs: number, toleranceS = NOT_BEFORE_TOLERANCE_S): number {
  const expiresAt = fields.optionalNumber("exp");
  if (expiresAt === undefined) fields.fail("exp", "is missing");
  if (!(expiresAt >= 0 && expiresAt <= EXPIRY_MAX_S)) fields.fail("exp", "must be a time in seconds since 1970");
  const notBefore = fields.optionalNumber("nbf");
  if (notBefore !== undefined && (notBefore - toleranceS) * 1000 > nowMs) {
    const aheadS = Math.ceil(notBefore - nowMs / 1000);
    fields.fail(
      "nbf",
      `lies ${aheadS} s ahead of this server's clock (${clockText(nowMs)}), more than ${toleranceS} s`,
    );
  }
  return Math.floor(expiresAt * 1000);
}

/** Checks that `aud` names one of them. */
export function readAudience(fields: JsonFields, audiences: readonly string[]): void {
  const kind = fields.kind("aud");
  const named = kind === "array" ? fields.optionalStrings("aud", AUDIENCES_MAX) : [fields.string("aud")];
  if (!audiences.some((audience) => named?.includes(audience))) {
    fields.fail("aud", `must name ${audiences.join(" or ")}`);
  }
}

/** A token that is over. Says by whose clock, so that whoever's is wrong can be found. */
export function expired(expiresAtMs: number, nowMs: number): EarshotError {
  const agoS = Math.floor((nowMs - expiresAtMs) / 1000);
  const sentence = `the token expired ${agoS} s ago by this server's clock (${clockText(nowMs)})`;
  return new EarshotError("token_expired", sentence);
}

function clockText(nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(0, 19)}Z`;
}
