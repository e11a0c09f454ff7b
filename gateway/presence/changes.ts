// Owns: turning what the store decided into what a topic's router is told. Pure. What one batch did to one user is
// folded: who came and went within it is not mentioned. An update's version holds for all it names, which is true
// because the store applies a batch as a whole: no other gateway's change lies between those of one batch.

import type { PresenceMember, PresenceUpdate, PublishOrder } from "#core/fleet/publish-order.ts";
import type { PresenceDecision, PresenceOperation, PresenceReaped } from "./presence.ts";

export type PresenceOrder = Extract<PublishOrder, { kind: "presence" }>;

/** Members named in one order: a batch of the store at most, and far below a gRPC message. */
const MEMBERS_PER_ORDER_MAX = 1_000;

interface TopicChanges {
  count: number;
  version: number;
  /** Users whose state is another one than before the batch. */
  readonly joined: Map<string, PresenceMember>;
  readonly left: Map<string, PresenceMember>;
}

/** The orders that a batch leads to, one a topic. */
export function ordersOf(
  operations: readonly PresenceOperation[],
  decisions: readonly PresenceDecision[],
): PresenceOrder[] {
  const topics = new Map<string, TopicChanges>();
  for (const [index, { kind, entry }] of operations.entries()) {
    const decision = decisions[index];
    if (decision === undefined || !decision.changed) continue;
    const changes = changesOf(topics, entry.topicId);
    changes.count = decision.count;
    changes.version = decision.version;
    const [into, outOf] = kind === "join" ? [changes.joined, changes.left] : [changes.left, changes.joined];
    const member = { userId: entry.userId, info: kind === "join" ? entry.info : undefined };
    if (!outOf.delete(entry.userId)) into.set(entry.userId, member);
  }
  return [...topics].flatMap(([topicId, changes]) => render(topicId, changes));
}

/** The orders that tell of users who are gone with their gateways, and of those who may have come without a word. */
export function ordersOfReaped(reaped: readonly PresenceReaped[]): PresenceOrder[] {
  const topics = new Map<string, TopicChanges>();
  for (const { topicId, userId, count, version, stays } of reaped) {
    const changes = changesOf(topics, topicId);
    changes.count = count;
    changes.version = Math.max(changes.version, version);
    if (stays === undefined) changes.left.set(userId, { userId, info: undefined });
    else changes.joined.set(userId, { userId, info: stays.info });
  }
  return [...topics].flatMap(([topicId, changes]) => render(topicId, changes));
}

function changesOf(topics: Map<string, TopicChanges>, topicId: string): TopicChanges {
  const known = topics.get(topicId);
  if (known !== undefined) return known;
  const fresh: TopicChanges = { count: 0, version: 0, joined: new Map(), left: new Map() };
  topics.set(topicId, fresh);
  return fresh;
}

function render(topicId: string, { count, version, joined, left }: TopicChanges): PresenceOrder[] {
  const orders: PresenceOrder[] = [];
  const order = (update: Omit<PresenceUpdate, "count" | "version">): void => {
    orders.push({ kind: "presence", topicId, update: { count, version, ...update } });
  };
  const came = [...joined.values()];
  const went = [...left.values()];
  for (let at = 0; at < Math.max(came.length, went.length); at += MEMBERS_PER_ORDER_MAX) {
    const end = at + MEMBERS_PER_ORDER_MAX;
    order({ joined: came.slice(at, end), left: went.slice(at, end) });
  }
  return orders;
}
