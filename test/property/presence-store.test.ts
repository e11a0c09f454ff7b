// The memory store against a model that knows only who holds what, and until when.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { MemoryStore, SILENCE_MS } from "../../gateway/presence/memory-store.ts";
import type { PresenceEntry, PresenceOperation } from "../../gateway/presence/presence.ts";

const GATEWAYS = ["g0", "g1", "g2"];
const TOPICS = ["shop.chat", "shop.chat:a"];
const TTL_MS = 6_000;

type Step =
  | { readonly kind: "batch"; readonly gateway: number; readonly operations: readonly Touch[] }
  | { readonly kind: "again"; readonly gateway: number }
  | { readonly kind: "renew"; readonly gateway: number }
  | { readonly kind: "release"; readonly gateway: number }
  | { readonly kind: "reap" }
  | { readonly kind: "wait"; readonly ms: number; readonly silent: boolean };

interface Touch {
  readonly kind: "join" | "leave";
  readonly topic: number;
  readonly user: number;
  readonly tab: number;
}

const gateway = fc.nat({ max: GATEWAYS.length - 1 });
const touch: fc.Arbitrary<Touch> = fc.record({
  kind: fc.constantFrom("join", "join", "leave"),
  topic: fc.nat({ max: TOPICS.length - 1 }),
  user: fc.nat({ max: 3 }),
  tab: fc.nat({ max: 2 }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("batch"), gateway, operations: fc.array(touch, { maxLength: 8 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("again"), gateway }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("renew"), gateway }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("release"), gateway }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("reap") }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("wait"), ms: fc.nat({ max: 4_000 }), silent: fc.boolean() }),
  },
);

function entryOf(gatewayName: string, { topic, user, tab }: Touch): PresenceEntry {
  return {
    topicId: TOPICS[topic] ?? "",
    userId: `u${user}`,
    info: undefined,
    connectionId: `${gatewayName}-${user}-${tab}`,
    subscriptionId: `s${topic}`,
    subscribedAtMs: 1,
  };
}

class World {
  readonly store = new MemoryStore({ startedAtMs: 0, firstVersion: 1_000 });
  nowMs = 0;
  readonly leases = new Map<
    string,
    { id: string; expiresAtMs: number; entries: Map<string, PresenceEntry>; batch: number }
  >();
  /** Users that others were told are there, by topic. */
  readonly told = new Map<string, Set<string>>(TOPICS.map((topicId) => [topicId, new Set()]));
  readonly versions = new Map<string, number>();
  last: { gateway: string; operations: PresenceOperation[]; versions: number[] } | undefined;

  expire(): void {
    for (const [name, lease] of this.leases) if (lease.expiresAtMs <= this.nowMs) this.leases.delete(name);
  }

  users(topicId: string): Set<string> {
    const held = [...this.leases.values()].flatMap(({ entries }) => [...entries.values()]);
    return new Set(held.filter((entry) => entry.topicId === topicId).map(({ userId }) => userId));
  }

  tell(kind: "join" | "leave", topicId: string, userId: string, version: number): void {
    const told = this.told.get(topicId);
    expect(told?.has(userId), `${userId} ${kind}`).toBe(kind === "leave");
    if (kind === "join") told?.add(userId);
    else told?.delete(userId);
    expect(version).toBeGreaterThan(this.versions.get(topicId) ?? 0);
    this.versions.set(topicId, version);
  }

  run(one: Step): void {
    switch (one.kind) {
      case "batch":
        this.batch(GATEWAYS[one.gateway] ?? "", one.operations);
        return;
      case "again":
        this.again(GATEWAYS[one.gateway] ?? "");
        return;
      case "renew":
        this.renew(GATEWAYS[one.gateway] ?? "", TTL_MS);
        return;
      case "release":
        this.renew(GATEWAYS[one.gateway] ?? "", 0);
        return;
      case "reap":
        this.reap();
        return;
      case "wait":
        this.wait(one.ms, one.silent);
    }
  }

  /** While the store hears nobody at all, no lease runs out; otherwise a gateway that is not seen here calls it. */
  wait(ms: number, silent: boolean): void {
    const endsAtMs = this.nowMs + ms;
    const stepMs = silent ? ms : SILENCE_MS;
    while (this.nowMs + stepMs < endsAtMs) {
      this.nowMs += stepMs;
      this.call();
    }
    const silenceMs = endsAtMs - this.nowMs;
    if (silenceMs > SILENCE_MS) for (const lease of this.leases.values()) lease.expiresAtMs += silenceMs;
    this.nowMs = endsAtMs;
    this.call();
  }

