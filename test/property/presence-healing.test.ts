// Gateways' ledgers against a store whose answers get lost and that is started anew, empty: whatever happens, when it is
// quiet again the store holds exactly what the gateways hold, and whoever watches sees exactly who is there.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ordersOf, ordersOfReaped, type PresenceOrder } from "../../gateway/presence/changes.ts";
import { Ledger } from "../../gateway/presence/ledger.ts";
import { MemoryStore, RECOVERY_MS } from "../../gateway/presence/memory-store.ts";
import type { PresenceEntry } from "../../gateway/presence/presence.ts";

const TOPIC = "shop.chat";
const TTL_MS = 6_000;

interface Gateway {
  readonly name: string;
  readonly ledger: Ledger;
  readonly held: Map<string, PresenceEntry>;
  /** Who is there, as somebody who watches at this gateway sees it. */
  seen: Set<string>;
  lease: { store: number; id: string } | undefined;
  /** Its watchers are owed a whole list, from this time on. */
  owedAtMs: number | undefined;
  /** A batch was applied whose answer did not arrive. */
  unanswered: boolean;
}

type Step =
  | { readonly kind: "join" | "leave"; readonly gateway: number; readonly user: number; readonly tab: number }
  | { readonly kind: "flush"; readonly gateway: number; readonly lost: "nothing" | "request" | "answer" }
  | { readonly kind: "renew" | "pay"; readonly gateway: number }
  | { readonly kind: "reap" }
  | { readonly kind: "restart" }
  | { readonly kind: "wait"; readonly ms: number };

const gateway = fc.nat({ max: 2 });
const touch = fc.record({
  kind: fc.constantFrom("join", "leave"),
  gateway,
  user: fc.nat({ max: 2 }),
  tab: fc.nat({ max: 1 }),
});
const flush = fc.record({
  kind: fc.constant("flush"),
  gateway,
  lost: fc.constantFrom("nothing", "nothing", "nothing", "request", "answer"),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: touch },
  { weight: 8, arbitrary: flush },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom("renew", "pay"), gateway }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("reap") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait"), ms: fc.nat({ max: 3_000 }) }) },
);

class World {
  readonly gateways: readonly Gateway[] = ["g0", "g1", "g2"].map((name) => ({
    name,
    ledger: new Ledger(),
    held: new Map(),
    seen: new Set(),
    lease: undefined,
    owedAtMs: undefined,
    unanswered: false,
  }));
  nowMs = 0;
  store = new MemoryStore({ startedAtMs: 0, firstVersion: 0 });
  stores = 0;
  /** How often somebody was told what they knew. */
  repeated = 0;

  /** A topic's router tells all watchers, at once. */
  hear(orders: readonly PresenceOrder[]): void {
    for (const { update } of orders) {
      for (const { seen } of this.gateways) {
        for (const { userId } of update.joined) {
          if (seen.has(userId)) this.repeated += 1;
          seen.add(userId);
        }
        for (const { userId } of update.left) if (!seen.delete(userId)) this.repeated += 1;
      }
    }
  }

  at(index: number): Gateway {
    const found = this.gateways[index];
    if (found === undefined) throw new Error(`no gateway ${index}`);
    return found;
  }

  run(one: Step): void {
    switch (one.kind) {
      case "join":
      case "leave":
        this.touch(this.at(one.gateway), one);
        return;
      case "flush":
        this.flush(this.at(one.gateway), one.lost);
        return;
      case "renew":
        this.renew(this.at(one.gateway));
        return;
      case "pay":
        this.pay(this.at(one.gateway));
        return;
      case "reap":
        this.hear(ordersOfReaped(this.store.reap(this.nowMs)));
        return;
      case "restart":
        this.stores += 1;
        // Versions begin at the time of the start, which is far beyond what was counted before.
        this.store = new MemoryStore({ startedAtMs: this.nowMs, firstVersion: this.stores * 1_000_000 });
        return;
      case "wait":
        // Who lives repeats a batch without an answer at once, long before a lease runs out.
        for (const gateway of this.gateways) if (gateway.unanswered) this.flush(gateway, "nothing");
        this.nowMs += one.ms;
    }
  }

