// Owns: `limit` and `cursor` of a list. Pure.

import { EarshotError } from "#core/runtime/errors.ts";
import { queryText } from "./query.ts";

const LIMIT_DEFAULT = 100;

/** Entries of one page: what a browser lays out, and a frame of some 200 KiB. */
const LIMIT_MAX = 1_000;

/** Characters of a cursor: longer than any that was handed out. */
const CURSOR_LENGTH_MAX = 1_024;

interface Paging {
  readonly limit: number;
  readonly cursor: string | undefined;
}

/** Reads a query string. Throws invalid_request. */
export function readPaging(query: unknown): Paging {
  return { limit: readLimit(queryText(query, "limit", 16)), cursor: queryText(query, "cursor", CURSOR_LENGTH_MAX) };
}

function readLimit(limit: string | undefined): number {
  if (limit === undefined) return LIMIT_DEFAULT;
  const value = /^\d{1,4}$/.test(limit) ? Number(limit) : 0;
  if (value >= 1 && value <= LIMIT_MAX) return value;
  throw new EarshotError("invalid_request", `limit must be a whole number from 1 to ${LIMIT_MAX}`, { field: "limit" });
}
