// Owns: subscriptions that end from this side: their Topic changed or is gone, their principal may no longer hear it,
// somebody ended them over HTTP. Judged at once, for every subscription that is concerned, in whatever state it is.

import { refusal } from "#core/domain/access.ts";
import type { UnsubscribeReason } from "#core/domain/codes.ts";
import type { Topic } from "#core/domain/topic.ts";
import type { Fleet, TopicChange, Unlisten } from "#core/fleet/fleet.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Eviction } from "#proto/earshot/internal/v1/link_pb.ts";
import type { LocalTopic } from "../fanout/local-topic.ts";
import type { LocalTopics } from "../fanout/local-topics.ts";
import type { Subscription } from "../fanout/subscription.ts";
import type { PresenceTracker } from "../presence/presence.ts";
import type { Session } from "./session.ts";
import type { Subscribing } from "./subscribing.ts";

interface RightsOptions {
  readonly fleet: Pick<Fleet, "onTopic">;
  readonly topics: LocalTopics;
  readonly subscribing: Subscribing;
  readonly presence: PresenceTracker;
  /** Whether principals without a token count as anyone. */
  readonly anonymousAccess: boolean;
}

export class Rights implements Component {
  readonly #options: RightsOptions;
  readonly #unlisten: Unlisten;

  constructor(options: RightsOptions) {
    this.#options = options;
    this.#unlisten = options.fleet.onTopic((change) => this.#topicChanged(change));
  }

  /** Ends a subscription that its principal may no longer have. */
  judge(session: Session, subscription: Subscription): void {
    const { topic, topicId } = subscription.topic;
    const refused = refusal("subscribe", session.principal, topic, topicId, this.#options);
    if (refused !== undefined) this.#options.subscribing.end(session, subscription, "permission_changed");
  }

  /** Ends the subscriptions to a topic that an eviction names; returns how many. */
  evict(topic: LocalTopic, eviction: Eviction): number {
    const reason: UnsubscribeReason = eviction.reason === "requested" ? "requested" : "removed";
    let ended = 0;
    for (const subscription of subscriptionsOf(topic)) {
      const session = subscription.listener as Session;
      if (!names(eviction, session)) continue;
      this.#options.subscribing.end(session, subscription, reason);
      ended += 1;
    }
    return ended;
  }

  close(): Promise<void> {
    this.#unlisten();
    return Promise.resolve();
  }

  #topicChanged({ key, after }: TopicChange): void {
    for (const topic of this.#options.topics.under(key)) {
      const gone = after === undefined || (topic.topicId.channel !== undefined && after.policy.channels === "None");
      if (after !== undefined) this.#repolicy(topic, after);
      for (const subscription of subscriptionsOf(topic)) {
        const session = subscription.listener as Session;
        if (gone) this.#options.subscribing.end(session, subscription, "topic_deleted");
        else this.judge(session, subscription);
      }
    }
  }

  /** A Topic that begins or ends to keep members has them told of, or forgotten. */
  #repolicy(topic: LocalTopic, after: Topic): void {
    const { presence, subscribing } = this.#options;
    const kept = topic.topic.policy.presence === "Members";
    const keeps = after.policy.presence === "Members";
    topic.topic = after;
    if (kept === keeps) return;
    for (const subscription of subscriptionsOf(topic)) {
      if (subscription.state === "asked") continue;
      const entry = subscribing.entryOf(subscription.listener as Session, subscription);
      if (keeps) presence.joined(entry);
      else presence.left(entry);
    }
  }
}

/** Every subscription to a topic, in whatever state: a copy, so that they may end while it is walked. */
function subscriptionsOf(topic: LocalTopic): Subscription[] {
  const all: Subscription[] = [...(topic.asked ?? []), ...topic.introducing];
  for (const subscription of topic.audience) all.push(subscription);
  return all;
}

function names(eviction: Eviction, session: Session): boolean {
  if (eviction.connectionKey !== "") return session.key === eviction.connectionKey;
  if (eviction.userId === "" || session.userId !== eviction.userId) return false;
  return eviction.connectionId === "" || eviction.connectionId === session.connectionId;
}
