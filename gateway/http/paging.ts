// Owns: `limit` and `cursor` of a list. Pure.

import { EarshotError } from "#core/runtime/errors.ts";

const LIMIT_DEFAULT = 100;

/** Entries of one page: what a browser lays out, and a frame of some 200 KiB. */
const LIMIT_MAX = 1_000;

/** Characters of a cursor: longer than any that was handed out. */
const CURSOR_LENGTH_MAX = 1_024;

export interface Paging {
  readonly limit: number;
  readonly cursor: string | undefined;
}

/** Reads a query string. Throws invalid_request. */
export function readPaging(query: unknown): Paging {
  const { limit, cursor } = query as Record<string, unknown>;
  return { limit: limit === undefined ? LIMIT_DEFAULT : readLimit(limit), cursor: readCursor(cursor) };
}

function readLimit(limit: unknown): number {
  const value = typeof limit === "string" && /^\d{1,4}$/.test(limit) ? Number(limit) : 0;
  if (value >= 1 && value <= LIMIT_MAX) return value;
  throw new EarshotError("invalid_request", `limit must be a whole number from 1 to ${LIMIT_MAX}`, { field: "limit" });
}

function readCursor(cursor: unknown): string | undefined {
  if (cursor === undefined || cursor === "") return undefined;
  if (typeof cursor === "string" && cursor.length <= CURSOR_LENGTH_MAX) return cursor;
  throw new EarshotError("invalid_request", "cursor must be the next_cursor of the page before", { field: "cursor" });
}
