// Owns: where a topic stands, as `subscribed` tells it: the first-alive router's position, and how many listen in the fleet.
// Pure.

import type { LocalTopic } from "../fanout/local-topic.ts";
import type { Upstream } from "../upstream/upstream.ts";

export type Standing = Pick<Upstream, "firstAlive" | "registrationAt">;

/** Of the first-alive router; undefined while it has not confirmed. What was heard since the confirm counts. */
export function positionOf(topic: LocalTopic, upstream: Standing): { incarnation: string; seq: number } | undefined {
  const incarnation = upstream.firstAlive(topic)?.incarnation;
  if (incarnation === undefined) return undefined;
  const registration = upstream.registrationAt(topic, incarnation);
  if (registration === undefined || registration.generation < 0) return undefined;
  return { incarnation, seq: Math.max(registration.seq, topic.heardFrom(incarnation)?.seq ?? 0) };
}

/** Subscriptions in the fleet, as the first-alive router said last; where it has not, the highest of the others'. */
export function totalOf(topic: LocalTopic, upstream: Standing): number {
  const incarnation = upstream.firstAlive(topic)?.incarnation;
  const first = incarnation === undefined ? undefined : upstream.registrationAt(topic, incarnation);
  if (first !== undefined && first.generation >= 0) return Math.max(first.total, topic.interested);
  return Math.max(topic.interested, ...topic.registrations.map((registration) => registration.total));
}
