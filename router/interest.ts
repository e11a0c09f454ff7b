// Owns: who listens to what, as this router knows it: for every topic id the gateways' links with their counts, totals,
// the topic's seq, and when it last spoke. Pure state but for the time that is passed in.
// Invariants: `total` is the sum of `counts`; `links` holds exactly those with a count above 0, densely, since publishing
// walks them; an entry whose total fell to 0 is forgotten 2 s later, so churn costs counts, not entries; a topic's seq
// never goes back, because a new entry starts at the message counter, which no topic's seq ever passes.
// Elsewhere: limits and confirms (links/interest-intake.ts), what is sent (sequencer/).

import { INTEREST_LINGER_MS } from "#core/domain/limits.ts";
import { shardOf } from "#core/domain/shard.ts";
import type { TopicId } from "#core/domain/topic-id.ts";
import type { TokenBucket } from "#core/runtime/token-bucket.ts";
import type { QueuedRecord } from "./record.ts";
import type { SpokenMemory } from "./spoken-memory.ts";

/** The message counter of this process: the sequence part of the last message id. */
export interface MessageCounter {
  last: number;
}

export class TopicEntry<Link> {
  readonly id: string;
  /** `<namespace>.<name>` */
  readonly topicKey: string;
  readonly isChannel: boolean;
  readonly shard: number;
  /** Same index, same link. */
  readonly links: Link[] = [];
  readonly counts: number[] = [];
  readonly presenceCounts: number[] = [];
  total = 0;
  presenceTotal = 0;
  /** Of the last message. */
  seq: number;
  /** Monotonic; undefined when none is remembered. */
  spokenAtMs: number | undefined;
  /** Monotonic: since when nobody listens; undefined while somebody does. */
  emptySinceMs: number | undefined;
  /** Monotonic: when the last presence frame went out. */
  presenceFrameAtMs = Number.NEGATIVE_INFINITY;
  /** Messages that wait for their batch window to end. Owned by sequencer/batch-windows.ts. */
  held: QueuedRecord[] | undefined;
  /** Owned by sequencer/rate-limits.ts. */
  bucket: { readonly perSecond: number; readonly bucket: TokenBucket } | undefined;

  constructor(topicId: TopicId, seq: number, spokenAtMs: number | undefined) {
    this.id = topicId.id;
    this.topicKey = topicId.topic;
    this.isChannel = topicId.channel !== undefined;
    this.shard = shardOf(topicId.id);
    this.seq = seq;
    this.spokenAtMs = spokenAtMs;
  }

  countOf(link: Link): number {
    return this.counts[this.links.indexOf(link)] ?? 0;
  }
}

export interface InterestListener<Link> {
  /** A link is about to be added to or removed from an entry. */
  beforeMembership(entry: TopicEntry<Link>): void;
  /** The total or the number of those who asked for presence is another one than before. */
  changed(entry: TopicEntry<Link>, totalBefore: number): void;
}

export interface InterestChange<Link> {
  readonly link: Link;
  readonly topicId: TopicId;
  /** Subscriptions on that gateway; 0 ends the interest. */
  readonly count: number;
  readonly presenceCount: number;
}

export class InterestTable<Link> {
  readonly #counter: MessageCounter;
  readonly #spoken: SpokenMemory;
  readonly #entries = new Map<string, TopicEntry<Link>>();
  readonly #byLink = new Map<Link, Set<TopicEntry<Link>>>();
  /** Entries without listeners, the one that has been empty longest first. */
  readonly #lingering = new Set<TopicEntry<Link>>();
  #listener: InterestListener<Link> | undefined;
  #subscriptions = 0;

  constructor(counter: MessageCounter, spoken: SpokenMemory) {
    this.#counter = counter;
    this.#spoken = spoken;
  }

  listen(listener: InterestListener<Link>): void {
    this.#listener = listener;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Sum of all totals. */
  get subscriptions(): number {
    return this.#subscriptions;
  }

  get(id: string): TopicEntry<Link> | undefined {
    return this.#entries.get(id);
  }

  entries(): IterableIterator<TopicEntry<Link>> {
    return this.#entries.values();
  }

  /** Topic ids of which a link has a count above 0. */
  topicsOf(link: Link): number {
    return this.#byLink.get(link)?.size ?? 0;
  }

  /** Where a topic's seq stands, whether or not it is remembered. */
  seqOf(id: string): number {
    return this.#entries.get(id)?.seq ?? this.#counter.last;
  }

  /** Monotonic: when a topic last spoke, whether or not anybody listened; undefined when none is remembered. */
  spokenAtMs(id: string): number | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined ? this.#spoken.get(id) : entry.spokenAtMs;
  }

