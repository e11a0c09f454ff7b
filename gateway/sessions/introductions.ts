// Owns: what follows `subscribed`: the first presence frame for those who asked, and only then messages. What comes before
// the list of members is there is kept. Invariant: order `subscribed`, `presence`, messages; nothing of the topic that
// came after `subscribed` is left out. Elsewhere: the frame (presence/frames.ts), who is a member (presence/tracker.ts).

import { PRESENCE_PAGE_MAX } from "#core/domain/limits.ts";
import { type FanOut, offer } from "../fanout/fan-out.ts";
import type { LocalTopic } from "../fanout/local-topic.ts";
import type { Subscription } from "../fanout/subscription.ts";
import { presenceFrame } from "../presence/frames.ts";
import type { PresenceSnapshot, PresenceTracker } from "../presence/presence.ts";
import type { Session } from "./session.ts";
import { type Standing, totalOf } from "./standing.ts";

export interface IntroductionsOptions {
  readonly upstream: Standing;
  readonly fanOut: FanOut;
  readonly presence: PresenceTracker;
}

export class Introductions {
  readonly #options: IntroductionsOptions;

  constructor(options: IntroductionsOptions) {
    this.#options = options;
  }

  /** A subscription was just told `subscribed`. */
  begin(session: Session, subscription: Subscription): void {
    const { topic } = subscription;
    if (!subscription.presence) {
      this.#goLive(subscription);
      return;
    }
    if (this.#listsMembers(topic)) {
      this.#waitForMembers(session, subscription);
      return;
    }
    this.tell(session, subscription);
    this.#goLive(subscription);
  }

  /** Tells who is there, now or once the members are known. */
  tell(session: Session, subscription: Subscription): void {
    const { topic } = subscription;
    if (this.#listsMembers(topic)) void this.#tellMembers(session, subscription);
    else if (topic.topic.policy.presence !== "None") {
      say(session, subscription, presenceFrame(topic.id, totalOf(topic, this.#options.upstream)));
    }
  }

  #listsMembers(topic: LocalTopic): boolean {
    return topic.topic.policy.presence === "Members" && this.#options.presence.available;
  }

  #waitForMembers(session: Session, subscription: Subscription): void {
    const { topic } = subscription;
    subscription.state = "introducing";
    subscription.kept = [];
    topic.introduce(subscription);
    // What comes from now on must not be joined to a flight that this subscription has no part in.
    this.#options.fanOut.barrier(topic);
    void this.#tellMembers(session, subscription).then(() => {
      if (subscription.state !== "introducing") return;
      topic.introduced(subscription);
      for (const flight of subscription.kept ?? []) offer(topic, subscription.outbox, flight);
      this.#goLive(subscription);
    });
  }

  /** The tracker answers within its own deadline; where that list is stale, the fresh one follows when there is one. */
  async #tellMembers(session: Session, subscription: Subscription): Promise<void> {
    const { topic } = subscription;
    const snapshot = await this.#options.presence.snapshot(topic.id, PRESENCE_PAGE_MAX, undefined);
    const frameOf = (list: PresenceSnapshot): string =>
      presenceFrame(topic.id, totalOf(topic, this.#options.upstream), list);
    say(session, subscription, frameOf(snapshot));
    void snapshot.fresh?.().then((fresh) => say(session, subscription, frameOf(fresh)));
  }

  /** Puts it into the audience, behind everything that came before. */
  #goLive(subscription: Subscription): void {
    const { topic } = subscription;
    subscription.state = "live";
    subscription.kept = undefined;
    if (topic.items.length === 0) {
      topic.join(subscription);
      return;
    }
    topic.introduce(subscription);
    this.#options.fanOut.inTurn(topic, () => {
      topic.introduced(subscription);
      if (subscription.state === "live") topic.join(subscription);
    });
  }
}

function say(session: Session, subscription: Subscription, json: string): void {
  if (subscription.state !== "ended" && subscription.presence) session.say({ type: "presence", json });
}
