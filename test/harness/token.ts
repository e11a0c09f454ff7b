// Owns: tokens for tests, signed by hand (RFC 7519, HS256), good ones and, by what is overridden, bad ones.

import { createHmac } from "node:crypto";
import { TEST_SECRET } from "./fleet.ts";

export interface TokenClaims {
  readonly sub?: string;
  readonly groups?: readonly string[];
  /** Seconds since the epoch; default: in an hour. */
  readonly exp?: number;
  readonly [claim: string]: unknown;
}

export function signToken(
  claims: TokenClaims,
  secret: string = TEST_SECRET,
  header: object = { alg: "HS256" },
): string {
  const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const whole = { aud: "earshot", exp: Math.floor(Date.now() / 1000) + 3_600, ...claims };
  const signed = `${base64url({ typ: "JWT", ...header })}.${base64url(whole)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
