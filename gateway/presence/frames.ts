// Owns: the JSON text of the first presence frame that a subscription gets, right after `subscribed`. Pure. Called by the
// gateway's sessions. Later frames (joined, left) are built once at the topic's router and only forwarded.
//
// How a session uses it, once for a subscription with `presence: true`, after it has written `subscribed`:
//   presence None      nothing is sent
//   presence Count     presenceFrame(topicId, connections)
//   presence Members   tracker.joined(entry) when the subscription began (whether or not it asked for presence), then
//                      presenceFrame(topicId, connections, await tracker.snapshot(topicId, PRESENCE_PAGE_MAX, undefined))
// `connections` is the total that the router confirmed with the interest (subscribed.count). The snapshot never rejects
// and never takes longer than its deadline (200 ms); frames of the router that come meanwhile are held back by the
// session, as messages are, so that the order is `subscribed`, `presence`, messages. A later frame may say `joined` of
// somebody whom the first one lists already (the list is newer than what was on its way): clients keep a set.

import type { PresenceEntry, PresenceSnapshot } from "./presence.ts";

/**
 * JSON text without line ends: `{"type":"presence","topic_id","count","connections","subscribers":[{user_id,info}],
 * "stale":true}`. Without a snapshot (presence Count): `topic_id` and `connections` alone. `count` and `subscribers` are
 * absent when the store has never answered for this topic; `stale` stands there only when it is true.
 */
export function presenceFrame(topicId: string, connections: number, snapshot?: PresenceSnapshot): string {
  let text = `{"type":"presence","topic_id":${JSON.stringify(topicId)}`;
  const page = snapshot?.page;
  if (page !== undefined) text += `,"count":${page.count}`;
  text += `,"connections":${connections}`;
  if (page !== undefined) text += `,"subscribers":[${membersTextOnce(page.members)}]`;
  if (snapshot?.stale === true) text += `,"stale":true`;
  return `${text}}`;
}

/** The list written last: a crowd that subscribes at once shares a page, whose waiters come one after the other. */
let written: { readonly entries: readonly PresenceEntry[]; readonly text: string } = { entries: [], text: "" };

function membersTextOnce(entries: readonly PresenceEntry[]): string {
  if (written.entries !== entries) written = { entries, text: membersText(entries) };
  return written.text;
}

/** One object a user: a member is a user, not a tab. */
function membersText(entries: readonly PresenceEntry[]): string {
  const seen = new Set<string>();
  let text = "";
  for (const { userId, info } of entries) {
    if (seen.has(userId)) continue;
    seen.add(userId);
    text += `${text === "" ? "" : ","}{"user_id":${JSON.stringify(userId)}${info === undefined ? "" : `,"info":${info}`}}`;
  }
  return text;
}
