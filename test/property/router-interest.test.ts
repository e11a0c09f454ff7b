import * as fc from "fast-check";
import { expect, test } from "vitest";
import { INTEREST_LINGER_MS } from "#core/domain/limits.ts";
import { parseTopicId, type TopicId } from "#core/domain/topic-id.ts";
import { InterestTable, type MessageCounter } from "../../router/interest.ts";
import { SpokenMemory } from "../../router/spoken-memory.ts";

const LINKS = ["g0", "g1", "g2", "g3"] as const;
const IDS = ["shop.chat", "shop.chat:a", "shop.chat:b", "shop.orders"] as const;

type Link = (typeof LINKS)[number];

type Step =
  | { readonly do: "set"; readonly link: Link; readonly id: string; readonly count: number; readonly presence: number }
  | { readonly do: "publish"; readonly id: string }
  | { readonly do: "unlink"; readonly link: Link }
  | { readonly do: "wait"; readonly ms: number };

const link = fc.constantFrom(...LINKS);
const id = fc.constantFrom(...IDS);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("set" as const), link, id, count: fc.nat(3), presence: fc.nat(3) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("publish" as const), id }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("unlink" as const), link }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 999, 1_001, 2_500) }) },
);

function parsed(text: string): TopicId {
  const result = parseTopicId(text);
  if (!result.ok) throw new Error(result.reason);
  return result.value;
}

/** The table with what it is compared to: counts by topic and link, and every seq that was ever given. */
class Run {
  readonly counter: MessageCounter = { last: 0 };
  readonly table: InterestTable<Link>;
  readonly counts = new Map<string, Map<Link, { count: number; presence: number }>>();
  readonly lastSeq = new Map<string, number>();
  readonly emptySince = new Map<string, number>();
  readonly told = new Map<string, number>();
  nowMs = 0;

  constructor() {
    this.table = new InterestTable(this.counter, new SpokenMemory(0));
    this.table.listen({
      beforeMembership: () => undefined,
      changed: (entry, before) => {
        expect(this.told.get(entry.id) ?? 0).toBe(before);
        this.told.set(entry.id, entry.total);
      },
    });
  }

  apply(taken: Step): void {
    switch (taken.do) {
      case "set":
        this.#set(taken.link, taken.id, taken.count, Math.min(taken.presence, taken.count));
        return;
      case "publish":
        this.#publish(taken.id);
        return;
      case "unlink":
        expect([...this.table.removing(taken.link, this.nowMs)].every((step) => step === undefined)).toBe(true);
        for (const topic of this.counts.keys()) this.#put(topic, taken.link, 0, 0);
        return;
      case "wait":
        this.nowMs += taken.ms;
        this.table.sweep(this.nowMs);
        return;
    }
  }

  check(): void {
    let subscriptions = 0;
    for (const topic of IDS) {
      const links = this.counts.get(topic) ?? new Map<Link, { count: number; presence: number }>();
      const entry = this.table.get(topic);
      const total = [...links.values()].reduce((sum, { count }) => sum + count, 0);
      subscriptions += total;
      expect(entry?.total ?? 0).toBe(total);
      expect(entry?.presenceTotal ?? 0).toBe([...links.values()].reduce((sum, { presence }) => sum + presence, 0));
      expect(new Map((entry?.links ?? []).map((one, index) => [one, entry?.counts[index]]))).toEqual(
        new Map([...links].map(([one, { count }]) => [one, count])),
      );
      expect(entry?.links.length).toBe(entry?.counts.length);
      expect(entry?.links.length).toBe(entry?.presenceCounts.length);
      if (total > 0) expect(entry).toBeDefined();
      const emptyMs = this.nowMs - (this.emptySince.get(topic) ?? this.nowMs);
      if (total === 0 && entry !== undefined) expect(emptyMs).toBeLessThan(INTEREST_LINGER_MS + 2_500);
      expect(this.table.seqOf(topic)).toBeGreaterThanOrEqual(this.lastSeq.get(topic) ?? 0);
    }
    expect(this.table.subscriptions).toBe(subscriptions);
    for (const one of LINKS) {
      const topics = [...this.counts.values()].filter((links) => links.has(one)).length;
      expect(this.table.topicsOf(one)).toBe(topics);
    }
  }

  #set(one: Link, topic: string, count: number, presence: number): void {
    const entry = this.table.set({ link: one, topicId: parsed(topic), count, presenceCount: presence }, this.nowMs);
    this.#put(topic, one, count, presence);
    expect(entry?.countOf(one) ?? 0).toBe(count);
  }

  #put(topic: string, one: Link, count: number, presence: number): void {
    const links = this.counts.get(topic) ?? new Map();
    this.counts.set(topic, links);
    if (count > 0) links.set(one, { count, presence });
    else links.delete(one);
    if (links.size > 0) this.emptySince.delete(topic);
    else if (!this.emptySince.has(topic)) this.emptySince.set(topic, this.nowMs);
  }

  /** What the sequencer does of it. */
  #publish(topic: string): void {
    this.counter.last += 1;
    const entry = this.table.get(topic);
    if (entry === undefined) return;
    entry.seq += 1;
    expect(entry.seq).toBeGreaterThan(this.lastSeq.get(topic) ?? 0);
    expect(entry.seq).toBeLessThanOrEqual(this.counter.last);
    this.lastSeq.set(topic, entry.seq);
  }
}

test("whatever gateways say and leave, totals are right and a topic's seq only grows", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const run = new Run();
      for (const taken of steps) {
        run.apply(taken);
        run.check();
      }
    }),
    { numRuns: 500 },
  );
});
