// Owns: what a gateway's InterestBatch does: sets counts in the interest table, enforces maxSubscribers and maxChannels
// where this router is primary, and answers with confirms in the order of the batches. A batch may wait for a channel's
// admission; those behind it wait too. Long lists are taken in slices, so that a gateway with a million topics does not
// hold the event loop. Invariant: everything published after a confirm was written is sent to that link.

import type { Topic } from "#core/domain/topic.ts";
import { parseTopicId, type TopicId } from "#core/domain/topic-id.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Interest, InterestBatch, InterestState } from "#proto/earshot/internal/v1/link_pb.ts";
import type { ChannelAdmission } from "../channel-admission.ts";
import type { InterestTable } from "../interest.ts";
import type { Placement } from "../placement.ts";
import type { Link } from "./link.ts";
import { frameBytes } from "./wire.ts";

export interface IntakeDeps {
  readonly table: InterestTable<Link>;
  readonly placement: Placement;
  readonly admission: Pick<ChannelAdmission, "admit">;
  readonly topic: (key: string) => Topic | undefined;
  readonly clock: Clock;
}

/** Topic ids of one link: 15,000 connections with 128 subscriptions each. */
const TOPICS_PER_LINK_MAX = 2_000_000;

/** Milliseconds that a list may hold the event loop at a time, and how many interests pass between looks at the clock. */
const SLICE_MS = 4;
const SLICE_INTERESTS = 128;

interface Confirm {
  readonly number: bigint;
  readonly states: InterestState[];
  readonly initialComplete: boolean;
  /** Admissions it waits for; Infinity while its interests are being taken. */
  waiting: number;
}

/** Subscribers who came while a channel's admission was being asked for. */
type Asking = { readonly intake: InterestIntake; readonly state: InterestState; readonly confirm: Confirm }[];

/** Channels whose admission is being asked for, over all links. */
export class Admissions {
  readonly asking = new Map<string, Asking>();
}

export class InterestIntake {
  readonly #link: Link;
  readonly #deps: IntakeDeps;
  readonly #admissions: Admissions;
  readonly #initialComplete: () => void;
  readonly #batches: InterestBatch[] = [];
  readonly #confirms: Confirm[] = [];
  #position = 0;
  #working = false;

  constructor(link: Link, deps: IntakeDeps, admissions: Admissions, initialComplete: () => void) {
    this.#link = link;
    this.#deps = deps;
    this.#admissions = admissions;
    this.#initialComplete = initialComplete;
  }

  /** Batches that are not answered. */
  get waiting(): number {
    return this.#confirms.length;
  }

