// Owns: which changes of a Topic's status are worth an Event, for `kubectl describe`. Pure. A Topic that simply becomes
// ready makes none: its condition says so, and 10,000 Topics would be 10,000 Events.

import type { Condition, TopicStatus } from "../reconcile/conditions.ts";

export interface TopicTransition {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  /** What the operator did. */
  readonly action: string;
  readonly note: string;
}

export function transitionsOf(before: TopicStatus | undefined, after: TopicStatus): readonly TopicTransition[] {
  return [...acceptedTransition(before, after), ...hotTransition(before, after)];
}

function* acceptedTransition(before: TopicStatus | undefined, after: TopicStatus): Generator<TopicTransition> {
  const was = find(before, "Accepted");
  const is = find(after, "Accepted");
  if (is === undefined || (was?.status === is.status && was.reason === is.reason)) return;
  const { status, reason, message } = is;
  const isWorthIt = status === "False" || reason === "Clamped" || (was !== undefined && was.status === "False");
  if (isWorthIt) yield { type: status === "True" ? "Normal" : "Warning", reason, action: "Accept", note: message };
}

function* hotTransition(before: TopicStatus | undefined, after: TopicStatus): Generator<TopicTransition> {
  const was = find(before, "Hot")?.status === "True";
  const is = find(after, "Hot");
  if (is === undefined || (is.status === "True") === was) return;
  yield { type: "Normal", reason: is.status === "True" ? "Hot" : "NotHot", action: "Count", note: is.message };
}

function find(status: TopicStatus | undefined, type: Condition["type"]): Condition | undefined {
  return status?.conditions.find((condition) => condition.type === type);
}