  touch(
    { name, ledger, held }: Gateway,
    { kind, user, tab }: { kind: "join" | "leave"; user: number; tab: number },
  ): void {
    const connectionId = `${name}-${user}-${tab}`;
    if (kind === "leave") {
      const entry = held.get(connectionId);
      if (entry === undefined) return;
      held.delete(connectionId);
      ledger.leave(entry);
      return;
    }
    if (held.has(connectionId)) return;
    const userId = `u${user}`;
    const entry = { topicId: TOPIC, userId, info: undefined, connectionId, subscriptionId: "s1", subscribedAtMs: 1 };
    held.set(connectionId, entry);
    ledger.join(entry);
  }

  renew(one: Gateway): void {
    const id = this.store.renewLease(one.name, TTL_MS, this.nowMs) ?? "";
    const before = one.lease;
    one.lease = { store: this.stores, id };
    if (before === undefined || (before.store === this.stores && before.id === id)) return;
    const why = before.store === this.stores ? "lapsed" : "restarted";
    one.ledger.emptied(why);
    one.owedAtMs = why === "restarted" ? this.nowMs + RECOVERY_MS : this.nowMs;
  }

  flush(one: Gateway, lost: "nothing" | "request" | "answer"): void {
    const { lease, ledger, name } = one;
    if (lease === undefined || lost === "request") return;
    const batch = ledger.nextBatch();
    if (batch === undefined) return;
    const decisions =
      lease.store === this.stores
        ? this.store.apply(name, lease.id, batch.number, batch.operations, this.nowMs)
        : undefined;
    one.unanswered = decisions !== undefined && lost === "answer";
    if (decisions === undefined || one.unanswered) return;
    ledger.applied(batch);
    this.hear(ordersOf(batch.operations, decisions));
  }

  /** Gives a gateway's watchers the whole list that they are owed. A gateway sends what it holds before it reads. */
  pay(one: Gateway): void {
    if (one.owedAtMs === undefined || this.nowMs < one.owedAtMs || one.lease?.store !== this.stores) return;
    for (let turn = 0; turn < 4; turn++) this.flush(one, "nothing");
    if (one.ledger.pending > 0) return;
    one.owedAtMs = undefined;
    one.seen = new Set(this.listed.map(({ userId }) => userId));
  }

  get listed(): readonly PresenceEntry[] {
    return this.store.list(TOPIC, 1_000, undefined, this.nowMs).members;
  }

  settle(): void {
    for (let round = 0; round < 3; round++) {
      for (const one of this.gateways) this.renew(one);
      for (const one of this.gateways) for (let turn = 0; turn < 4; turn++) this.flush(one, "nothing");
      this.hear(ordersOfReaped(this.store.reap(this.nowMs)));
      this.nowMs += RECOVERY_MS;
      for (const one of this.gateways) this.pay(one);
    }
  }

  get users(): string[] {
    return [...new Set(this.gateways.flatMap(({ held }) => [...held.values()].map(({ userId }) => userId)))].sort();
  }
}

function run(steps: readonly Step[]): World {
  const world = new World();
  for (const one of world.gateways) world.renew(one);
  for (const one of steps) world.run(one);
  world.settle();
  return world;
}

test("when it is quiet again everybody sees exactly who is there, and the store holds nothing else", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 80, size: "max" }), (steps) => {
      const world = run(steps);
      const held = world.gateways.flatMap(({ held }) => [...held.keys()]).sort();
      expect(world.listed.map(({ connectionId }) => connectionId).sort()).toEqual(held);
      for (const { name, seen, ledger, held } of world.gateways) {
        expect([...seen].sort(), name).toEqual(world.users);
        expect([ledger.held, ledger.pending], name).toEqual([held.size, 0]);
      }
    }),
    { numRuns: 300 },
  );
});

test("as long as store and leases live and no answer is lost, nothing is told twice", () => {
  const calm = step.filter(
    (one) => one.kind !== "restart" && one.kind !== "wait" && !("lost" in one && one.lost === "answer"),
  );
  fc.assert(
    fc.property(fc.array(calm, { minLength: 1, maxLength: 80, size: "max" }), (steps) => {
      expect(run(steps).repeated).toBe(0);
    }),
    { numRuns: 300 },
  );
});
