// Owns: pages of member lists, and their cursors: where a page ended, as an opaque text. Pure. A cursor stays good while users come and
// go: it names a place in the order in which users came, not a user.

import { EarshotError } from "#core/runtime/errors.ts";
import type { PresenceEntry } from "./presence.ts";

/**
 * Bytes of one page, about: 1,000 members with a name each, or 60 with the longest info. A quarter of the control frames
 * that a connection may have unsent; a crowd that subscribes at once is written as many of these in one turn.
 */
export const PAGE_BYTES_MAX = 256 * 1024;

interface PagePosition {
  /** Ordinal of the last user that was listed. */
  readonly user: number;
  /** Ordinal of that user's last subscription that was listed. */
  readonly entry: number;
}

/** A user with their subscriptions, both numbered in the order in which they came. */
interface ListedUser {
  readonly ordinal: number;
  readonly entries: ReadonlyMap<string, { readonly entry: PresenceEntry; readonly ordinal: number }>;
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

/** Subscriptions of `limit` users at most, and of no more than PAGE_BYTES_MAX, behind a position. */
export function pageOf(users: ReadonlyMap<string, ListedUser>, limit: number, from: PagePosition | undefined) {
  const page: PresenceEntry[] = [];
  let listed = 0;
  let bytes = 0;
  let last: PagePosition | undefined;
  for (const user of users.values()) {
    if (from !== undefined && user.ordinal < from.user) continue;
    const resumed = user.ordinal === from?.user ? from.entry : 0;
    let counted = false;
    for (const { entry, ordinal } of user.entries.values()) {
      if (ordinal <= resumed) continue;
      if (!counted && listed === limit) return { page, next: last };
      bytes += bytesOf(entry);
      if (bytes > PAGE_BYTES_MAX && page.length > 0) return { page, next: last };
      if (!counted) listed += 1;
      counted = true;
      page.push(entry);
      last = { user: user.ordinal, entry: ordinal };
    }
  }
  return { page, next: undefined };
}

/** About the bytes of an entry, also as JSON; texts outside ASCII count less than they take, which the cap bears. */
export function bytesOf(entry: PresenceEntry): number {
  return entry.userId.length + (entry.info?.length ?? 0) + entry.connectionId.length + 128;
}
