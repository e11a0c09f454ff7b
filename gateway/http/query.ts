// Owns: single texts in a query string. Pure.

import { EarshotError } from "#core/runtime/errors.ts";

/** A parameter that may stand once; absent and empty are undefined. Throws invalid_request. */
export function queryText(query: unknown, name: string, lengthMax: number): string | undefined {
  const value = (query as Record<string, unknown> | null | undefined)?.[name];
  if (value === undefined || value === "") return undefined;
  if (typeof value === "string" && value.length <= lengthMax) return value;
  throw new EarshotError("invalid_request", `${name} must stand once, with at most ${lengthMax} characters`, {
    field: name,
  });
}
