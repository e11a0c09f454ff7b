// Owns: subscriptions as Redis holds them, both ways: their name within a holder's, their text, their place as a cursor.
// Pure. What comes back was written by a gateway, maybe of another version: an entry that cannot be read is left out.

import type { PresenceEntry, PresenceOperation } from "../presence.ts";

/** Digits of each number in a place (topic-scripts.ts). */
const PLACE_DIGITS = 16;

/** Arguments of one operation for APPLY. */
export function argumentsOf({ kind, entry }: PresenceOperation): string[] {
  return kind === "join" ? ["+", nameOf(entry), entry.userId, textOf(entry)] : ["-", nameOf(entry), entry.userId, ""];
}

/** A connection may become another user's, while its subscriptions live on. */
function nameOf({ connectionId, subscriptionId, userId }: PresenceEntry): string {
  return `${connectionId} ${subscriptionId} ${userId}`;
}

function textOf({ userId, connectionId, subscriptionId, subscribedAtMs, info }: PresenceEntry): string {
  return JSON.stringify([userId, connectionId, subscriptionId, subscribedAtMs, ...(info === undefined ? [] : [info])]);
}

export function parseEntry(topicId: string, text: string): PresenceEntry | undefined {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(fields)) return undefined;
  const [userId, connectionId, subscriptionId, subscribedAtMs, info] = fields as unknown[];
  if (typeof userId !== "string" || typeof connectionId !== "string" || typeof subscriptionId !== "string")
    return undefined;
  if (typeof subscribedAtMs !== "number" || (info !== undefined && typeof info !== "string")) return undefined;
  return { topicId, userId, info, connectionId, subscriptionId, subscribedAtMs };
}

export function placeOf({ user, entry }: { readonly user: number; readonly entry: number }): string {
  return `${String(user).padStart(PLACE_DIGITS, "0")}.${String(entry).padStart(PLACE_DIGITS, "0")}`;
}

export function positionOf(place: string): { user: number; entry: number } {
  const [user = "", entry = ""] = place.split(".");
  return { user: Number(user), entry: Number(entry) };
}
