// Owns: who is here, kept from presence frames as docs/protocol.md says: a whole list replaces everything, changes go into
// a set. Pure.

import type { PresenceFrame } from "./frames.ts";

export interface Here {
  /** Undefined: the Topic does not tell users, or nothing was told yet. */
  readonly count: number | undefined;
  readonly connections: number | undefined;
  readonly stale: boolean;
  /** User ids with the `info` of their tokens. May be fewer than `count`. */
  readonly members: ReadonlyMap<string, unknown>;
}

export const NOBODY: Here = { count: undefined, connections: undefined, stale: false, members: new Map() };

export function changed(here: Here, frame: PresenceFrame): Here {
  const members = new Map(frame.subscribers === undefined ? here.members : []);
  for (const { user_id, info } of frame.subscribers ?? []) members.set(user_id, info);
  for (const { user_id, info } of frame.joined ?? []) members.set(user_id, info);
  for (const { user_id } of frame.left ?? []) members.delete(user_id);
  return {
    count: frame.count ?? here.count,
    connections: frame.connections ?? here.connections,
    stale: frame.stale === true,
    members,
  };
}

/** How many there are, in words. */
export function countedHere({ count, connections }: Here): string {
  if (connections === undefined && count === undefined) return "not known yet";
  const inAll = connections === undefined ? "" : counted(connections, "connection");
  return count === undefined ? inAll : [counted(count, "user"), inAll].filter((part) => part !== "").join(", ");
}

function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
