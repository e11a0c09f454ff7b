// Owns: who may publish, subscribe and manage. Pure: a Topic, a topic id, a principal and the installation's rule on
// anonymous access in, a verdict out. Called at every door for every request, and again for live subscriptions when a
// Topic changes. Invariant: who may do nothing at all with a topic cannot tell it from one that is not there.

import { anyMatches } from "./capability.ts";
import type { Code } from "./codes.ts";
import type { Principal } from "./principal.ts";
import type { Subject, Topic } from "./topic.ts";
import type { TopicId } from "./topic-id.ts";

export type Action = "publish" | "subscribe" | "manage";

export interface AccessRules {
  /** Whether principals without a token count as "anyone". */
  readonly anonymousAccess: boolean;
}

/** Whether a principal may do one thing with one topic id of a Topic. */
export function may(action: Action, principal: Principal, topic: Topic, topicId: TopicId, rules: AccessRules): boolean {
  if (!reaches(principal, topicId, rules)) return false;
  if (principal.kind !== "anonymous" && anyMatches(principal.capabilities[action], topicId.id)) return true;
  if (isOwner(principal, topic)) return true;
  switch (action) {
    case "manage":
      return topic.httpManaged && topic.policy.owner === undefined;
    case "publish":
      return anyonePublishes(topic) || listed(topic.policy.publishers, principal, topicId);
    case "subscribe":
      return anyoneSubscribes(topic) || listed(topic.policy.subscribers, principal, topicId);
  }
}

/**
 * The verdict on one action, as a door answers it: undefined when it is allowed. `topic` is undefined when no such
 * Topic is known, or when it has no channels and the id names one.
 */
export function refusal(
  action: Action,
  principal: Principal,
  topic: Topic | undefined,
  topicId: TopicId,
  rules: AccessRules,
): Code | undefined {
  if (topic === undefined) return "topic_not_found";
  if (may(action, principal, topic, topicId, rules)) return undefined;
  const sees = ALL_ACTIONS.some((other) => other !== action && may(other, principal, topic, topicId, rules));
  if (!sees) return "topic_not_found";
  return principal.kind === "anonymous" ? "unauthenticated" : "forbidden";
}

const ALL_ACTIONS: readonly Action[] = ["publish", "subscribe", "manage"];

function reaches(principal: Principal, topicId: TopicId, rules: AccessRules): boolean {
  if (principal.kind === "anonymous") return rules.anonymousAccess;
  return principal.namespaces === undefined || principal.namespaces.includes(topicId.namespace);
}

function isOwner(principal: Principal, topic: Topic): boolean {
  return principal.kind !== "anonymous" && topic.policy.owner !== undefined && topic.policy.owner === principal.userId;
}

function anyonePublishes(topic: Topic): boolean {
  return topic.policy.permissions === "Public" || topic.policy.permissions === "PublishOnly";
}

function anyoneSubscribes(topic: Topic): boolean {
  return topic.policy.permissions === "Public" || topic.policy.permissions === "SubscribeOnly";
}

function listed(subjects: readonly Subject[], principal: Principal, topicId: TopicId): boolean {
  if (principal.kind === "anonymous") return false;
  return subjects.some((subject) => names(subject, principal, topicId));
}

function names(subject: Subject, principal: Exclude<Principal, { kind: "anonymous" }>, topicId: TopicId): boolean {
  switch (subject.kind) {
    case "User":
      return principal.kind === "user" && principal.userId === subject.name;
    case "Group":
      return principal.groups.includes(subject.name);
    case "ServiceAccount":
      return (
        principal.kind === "serviceAccount" &&
        principal.namespace === subject.namespace &&
        principal.name === subject.name
      );
    case "ChannelUser":
      return principal.kind === "user" && topicId.channel !== undefined && topicId.channel === principal.userId;
  }
}
