// Owns: one subscription: one topic id on one connection. Small, since there are as many as there are listeners.
// Made, granted and ended by sessions; read by the fan-out.

import type { Outbox } from "../sessions/outbox.ts";
import type { Flight } from "./flight.ts";
import type { LocalTopic } from "./local-topic.ts";

/** What the fan-out and the upstream know of a subscription's connection. */
export interface Listener {
  readonly connectionId: string;
  readonly outbox: Outbox;
}

type SubscriptionState =
  /** Interest is registered, no router has confirmed yet. */
  | "asked"
  /** `subscribed` was told; the presence frame is being made, messages are kept. */
  | "introducing"
  | "live"
  | "ended";

export class Subscription {
  readonly id: string;
  readonly topic: LocalTopic;
  readonly listener: Listener;
  readonly outbox: Outbox;
  state: SubscriptionState = "asked";
  echo: boolean;
  presence: boolean;
  /** Place in the topic's audience; -1: not in it. */
  index = -1;
  /** The topic's generation that this subscription is in. */
  generation = 0;
  /** Monotonic: when it was told `subscribed`. */
  subscribedAtMs = 0;
  /** Flights that came while it was introduced. */
  kept: Flight[] | undefined;

  constructor(id: string, topic: LocalTopic, listener: Listener, options: { echo: boolean; presence: boolean }) {
    this.id = id;
    this.topic = topic;
    this.listener = listener;
    this.outbox = listener.outbox;
    this.echo = options.echo;
    this.presence = options.presence;
  }
}
