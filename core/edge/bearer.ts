// Owns: taking the token out of an Authorization header or metadata value (RFC 6750, section 2.1).

import { EarshotError } from "../runtime/errors.ts";

const BEARER = /^Bearer +([^\s]+) *$/i;

/** The token; undefined where there is no header. Throws unauthenticated for any other scheme or shape. */
export function bearerToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization === "") return undefined;
  const token = BEARER.exec(authorization)?.[1];
  if (token === undefined) throw new EarshotError("unauthenticated", "authorization must be Bearer <token>");
  return token;
}
