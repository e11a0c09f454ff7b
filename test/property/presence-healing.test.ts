// Gateways' ledgers against a store whose answers get lost and that is started anew, empty: whatever happens, when it is
// quiet again the store holds exactly what the gateways hold, and subscribers were told of exactly who is there.

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
  lease: { store: number; id: string } | undefined;
  /** A batch was applied whose answer did not arrive. */
  unanswered: boolean;
}

type Step =
  | { readonly kind: "join" | "leave"; readonly gateway: number; readonly user: number; readonly tab: number }
  | { readonly kind: "flush"; readonly gateway: number; readonly lost: "nothing" | "request" | "answer" }
  | { readonly kind: "renew"; readonly gateway: number }
  | { readonly kind: "reap" }
  | { readonly kind: "restart" }
  | { readonly kind: "wait"; readonly ms: number };

const gateway = fc.nat({ max: 2 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom("join", "leave"),
      gateway,
      user: fc.nat({ max: 2 }),
      tab: fc.nat({ max: 1 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("flush"),
      gateway,
      lost: fc.constantFrom("nothing", "nothing", "nothing", "request", "answer"),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("renew"), gateway }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("reap") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait"), ms: fc.nat({ max: 3_000 }) }) },
);

class World {
  readonly gateways: readonly Gateway[] = ["g0", "g1", "g2"].map((name) => ({
    name,
    ledger: new Ledger(),
    held: new Map(),
    lease: undefined,
    unanswered: false,
  }));
  readonly heard: { userId: string; version: number; present: boolean }[] = [];
  nowMs = 0;
  store = new MemoryStore({ startedAtMs: 0, firstVersion: 0 });
  stores = 0;

  /** As a topic's router takes changes: each by its version, whenever it comes. */
  hear(orders: readonly PresenceOrder[]): void {
    for (const { update } of orders) {
      for (const { userId } of update.joined) this.heard.push({ userId, version: update.version, present: true });
      for (const { userId } of update.left) this.heard.push({ userId, version: update.version, present: false });
    }
  }

  /** Who was told to be there, by what was told last of each; and how often somebody was told what was so already. */
  get told(): { users: string[]; repeated: number } {
    const present = new Set<string>();
    let repeated = 0;
    for (const change of this.heard.toSorted((one, other) => one.version - other.version)) {
      if (present.has(change.userId) === change.present) repeated += 1;
      if (change.present) present.add(change.userId);
      else present.delete(change.userId);
    }
    return { users: [...present].sort(), repeated };
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
    const entry = {
      topicId: TOPIC,
      userId: `u${user}`,
      info: undefined,
      connectionId,
      subscriptionId: "s1",
      subscribedAtMs: 1,
    };
    held.set(connectionId, entry);
    ledger.join(entry);
  }

  renew(one: Gateway): void {
    const id = this.store.renewLease(one.name, TTL_MS, this.nowMs) ?? "";
    const before = one.lease;
    one.lease = { store: this.stores, id };
    if (before === undefined || (before.store === this.stores && before.id === id)) return;
    one.ledger.emptied(before.store === this.stores ? "lapsed" : "restarted");
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

  settle(): void {
    for (let round = 0; round < 4; round++) {
      for (const one of this.gateways) this.renew(one);
      for (const one of this.gateways) for (let turn = 0; turn < 4; turn++) this.flush(one, "nothing");
      this.hear(ordersOfReaped(this.store.reap(this.nowMs)));
      this.nowMs += RECOVERY_MS / 2;
    }
  }

  get users(): Set<string> {
    return new Set(this.gateways.flatMap(({ held }) => [...held.values()].map(({ userId }) => userId)));
  }
}

function run(steps: readonly Step[]): World {
  const world = new World();
  for (const one of world.gateways) world.renew(one);
  for (const one of steps) world.run(one);
  world.settle();
  return world;
}

test("when it is quiet again everybody was told of exactly who is there, and the store holds nothing else", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 80 }), (steps) => {
      const world = run(steps);
      const page = world.store.list(TOPIC, 1_000, undefined, world.nowMs);
      const held = world.gateways.flatMap(({ held }) => [...held.keys()]).sort();
      expect(page.members.map(({ connectionId }) => connectionId).sort()).toEqual(held);
      expect(page.count).toBe(world.users.size);
      expect(world.told.users).toEqual([...world.users].sort());
      for (const { ledger, held: mine } of world.gateways) {
        expect([ledger.held, ledger.pending]).toEqual([mine.size, 0]);
      }
    }),
    { numRuns: 300 },
  );
});

test("as long as store and leases live nothing is told twice, however many answers are lost", () => {
  const calm = fc.array(
    step.filter(({ kind }) => kind !== "restart" && kind !== "wait"),
    { minLength: 1, maxLength: 80 },
  );
  fc.assert(
    fc.property(calm, (steps) => {
      expect(run(steps).told.repeated).toBe(0);
    }),
    { numRuns: 300 },
  );
});
