// Owns: order. Takes every publish of a topic whose shard lists this router, gives it its ids, builds its record once and
// hands it to every interested link. Also evictions, and presence changes on their way to becoming frames.
// Invariants: a message gets at most one record; what is refused was not sequenced; a message's seq is one above the
// last of its topic. The hot path is plain: one push a link. Expected refusals are return values.

import { toBinary } from "@bufbuild/protobuf";
import type { Code, DropReason } from "#core/domain/codes.ts";
import { RECEIPT_WAIT_MS } from "#core/domain/limits.ts";
import { shardOf } from "#core/domain/shard.ts";
import type { Topic } from "#core/domain/topic.ts";
import { parseTopicId } from "#core/domain/topic-id.ts";
import { evictionToProto, type WRONG_ROUTER } from "#core/fleet/publish-codec.ts";
import type { Eviction, PresenceUpdate, PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EvictionSchema } from "#proto/earshot/internal/v1/link_pb.ts";
import type { InterestTable, MessageCounter, TopicEntry } from "../interest.ts";
import type { Receipts, ReceiptTotals } from "../links/receipts.ts";
import type { Placement } from "../placement.ts";
import type { QueuedRecord } from "../record.ts";
import type { SpokenMemory } from "../spoken-memory.ts";
import type { DropCause, RouterStats } from "../stats.ts";
import type { Warmth } from "../warmth.ts";
import type { BatchWindows, RecordTaker } from "./batch-windows.ts";
import { bareRecord, type MessageOrder, messageRecord, type Stamp } from "./records.ts";
import type { Drops } from "./drops.ts";
import type { PresenceFrames } from "./presence.ts";
import type { RateLimits } from "./rate-limits.ts";

export interface SequencerDeps<Link extends RecordTaker> {
  readonly incarnation: string;
  readonly clock: Clock;
  readonly counter: MessageCounter;
  readonly table: InterestTable<Link>;
  readonly topic: (key: string) => Topic | undefined;
  readonly placement: Placement;
  readonly warmth: Pick<Warmth, "isWarm">;
  readonly spoken: SpokenMemory;
  readonly receipts: Receipts<Link>;
  readonly presence: PresenceFrames<Link>;
  readonly windows: BatchWindows<Link>;
  readonly rateLimits: RateLimits;
  readonly drops: Drops;
  readonly stats: RouterStats;
}

export type Sequenced =
  | { readonly kind: "done"; readonly result: PublishResult }
  /** Nothing was done. */
  | { readonly kind: "refused"; readonly code: Code | typeof WRONG_ROUTER };

const WRONG: Sequenced = { kind: "refused", code: "wrong_router" };
const NOTHING: Readonly<Record<string, number>> = {};

export class Sequencer<Link extends RecordTaker> {
  readonly #deps: SequencerDeps<Link>;

  constructor(deps: SequencerDeps<Link>) {
    this.#deps = deps;
  }

  sequence(order: PublishOrder): Sequenced | Promise<Sequenced> {
    const { table, placement } = this.#deps;
    const entry = table.get(order.topicId);
    if (placement.partOfShard(entry === undefined ? shardOf(order.topicId) : entry.shard) === "none") {
      return this.#wrongRouter();
    }
    switch (order.kind) {
      case "message":
        return this.#message(order, entry);
      case "presence":
        return this.#presence(order.update, entry);
      case "evict":
        return this.#evict(order.eviction, entry);
    }
  }

  /** A presence frame that is due: goes to the links where somebody asked for presence. */
  emitPresence(entry: TopicEntry<Link>, frame: string): void {
    const { clock, stats } = this.#deps;
    const stamp = { seq: entry.seq, nowMs: clock.now(), atMs: clock.monotonic() };
    const record = bareRecord(entry.id, { kind: "presence", frame }, stamp, 0);
    stats.presenceFrames += 1;
    for (let index = 0; index < entry.links.length; index++) {
      if ((entry.presenceCounts[index] ?? 0) > 0) entry.links[index]?.push(record);
    }
  }

