// Owns: one topic id as this gateway knows it: who here is subscribed, what is on its way to them, what was heard from
// which router. Made with the first subscription, forgotten with the last (local-topics.ts). The audience is a dense
// array, so that the fan-out walks memory and nothing else; an unfinished walk survives additions and removals.
// Invariant: what is put in order (flights, notices, turns) happens to the audience in exactly that order.

import { shardOf } from "#core/domain/shard.ts";
import type { SlowConsumer, Topic } from "#core/domain/topic.ts";
import type { TopicId } from "#core/domain/topic-id.ts";
import type { Registration } from "../upstream/registration.ts";
import type { Flight } from "./flight.ts";
import type { Notice } from "./notice.ts";
import type { Subscription } from "./subscription.ts";

/** What waits for its turn at a topic's audience. `turn` runs once everything before it was handed on. */
export type Item =
  | { readonly kind: "flight"; readonly flight: Flight }
  | { readonly kind: "notice"; readonly notice: Notice }
  | { readonly kind: "turn"; readonly run: () => void };

/** The last message heard of a topic from one router incarnation. */
interface Heard {
  readonly incarnation: string;
  seq: number;
  /** Monotonic. */
  atMs: number;
}

/** Router incarnations remembered a topic: primary, standby, and the one before. */
const HEARD_MAX = 3;

/** For the many topics at which nobody is introduced; nothing is ever put into it. */
const NOBODY = new Set<Subscription>();

export class LocalTopic {
  readonly topicId: TopicId;
  readonly shard: number;
  topic: Topic;
  /** Those who were told `subscribed`, in no order. Changed by `join` and `part` alone. */
  readonly audience: Subscription[] = [];
  /** Those whose interest no router has confirmed yet, oldest first; undefined when there are none. */
  asked: Set<Subscription> | undefined;
  /**
   * Those who were told `subscribed` and are not in the audience yet: until they know who is there (what comes meanwhile
   * is in `kept`), or until what came before them was handed on.
   */
  introducing: Set<Subscription> = NOBODY;
  /** Subscriptions, asked for or granted: what routers are told. */
  interested = 0;
  presenceInterested = 0;
  /** Grows with each change of the two counts. */
  generation = 0;
  /** Where the walk for the first item of `items` is. */
  cursor = 0;
  items: Item[] = [];
  /** Whether the fan-out has it in its round. */
  queued = false;
  /** Its interest at routers: those of its shard's list, and those that left it a moment ago. */
  registrations: Registration[] = [];
  /** The last heard first. */
  heard: Heard[] = [];
  forgotten = false;

  constructor(topicId: TopicId, topic: Topic) {
    this.topicId = topicId;
    this.topic = topic;
    this.shard = shardOf(topicId.id);
  }

  get id(): string {
    return this.topicId.id;
  }

  get slowConsumer(): SlowConsumer {
    return this.topic.policy.slowConsumer;
  }

  /** Adds a subscription to the audience: it hears every item from the next one on. Only when no item is under way. */
  join(subscription: Subscription): void {
    subscription.index = this.audience.length;
    this.audience.push(subscription);
  }

  /** Takes a subscription out of the audience, if it is in it; a walk under way neither skips nor repeats anybody. */
  part(subscription: Subscription): void {
    const { index } = subscription;
    if (index < 0) return;
    subscription.index = -1;
    let hole = index;
    if (hole < this.cursor) {
      // The last one already served fills the hole, and the served part shrinks by one.
      this.cursor -= 1;
      this.#move(this.cursor, hole);
      hole = this.cursor;
    }
    this.#move(this.audience.length - 1, hole);
    this.audience.pop();
  }

  #move(from: number, to: number): void {
    const moved = this.audience[from];
    if (moved === undefined || from === to) return;
    this.audience[to] = moved;
    moved.index = to;
  }

  /** Remembers a message of a router. Returns whether this topic never heard of that incarnation before. */
  hear(incarnation: string, seq: number, nowMs: number): void {
    const [last] = this.heard;
    if (last !== undefined && last.incarnation === incarnation) {
      last.seq = seq;
      last.atMs = nowMs;
      return;
    }
    const others = this.heard.filter((heard) => heard.incarnation !== incarnation);
    this.heard = [{ incarnation, seq, atMs: nowMs }, ...others].slice(0, HEARD_MAX);
  }

  /** The last message of a router, as far as is remembered now. */
  heardFrom(incarnation: string): { readonly seq: number; readonly atMs: number } | undefined {
    const heard = this.heard.find((one) => one.incarnation === incarnation);
    return heard === undefined ? undefined : { seq: heard.seq, atMs: heard.atMs };
  }

  introduce(subscription: Subscription): void {
    if (this.introducing === NOBODY) this.introducing = new Set([subscription]);
    else this.introducing.add(subscription);
  }

  introduced(subscription: Subscription): void {
    if (this.introducing.delete(subscription) && this.introducing.size === 0) this.introducing = NOBODY;
  }
}