  /** Sets a link's counts, absolutely. Answers the entry; undefined where there is none and none is needed. */
  set(change: InterestChange<Link>, nowMs: number): TopicEntry<Link> | undefined {
    const { link, topicId, count, presenceCount } = change;
    const entry = this.#entries.get(topicId.id) ?? (count === 0 ? undefined : this.#add(topicId));
    if (entry === undefined) return undefined;
    const place = entry.links.indexOf(link);
    if (count === 0) {
      if (place >= 0) this.#remove(entry, place, nowMs);
      return entry;
    }
    const totalBefore = entry.total;
    if (place < 0) {
      this.#listener?.beforeMembership(entry);
      entry.links.push(link);
      entry.counts.push(count);
      entry.presenceCounts.push(presenceCount);
      this.#of(link).add(entry);
      this.#lingering.delete(entry);
      entry.emptySinceMs = undefined;
      this.#account(entry, count, presenceCount);
    } else {
      const countBefore = entry.counts[place] ?? 0;
      const presenceBefore = entry.presenceCounts[place] ?? 0;
      if (count === countBefore && presenceCount === presenceBefore) return entry;
      entry.counts[place] = count;
      entry.presenceCounts[place] = presenceCount;
      this.#account(entry, count - countBefore, presenceCount - presenceBefore);
    }
    this.#listener?.changed(entry, totalBefore);
    return entry;
  }

  /** Forgets all that a link brought, yielding after every topic so that the caller may pause between any two. */
  *removing(link: Link, nowMs: number): Generator<void, void> {
    const entries = this.#byLink.get(link);
    if (entries === undefined) return;
    for (const entry of entries) {
      this.#remove(entry, entry.links.indexOf(link), nowMs);
      yield;
    }
    this.#byLink.delete(link);
  }

  /** Forgets entries that have been empty for INTEREST_LINGER_MS. */
  sweep(nowMs: number): void {
    for (const entry of this.#lingering) {
      if (entry.emptySinceMs !== undefined && nowMs - entry.emptySinceMs < INTEREST_LINGER_MS) return;
      this.#lingering.delete(entry);
      this.#entries.delete(entry.id);
      if (entry.spokenAtMs !== undefined) this.#spoken.remember(entry.id, entry.spokenAtMs);
    }
  }

  #add(topicId: TopicId): TopicEntry<Link> {
    const entry = new TopicEntry<Link>(topicId, this.#counter.last, this.#spoken.get(topicId.id));
    this.#entries.set(topicId.id, entry);
    return entry;
  }

  #of(link: Link): Set<TopicEntry<Link>> {
    let entries = this.#byLink.get(link);
    if (entries === undefined) {
      entries = new Set();
      this.#byLink.set(link, entries);
    }
    return entries;
  }

  #remove(entry: TopicEntry<Link>, place: number, nowMs: number): void {
    const link = entry.links[place];
    if (link === undefined) return;
    this.#listener?.beforeMembership(entry);
    const totalBefore = entry.total;
    const count = entry.counts[place] ?? 0;
    const presenceCount = entry.presenceCounts[place] ?? 0;
    takeOut(entry.links, place);
    takeOut(entry.counts, place);
    takeOut(entry.presenceCounts, place);
    this.#byLink.get(link)?.delete(entry);
    this.#account(entry, -count, -presenceCount);
    if (entry.links.length === 0) {
      entry.emptySinceMs = nowMs;
      this.#lingering.add(entry);
    }
    this.#listener?.changed(entry, totalBefore);
  }

  #account(entry: TopicEntry<Link>, count: number, presenceCount: number): void {
    entry.total += count;
    entry.presenceTotal += presenceCount;
    this.#subscriptions += count;
  }
}

/** The last one takes its place: order among links means nothing. */
function takeOut(list: unknown[], place: number): void {
  const last = list.pop();
  if (place < list.length) list[place] = last;
}
