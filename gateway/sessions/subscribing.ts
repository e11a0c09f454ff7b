// Owns: how a subscription comes and goes: right, interest, the wait for routers (one confirmed, and the others too or 50 ms
// passed), `subscribed`; and its end with whatever reason. Reached by every transport. Invariants: every request is
// answered; after `subscribed` every message that comes to this gateway is sent or told as a gap; a subscription that
// failed leaves nothing behind. Elsewhere: what follows `subscribed` (introductions.ts).

import { SUBSCRIBED_WAIT_MS } from "#core/domain/limits.ts";
import type { GapReason, UnsubscribeReason } from "#core/domain/codes.ts";
import type { Edge } from "#core/edge/edge.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { FanOut } from "../fanout/fan-out.ts";
import type { LocalTopic } from "../fanout/local-topic.ts";
import type { LocalTopics } from "../fanout/local-topics.ts";
import { Subscription } from "../fanout/subscription.ts";
import type { PresenceEntry, PresenceTracker } from "../presence/presence.ts";
import { type FirstConfirm, judgeLateInterest } from "../upstream/late-interest.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { Introductions } from "./introductions.ts";
import type { Session } from "./session.ts";
import { positionOf, totalOf } from "./standing.ts";

/**
 * Milliseconds after which a subscription that no router confirmed is refused: longer than a dead router is found out
 * (3 s) and a standby steps in.
 */
const GIVE_UP_MS = 5_000;

/** Milliseconds between looks at subscriptions that wait. */
const LOOK_MS = 10;

interface SubscribeRequest {
  readonly id: string | undefined;
  readonly topicId: string;
  readonly echo: boolean;
  readonly presence: boolean;
}

interface SubscribingOptions {
  readonly edge: Pick<Edge, "authorize">;
  readonly topics: LocalTopics;
  readonly upstream: Pick<Upstream, "changed" | "progress" | "firstAlive" | "registrationAt">;
  readonly fanOut: FanOut;
  readonly presence: PresenceTracker;
  readonly clock: Clock;
  readonly subscriptionsMax: number;
  readonly metrics: SubscribingMetrics;
}

export interface SubscribingMetrics {
  subscriptions(change: 1 | -1): void;
  gap(reason: GapReason): void;
}

interface Asked {
  readonly subscription: Subscription;
  readonly session: Session;
  readonly askedAtMs: number;
  /** Of every request for it: each is answered. */
  readonly ids: (string | undefined)[];
}

export class Subscribing implements Component {
  readonly #options: SubscribingOptions;
  readonly #introductions: Introductions;
  readonly #asked = new Map<Subscription, Asked>();
  #looking: Timer | undefined;

  constructor(options: SubscribingOptions) {
    this.#options = options;
    this.#introductions = new Introductions(options);
  }

  /** Subscriptions that wait for routers. */
  get waiting(): number {
    return this.#asked.size;
  }

  /** Subscribes, or says why not: everything is told by frames. Returns false when it was refused at once. */
  subscribe(session: Session, request: SubscribeRequest): boolean {
    const known = session.subscriptions.get(request.topicId);
    if (known !== undefined) {
      this.#again(session, known, request);
      return true;
    }
    try {
      this.#ask(session, request);
      return true;
    } catch (error) {
      if (!(error instanceof EarshotError)) throw error;
      session.sayError(error, request.id, request.topicId);
      return false;
    }
  }

  unsubscribe(session: Session, topicId: string, id: string | undefined): void {
    const subscription = session.subscriptions.get(topicId);
    const unanswered = subscription === undefined ? [] : this.#remove(session, subscription);
    for (const asked of [...unanswered, id])
      session.say({ type: "unsubscribed", id: asked, topicId, reason: "requested" });
  }