  #message(order: MessageOrder, entry: TopicEntry<Link> | undefined): Sequenced | Promise<Sequenced> {
    const { clock, counter, rateLimits, receipts, stats, topic } = this.#deps;
    const atMs = clock.monotonic();
    if (entry === undefined || !isHeard(entry)) return this.#unheard(order, entry, atMs);
    const policy = topic(entry.topicKey)?.policy;
    if (policy !== undefined && !rateLimits.take(entry.id, entry, policy.maxPublishesPerSecond, atMs)) {
      return this.#rateLimited(entry.id);
    }
    counter.last += 1;
    entry.seq += 1;
    entry.spokenAtMs = atMs;
    stats.messages += 1;
    stats.messageBytes += order.payload.length;
    const windowMs = policy?.batchWindowMilliseconds ?? 0;
    const stamp: Stamp = {
      messageId: `${this.#deps.incarnation}-${counter.last}`,
      seq: entry.seq,
      low: (order.priority ?? policy?.priority) === "Low",
      nowMs: clock.now(),
      atMs,
    };
    if (order.receipt === "gateway" && !receipts.full) {
      return this.#withReceipt(entry, windowMs, (receiptId) => {
        this.#hand(entry, messageRecord(order, stamp, receiptId), windowMs);
      }).then((totals) => this.#receiptResult(entry.id, stamp.messageId, totals));
    }
    const handed = this.#hand(entry, messageRecord(order, stamp, 0), windowMs);
    if (handed > 0) return done({ messageId: stamp.messageId, deliveredTo: handed });
    return this.#dropped(entry.id, stamp.messageId, { reason: "backpressure", exact: false, notDelivered: NOTHING });
  }

  /** Hands a record to every link, at once or when its window ends; answers how many subscriptions those have. */
  #hand(entry: TopicEntry<Link>, record: QueuedRecord, windowMs: number): number {
    const { links, counts, total } = entry;
    this.#deps.stats.fanoutRecords += links.length;
    if (windowMs > 0) {
      this.#deps.windows.hold(entry, record, windowMs);
      return total;
    }
    if (entry.held !== undefined) this.#deps.windows.flush(entry);
    let handed = 0;
    for (let index = 0; index < links.length; index++) {
      if (links[index]?.push(record) === true) handed += counts[index] ?? 0;
    }
    return handed;
  }

  #withReceipt(entry: TopicEntry<Link>, windowMs: number, hand: (receiptId: number) => void): Promise<ReceiptTotals> {
    const { receipts, clock } = this.#deps;
    const due = new Map<Link, number>();
    for (const [index, link] of entry.links.entries()) if (link.open) due.set(link, entry.counts[index] ?? 0);
    return new Promise((resolve) => {
      hand(receipts.open(due, clock.monotonic() + windowMs + RECEIPT_WAIT_MS, resolve));
    });
  }

  #receiptResult(id: string, messageId: string, { written, notWritten, exact }: ReceiptTotals): Sequenced {
    if (written > 0 || !exact) return done({ messageId, deliveredTo: written, exact, notDelivered: notWritten });
    const reason = Object.keys(notWritten).length > 0 ? "backpressure" : "no_subscribers";
    return this.#dropped(id, messageId, { reason, exact, notDelivered: notWritten });
  }

  #unheard(order: MessageOrder, entry: TopicEntry<Link> | undefined, atMs: number): Sequenced {
    const { topicId } = order;
    const { clock, counter, rateLimits, spoken, stats, topic, warmth } = this.#deps;
    if (!warmth.isWarm(atMs)) return this.#wrongRouter();
    let { topicKey } = entry ?? { topicKey: "" };
    if (entry === undefined) {
      const parsed = parseTopicId(topicId);
      if (!parsed.ok) return { kind: "refused", code: "topic_id_invalid" };
      topicKey = parsed.value.topic;
    }
    const perSecond = topic(topicKey)?.policy.maxPublishesPerSecond ?? 0;
    if (!rateLimits.take(topicId, entry, perSecond, atMs)) return this.#rateLimited(topicId);
    counter.last += 1;
    stats.messages += 1;
    stats.messageBytes += order.payload.length;
    if (entry === undefined) spoken.remember(topicId, atMs);
    else {
      entry.seq += 1;
      entry.spokenAtMs = atMs;
    }
    const exact = order.receipt === "gateway";
    const messageId = `${this.#deps.incarnation}-${counter.last}`;
    this.#note(topicId, "no_subscribers", clock.now());
    return done({ messageId, deliveredTo: 0, exact, dropped: true, reason: "no_subscribers" });
  }

  #presence(update: PresenceUpdate, entry: TopicEntry<Link> | undefined): Sequenced {
    const { clock, presence, warmth } = this.#deps;
    if (entry === undefined || entry.presenceTotal === 0) {
      // Nobody is told of this change, so nobody who comes next may be told of those before it.
      if (entry !== undefined) presence.forget(entry);
      if (!warmth.isWarm(clock.monotonic())) return this.#wrongRouter();
      return done({ deliveredTo: 0, dropped: true, reason: "no_subscribers" });
    }
    presence.update(entry, update);
    return done({ deliveredTo: entry.presenceTotal });
  }

  #evict(eviction: Eviction, entry: TopicEntry<Link> | undefined): Sequenced | Promise<Sequenced> {
    const { clock, receipts, warmth } = this.#deps;
    if (entry === undefined || !isHeard(entry)) {
      if (!warmth.isWarm(clock.monotonic())) return this.#wrongRouter();
      return done({ deliveredTo: 0, exact: true, dropped: true, reason: "no_subscribers" });
    }
    if (receipts.full) return { kind: "refused", code: "backpressure" };
    const bytes = toBinary(EvictionSchema, evictionToProto(eviction));
    const hand = (receiptId: number): void => {
      const stamp = { seq: entry.seq, nowMs: clock.now(), atMs: clock.monotonic() };
      const record = bareRecord(entry.id, { kind: "evict", bytes }, stamp, receiptId);
      for (const link of entry.links) link.push(record);
    };
    return this.#withReceipt(entry, 0, hand).then(({ written, exact }) => done({ deliveredTo: written, exact }));
  }

  #dropped(
    id: string,
    messageId: string,
    { reason, exact, notDelivered }: Pick<PublishResult, "exact" | "notDelivered"> & { reason: DropReason },
  ): Sequenced {
    this.#note(id, reason, this.#deps.clock.now());
    return done({ messageId, deliveredTo: 0, exact, dropped: true, reason, notDelivered });
  }

  #rateLimited(id: string): Sequenced {
    this.#note(id, "rate_limited", this.#deps.clock.now());
    return { kind: "refused", code: "rate_limited" };
  }

  #wrongRouter(): Sequenced {
    this.#deps.stats.wrongRouter += 1;
    return WRONG;
  }

  #note(id: string, cause: DropCause, nowMs: number): void {
    this.#deps.stats.dropped[cause] += 1;
    this.#deps.drops.add(id, cause, nowMs);
  }
}

/** Whether any link takes what is said; one that has ended may be listed for a moment more. */
function isHeard(entry: TopicEntry<RecordTaker>): boolean {
  for (const link of entry.links) if (link.open) return true;
  return false;
}

function done(result: Partial<PublishResult>): Sequenced {
  const { messageId = "", deliveredTo = 0, exact = false, dropped = false, reason, notDelivered = NOTHING } = result;
  return { kind: "done", result: { messageId, deliveredTo, exact, dropped, reason, notDelivered } };
}