  take(batch: InterestBatch): void {
    this.#batches.push(batch);
    this.#confirms.push({
      number: batch.number,
      states: [],
      initialComplete: batch.initialComplete,
      waiting: Number.POSITIVE_INFINITY,
    });
    if (!this.#working) this.#work();
  }

  #work(): void {
    const { clock } = this.#deps;
    const endsAtMs = clock.monotonic() + SLICE_MS;
    for (;;) {
      const batch = this.#batches[0];
      if (batch === undefined || !this.#link.open) break;
      const confirm = this.#confirms[this.#confirms.length - this.#batches.length];
      if (confirm === undefined) break;
      if (confirm.waiting === Number.POSITIVE_INFINITY) confirm.waiting = 1;
      while (this.#position < batch.interests.length) {
        const interest = batch.interests[this.#position++];
        if (interest !== undefined) confirm.states.push(this.#apply(interest, confirm));
        if (this.#position % SLICE_INTERESTS === 0 && clock.monotonic() > endsAtMs) {
          this.#working = true;
          setImmediate(() => this.#work());
          return;
        }
      }
      this.#batches.shift();
      this.#position = 0;
      this.#less(confirm);
    }
    this.#working = false;
  }

  /** One thing less that a confirm waits for. */
  #less(confirm: Confirm): void {
    confirm.waiting -= 1;
    for (let first = this.#confirms[0]; first?.waiting === 0; first = this.#confirms[0]) {
      this.#confirms.shift();
      const { number, states, initialComplete } = first;
      const value = { $typeName: "earshot.internal.v1.InterestConfirm", number, states } as const;
      this.#link.sendBehind(frameBytes({ case: "confirm", value }));
      if (initialComplete) this.#initialComplete();
    }
  }

  #apply(interest: Interest, confirm: Confirm): InterestState {
    const parsed = parseTopicId(interest.topicId);
    if (!parsed.ok) return refused(interest, "topic_id_invalid");
    const topicId = parsed.value;
    const { table } = this.#deps;
    if (interest.count > 0 && table.topicsOf(this.#link) >= TOPICS_PER_LINK_MAX) return refused(interest, "overloaded");
    const topic = this.#deps.topic(topicId.topic);
    const primary = this.#deps.placement.part(topicId.id) === "primary";
    if (!primary || topic === undefined || interest.count === 0) return this.#set(interest, topicId, interest.count);
    const admitted = this.#admitChannel(topicId, topic);
    if (admitted === false) {
      return this.#refuse(this.#set(interest, topicId, 0));
    }
    const state = this.#set(interest, topicId, this.#grantable(interest, topicId, topic));
    if (state.granted < interest.count) state.refusal = "topic_full";
    if (admitted !== true) {
      confirm.waiting += 1;
      admitted.push({ intake: this, state, confirm });
    }
    return state;
  }

  #grantable(interest: Interest, topicId: TopicId, topic: Topic): number {
    const { maxSubscribers: max } = topic.policy;
    const entry = this.#deps.table.get(topicId.id);
    if (max === 0 || entry === undefined) return grantable({ asked: interest.count, held: 0, total: 0, max });
    // What a link that has ended brought is still being taken away: it holds no place any more.
    let total = 0;
    for (const [index, link] of entry.links.entries()) if (link.open) total += entry.counts[index] ?? 0;
    return grantable({ asked: interest.count, held: entry.countOf(this.#link), total, max });
  }

  /** True, false, or those who wait for the answer. */
  #admitChannel(topicId: TopicId, topic: Topic): boolean | Asking {
    if (topicId.channel === undefined || topic.policy.maxChannels === 0) return true;
    const { asking } = this.#admissions;
    const waiting = asking.get(topicId.id);
    if (waiting !== undefined) return waiting;
    if ((this.#deps.table.get(topicId.id)?.total ?? 0) > 0) return true;
    const answer = this.#deps.admission.admit(topic);
    if (typeof answer === "boolean") return answer;
    const askers: Asking = [];
    asking.set(topicId.id, askers);
    void answer.then((admitted) => {
      asking.delete(topicId.id);
      for (const { intake, state, confirm } of askers) intake.#answered(topicId, state, confirm, admitted);
    });
    return askers;
  }

  #answered(topicId: TopicId, state: InterestState, confirm: Confirm, admitted: boolean): void {
    if (!this.#link.open) return;
    if (!admitted) {
      const { table, clock } = this.#deps;
      table.set({ link: this.#link, topicId, count: 0, presenceCount: 0 }, clock.monotonic());
      this.#refuse(state);
    }
    this.#less(confirm);
  }

  #refuse(state: InterestState): InterestState {
    state.granted = 0;
    state.refusal = "topic_full";
    return state;
  }

  #set(interest: Interest, topicId: TopicId, count: number): InterestState {
    const { table, clock } = this.#deps;
    const nowMs = clock.monotonic();
    const presenceCount = Math.min(interest.presenceCount, count);
    const entry = table.set({ link: this.#link, topicId, count, presenceCount }, nowMs);
    const spokenAtMs = entry === undefined ? table.spokenAtMs(topicId.id) : entry.spokenAtMs;
    const state = stateOf(topicId.id, entry?.seq ?? table.seqOf(topicId.id), entry?.total ?? 0, count);
    if (spokenAtMs !== undefined) state.lastSpokenMsAgo = Math.max(0, Math.floor(nowMs - spokenAtMs));
    return state;
  }
}

/**
 * How many of `asked` subscriptions a limit lets in. What a gateway holds already stays, also where the limit was
 * lowered below it; the newest are refused. `total` is that of all gateways, `held` included; `max` 0 is no limit.
 */
export function grantable({ asked, held, total, max }: Record<"asked" | "held" | "total" | "max", number>): number {
  if (max === 0 || asked <= held) return asked;
  return Math.max(held, Math.min(asked, max - (total - held)));
}

function stateOf(topicId: string, seq: number, total: number, granted: number): InterestState {
  return {
    $typeName: "earshot.internal.v1.InterestState",
    topicId,
    seq: BigInt(seq),
    total: BigInt(total),
    granted,
    refusal: "",
  };
}

function refused(interest: Interest, refusal: "topic_id_invalid" | "overloaded"): InterestState {
  const state = stateOf(interest.topicId, 0, 0, 0);
  state.refusal = interest.count > 0 ? refusal : "";
  return state;
}