  /** Ends a subscription from this side. */
  end(session: Session, subscription: Subscription, reason: UnsubscribeReason): void {
    if (subscription.state === "ended") return;
    const unanswered = this.#remove(session, subscription);
    for (const id of unanswered.length === 0 ? [undefined] : unanswered) {
      session.say({ type: "unsubscribed", id, topicId: subscription.topic.id, reason });
    }
  }

  /** Forgets everything of a session that has ended. */
  endAll(session: Session): void {
    for (const subscription of session.subscriptions.values()) this.#remove(session, subscription);
  }

  /** A router confirmed a topic. */
  confirmed(topic: LocalTopic, incarnation: string, first: FirstConfirm | undefined): void {
    if (first !== undefined) this.#judgeLate(topic, first);
    if (topic.asked === undefined) return;
    this.#refuseBeyond(topic, incarnation);
    for (const subscription of topic.asked) this.#look(subscription);
    if (topic.asked.size === 0) topic.asked = undefined;
  }

  /** Who is waited for may have changed. */
  routersChanged(): void {
    for (const subscription of this.#asked.keys()) this.#look(subscription);
  }

  /** What the tracker is told of a subscription. */
  entryOf(session: Session, subscription: Subscription): PresenceEntry {
    const { principal } = session;
    return {
      topicId: subscription.topic.id,
      userId: session.userId,
      info: principal.kind === "anonymous" ? undefined : principal.info,
      connectionId: session.connectionId,
      subscriptionId: subscription.id,
      subscribedAtMs: Math.round(
        this.#options.clock.now() - this.#options.clock.monotonic() + subscription.subscribedAtMs,
      ),
    };
  }

  close(): Promise<void> {
    this.#looking?.cancel();
    this.#asked.clear();
    return Promise.resolve();
  }

  #ask(session: Session, request: SubscribeRequest): void {
    const { edge, topics, subscriptionsMax, clock } = this.#options;
    if (session.subscriptions.size >= subscriptionsMax) {
      throw new EarshotError("invalid_request", `a connection holds at most ${subscriptionsMax} subscriptions`);
    }
    const granted = edge.authorize("subscribe", session.principal, request.topicId);
    const topic = topics.obtain(granted.topicId, granted.topic);
    const subscription = new Subscription(session.newSubscriptionId(), topic, session, request);
    session.subscriptions.set(topic.id, subscription);
    topic.asked ??= new Set();
    topic.asked.add(subscription);
    topic.interested += 1;
    if (request.presence) topic.presenceInterested += 1;
    this.#options.upstream.changed(topic);
    subscription.generation = topic.generation;
    this.#asked.set(subscription, { subscription, session, askedAtMs: clock.monotonic(), ids: [request.id] });
    this.#options.metrics.subscriptions(1);
    this.#looking ??= clock.after(SUBSCRIBED_WAIT_MS, () => this.#lookAtAll());
  }