  call(): void {
    this.store.list("shop.nobody", 1, undefined, this.nowMs);
    this.expire();
  }

  batch(name: string, touches: readonly Touch[]): void {
    const lease = this.leases.get(name);
    const operations = touches.map((one) => ({ kind: one.kind, entry: entryOf(name, one) }));
    const decisions = this.store.apply(name, lease?.id ?? "1", (lease?.batch ?? 0) + 1, operations, this.nowMs);
    if (lease === undefined) {
      expect(decisions).toBeUndefined();
      return;
    }
    lease.batch += 1;
    for (const [index, { kind, entry }] of operations.entries()) {
      const decision = decisions?.[index];
      const key = `${entry.topicId} ${entry.connectionId}`;
      if (kind === "join") lease.entries.set(key, entry);
      else lease.entries.delete(key);
      expect(decision?.count).toBe(this.users(entry.topicId).size);
      if (decision?.changed === true) this.tell(kind, entry.topicId, entry.userId, decision.version);
    }
    this.last = { gateway: name, operations, versions: decisions?.map(({ version }) => version) ?? [] };
  }

  /** The answer was lost: the very same batch is sent once more, and changes nothing. */
  again(name: string): void {
    const lease = this.leases.get(name);
    if (lease === undefined || this.last?.gateway !== name || lease.batch === 0) return;
    this.store.list("shop.nobody", 1, undefined, this.nowMs);
    const before = this.store.sizes;
    const answer = this.store.apply(name, lease.id, lease.batch, this.last.operations, this.nowMs);
    expect(answer?.map(({ version }) => version)).toEqual(this.last.versions);
    expect(this.store.sizes).toEqual(before);
  }

  renew(name: string, ttlMs: number): void {
    const id = this.store.renewLease(name, ttlMs, this.nowMs) ?? "";
    const lease = this.leases.get(name);
    if (lease !== undefined) {
      expect(id).toBe(lease.id);
      lease.expiresAtMs = this.nowMs + ttlMs;
    } else if (ttlMs > 0) {
      this.leases.set(name, { id, expiresAtMs: this.nowMs + ttlMs, entries: new Map(), batch: 0 });
      if (this.last?.gateway === name) this.last = undefined;
    }
    this.expire();
  }

  reap(): void {
    // Of one topic the last version is the highest.
    for (const { topicId, userId, count, version } of this.store.reap(this.nowMs)) {
      expect(count).toBe(this.users(topicId).size);
      this.tell("leave", topicId, userId, version);
    }
    for (const topicId of TOPICS) expect(this.told.get(topicId)).toEqual(this.users(topicId));
  }

  /** Every page together is exactly who is there, whatever its length. */
  checkPages(limit: number): void {
    for (const topicId of TOPICS) {
      const seen: PresenceEntry[] = [];
      let cursor: string | undefined;
      do {
        const page = this.store.list(topicId, limit, cursor, this.nowMs);
        expect(page.count).toBe(this.users(topicId).size);
        expect(new Set(page.members.map(({ userId }) => userId)).size).toBeLessThanOrEqual(limit);
        seen.push(...page.members);
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      const held = [...this.leases.values()].flatMap(({ entries }) => [...entries.values()]);
      const names = (entries: readonly PresenceEntry[]): string[] =>
        entries.map(({ connectionId }) => connectionId).sort();
      expect(names(seen)).toEqual(names(held.filter((entry) => entry.topicId === topicId)));
    }
  }
}

test("counts are right, and each user's coming and going is told exactly once, in turn", () => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 60, size: "max" }),
      fc.integer({ min: 1, max: 5 }),
      (steps, limit) => {
        const world = new World();
        for (const name of GATEWAYS) world.renew(name, TTL_MS);
        for (const one of steps) world.run(one);
        world.checkPages(limit);
        world.reap();
        expect(world.store.sizes.departures).toBe(0);
        world.wait(2 * TTL_MS, false);
        world.reap();
        expect(world.store.sizes).toMatchObject({ topics: 0, entries: 0, leases: 0, departures: 0 });
      },
    ),
    { numRuns: 300 },
  );
});
