// Owns: the installation's ceilings on what any Topic may ask for: what is above is lowered, and said. Pure.

import type { TopicPolicy } from "#core/domain/topic.ts";

/** Settings topicMax...; 0: no ceiling. */
export interface Ceilings {
  readonly maxMessageBytes: number;
  readonly maxPublishesPerSecond: number;
  readonly maxSubscribers: number;
  readonly maxChannels: number;
}

export interface Lowered {
  /** The very same object where nothing was. */
  readonly policy: TopicPolicy;
  /** In a sentence; undefined: nothing was lowered. */
  readonly clamped: string | undefined;
}

const LIMITS = [
  { name: "maxMessageBytes", path: "spec.delivery.maxMessageBytes" },
  { name: "maxPublishesPerSecond", path: "spec.limits.maxPublishesPerSecond" },
  { name: "maxSubscribers", path: "spec.limits.maxSubscribers" },
  { name: "maxChannels", path: "spec.limits.maxChannels" },
] as const;

export function lower(policy: TopicPolicy, ceilings: Ceilings): Lowered {
  const lowered: Partial<Record<keyof Ceilings, number>> = {};
  const said: string[] = [];
  for (const { name, path } of LIMITS) {
    const ceiling = ceilings[name];
    const wanted = policy[name];
    // In a Topic 0 means no limit at all.
    if (ceiling === 0 || (wanted !== 0 && wanted <= ceiling)) continue;
    lowered[name] = ceiling;
    said.push(`${path} is ${wanted === 0 ? "0 (no limit)" : wanted}, and this installation carries ${ceiling} at most`);
  }
  if (said.length === 0) return { policy, clamped: undefined };
  return { policy: { ...policy, ...lowered }, clamped: said.join("; ") };
}
