// Owns: cursors of member lists: where a page ended, as an opaque text. Pure. A cursor stays good while users come and
// go: it names a place in the order in which users came, not a user.

import { EarshotError } from "#core/runtime/errors.ts";

/** Bytes of one page, about: half of what a connection may have unsent, so that a first presence frame always fits. */
export const PAGE_BYTES_MAX = 512 * 1024;

export interface PagePosition {
  /** Ordinal of the last user that was listed. */
  readonly user: number;
  /** Ordinal of that user's last subscription that was listed. */
  readonly entry: number;
}

export function renderCursor({ user, entry }: PagePosition): string {
  return Buffer.from(`${user}.${entry}`).toString("base64url");
}

/** Throws invalid_request when it is none of ours. */
export function parseCursor(cursor: string): PagePosition {
  const match = /^(\d{1,15})\.(\d{1,15})$/.exec(Buffer.from(cursor, "base64url").toString("latin1"));
  if (match === null) {
    throw new EarshotError("invalid_request", "cursor must be the next_cursor of the page before", { field: "cursor" });
  }
  return { user: Number(match[1]), entry: Number(match[2]) };
}
