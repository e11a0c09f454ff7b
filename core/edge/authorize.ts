// Owns: the step from a topic id as somebody wrote it to the Topic that governs it, with the caller's right to it.

import { type AccessRules, type Action, may, refusal } from "../domain/access.ts";
import type { Principal } from "../domain/principal.ts";
import type { Topic } from "../domain/topic.ts";
import { parseTopicId, type TopicId } from "../domain/topic-id.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { EarshotError } from "../runtime/errors.ts";
import type { Granted } from "./edge.ts";

const SEEING: readonly Action[] = ["subscribe", "publish", "manage"];

/** Throws topic_id_invalid, topic_not_found, unauthenticated, forbidden. */
export function grant(
  action: Action,
  principal: Principal,
  id: string,
  context: { readonly fleet: Pick<Fleet, "topic">; readonly rules: AccessRules },
): Granted {
  const topicId = parsedTopicId(id);
  const topic = governing(context.fleet, topicId);
  const code = refusal(action, principal, topic, topicId, context.rules);
  if (code !== undefined) throw new EarshotError(code, messageFor(code, action));
  // refusal() refuses an undefined topic.
  return { topicId, topic: topic as Topic };
}

/** Throws topic_id_invalid. */
export function parsedTopicId(id: string): TopicId {
  const parsed = parseTopicId(id);
  if (parsed.ok) return parsed.value;
  throw new EarshotError("topic_id_invalid", parsed.reason, { field: "topic_id" });
}

/** The Topic behind an id: a channel has one only where its Topic lets channels be born. */
export function governing(fleet: Pick<Fleet, "topic">, topicId: TopicId): Topic | undefined {
  const topic = fleet.topic(topicId.topic);
  return topicId.channel === undefined || topic?.policy.channels === "Dynamic" ? topic : undefined;
}

/** Whether a principal may do anything at all with a topic: only then does it exist for it. */
export function sees(principal: Principal, topic: Topic, topicId: TopicId, rules: AccessRules): boolean {
  return SEEING.some((action) => may(action, principal, topic, topicId, rules));
}

function messageFor(code: string, action: Action): string | undefined {
  if (code === "forbidden")
    return `you may not ${action} this topic`.replace("publish", "publish to").replace("subscribe", "subscribe to");
  return code === "unauthenticated" ? "a token is needed for this" : undefined;
}