  /** The same topic asked for once more: options are the newer ones, the answer is the same. */
  #again(session: Session, subscription: Subscription, request: SubscribeRequest): void {
    const { topic } = subscription;
    const newlyPresent = request.presence && !subscription.presence;
    if (request.presence !== subscription.presence) {
      topic.presenceInterested += request.presence ? 1 : -1;
      subscription.presence = request.presence;
      this.#options.upstream.changed(topic);
    }
    subscription.echo = request.echo;
    const asked = this.#asked.get(subscription);
    if (asked !== undefined) {
      asked.ids.push(request.id);
      return;
    }
    this.#tellSubscribed(session, subscription, request.id);
    if (newlyPresent) this.#introductions.tell(session, subscription);
  }

  #lookAtAll(): void {
    this.#looking = undefined;
    for (const subscription of this.#asked.keys()) this.#look(subscription);
    if (this.#asked.size > 0) this.#looking = this.#options.clock.after(LOOK_MS, () => this.#lookAtAll());
  }

  /** Grants or refuses a subscription that waits, if it is time. */
  #look(subscription: Subscription): void {
    const asked = this.#asked.get(subscription);
    if (asked === undefined) return;
    const waitedMs = this.#options.clock.monotonic() - asked.askedAtMs;
    const { confirmed, awaited } = this.#options.upstream.progress(subscription.topic, subscription.generation);
    if (confirmed > 0 && (awaited === 0 || waitedMs >= SUBSCRIBED_WAIT_MS)) this.#grant(asked);
    else if (confirmed === 0 && waitedMs >= GIVE_UP_MS) {
      this.#refuse(asked, new EarshotError("shard_unavailable", "no router of this topic answers; try again"));
    }
  }

  /** Refuses the newest of those that the router did not grant: maxSubscribers, maxChannels. */
  #refuseBeyond(topic: LocalTopic, incarnation: string): void {
    const { upstream } = this.#options;
    const registration = upstream.registrationAt(topic, incarnation);
    if (registration === undefined || registration.granted >= registration.count) return;
    if (upstream.firstAlive(topic)?.incarnation !== incarnation) return;
    let beyond = registration.count - registration.granted;
    for (const subscription of [...(topic.asked ?? [])].toReversed()) {
      if (beyond === 0) return;
      const asked = this.#asked.get(subscription);
      if (asked === undefined || subscription.generation > registration.generation) continue;
      beyond -= 1;
      this.#refuse(asked, new EarshotError("topic_full"));
    }
  }

  #refuse({ session, subscription, ids }: Asked, error: EarshotError): void {
    this.#remove(session, subscription);
    for (const id of ids) session.sayError(error, id, subscription.topic.id);
  }

  #grant({ session, subscription, ids }: Asked): void {
    const { topic } = subscription;
    const { clock, presence } = this.#options;
    this.#asked.delete(subscription);
    topic.asked?.delete(subscription);
    subscription.subscribedAtMs = clock.monotonic();
    for (const id of ids) this.#tellSubscribed(session, subscription, id);
    if (topic.topic.policy.presence === "Members") presence.joined(this.entryOf(session, subscription));
    this.#introductions.begin(session, subscription);
  }

  #tellSubscribed(session: Session, subscription: Subscription, id: string | undefined): void {
    const { topic } = subscription;
    session.say({
      type: "subscribed",
      id,
      topicId: topic.id,
      subscriptionId: subscription.id,
      position: positionOf(topic, this.#options.upstream),
      count: totalOf(topic, this.#options.upstream),
    });
  }

  #judgeLate(topic: LocalTopic, confirm: FirstConfirm): void {
    for (const subscription of [...topic.audience, ...topic.introducing]) {
      const verdict = judgeLateInterest(confirm, subscription.subscribedAtMs);
      if (!verdict.late) continue;
      const session = subscription.listener as Session;
      this.#options.metrics.gap("late_interest");
      session.say({ type: "gap", topicId: topic.id, missed: verdict.missed, reason: "late_interest" });
    }
  }

  /** Takes it out of everything; returns the ids of requests for it that were not answered yet. */
  #remove(session: Session, subscription: Subscription): readonly (string | undefined)[] {
    if (subscription.state === "ended") return [];
    const { topic, state } = subscription;
    const { presence, topics, upstream } = this.#options;
    const granted = state !== "asked";
    subscription.state = "ended";
    subscription.kept = undefined;
    session.subscriptions.delete(topic.id);
    const unanswered = this.#asked.get(subscription)?.ids ?? [];
    this.#asked.delete(subscription);
    topic.asked?.delete(subscription);
    topic.introduced(subscription);
    topic.part(subscription);
    topic.interested -= 1;
    if (subscription.presence) topic.presenceInterested -= 1;
    if (granted && topic.topic.policy.presence === "Members") presence.left(this.entryOf(session, subscription));
    upstream.changed(topic);
    if (topic.interested === 0) topics.forget(topic);
    this.#options.metrics.subscriptions(-1);
    return unanswered;
  }
}
