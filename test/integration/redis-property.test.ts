// Gateways' ledgers against a real Redis: answers get lost, gateways die and others come, Redis forgets everything or
// (as after a failover) some of it. Whatever happens, when it is quiet again Redis holds exactly what the living hold, and
// whoever watches sees exactly who is there. The seed of a failure is printed by fast-check.

import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ordersOf, ordersOfReaped, type PresenceOrder } from "../../gateway/presence/changes.ts";
import { Ledger } from "../../gateway/presence/ledger.ts";
import type { PresenceEntry, PresenceStore } from "../../gateway/presence/presence.ts";
import { openRedis, targetOf } from "../harness/presence-stores.ts";
import { HAS_REDIS, RedisServer } from "../harness/redis.ts";
import { until } from "../harness/until.ts";

const TOPIC = "shop.chat";
const TTL_MS = 60_000;
const GATEWAYS = 3;

type Step =
  | { readonly kind: "join" | "leave"; readonly gateway: number; readonly user: number; readonly tab: number }
  | { readonly kind: "flush"; readonly gateway: number; readonly lost: "nothing" | "request" | "answer" }
  | { readonly kind: "renew" | "die" | "lapse" | "list"; readonly gateway: number }
  | { readonly kind: "reap" }
  | { readonly kind: "forget"; readonly what: "all" | "leases" | "topic" | "index" };

const gateway = fc.nat({ max: GATEWAYS - 1 });
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
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom("renew", "renew", "die", "lapse", "list"), gateway }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("reap") }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("forget"),
      what: fc.constantFrom("all", "leases", "topic", "index"),
    }),
  },
);

class Gateway {
  readonly name: string;
  readonly store: PresenceStore;
  readonly ledger = new Ledger();
  readonly held = new Map<string, PresenceEntry>();
  /** Who is there, as somebody who watches here sees it. */
  seen = new Set<string>();
  /** The store came back without something: who watches is owed a whole list. */
  owed = false;

  constructor(name: string, store: PresenceStore) {
    this.name = name;
    this.store = store;
    store.onEmptied((why) => {
      this.ledger.emptied(why);
      this.owed = true;
    });
  }

  async renew(ttlMs = TTL_MS): Promise<void> {
    await until(
      () =>
        this.store.renewLease(this.name, ttlMs).then(
          () => true,
          () => false,
        ),
      "a lease",
    );
  }

  touch(kind: "join" | "leave", user: number, tab: number): void {
    const connectionId = `${this.name}-${user}-${tab}`;
    const entry = this.held.get(connectionId);
    if (kind === "leave" && entry !== undefined) {
      this.held.delete(connectionId);
      this.ledger.leave(entry);
    } else if (kind === "join" && entry === undefined) {
      const userId = `u${user}`;
      const fresh = { topicId: TOPIC, userId, info: undefined, connectionId, subscriptionId: "s1", subscribedAtMs: 1 };
      this.held.set(connectionId, fresh);
      this.ledger.join(fresh);
    }
  }
}

/** A gateway that died before it told what the store had decided, of a user whom another one holds too. */
const DIED_UNTOLD: Step[] = [
  { kind: "join", gateway: 1, user: 0, tab: 0 },
  { kind: "join", gateway: 0, user: 0, tab: 0 },
  { kind: "flush", gateway: 0, lost: "answer" },
  { kind: "flush", gateway: 1, lost: "nothing" },
  { kind: "die", gateway: 0 },
];

describe.skipIf(!HAS_REDIS)("Redis", { timeout: 600_000 }, () => {
  let redis: RedisServer;
  let runs = 0;
  beforeAll(async () => {
    redis = await RedisServer.start({ args: ["--enable-debug-command", "yes"] });
  });
  afterAll(() => redis?.close());

  class World {
    readonly prefix = `run${runs}`;
    readonly gateways: Gateway[] = [];
    #names = 0;

    async begin(): Promise<void> {
      // A store that has just begun would have everybody read whole lists at the end.
      await redis.client.hset(`${this.prefix}:{leases}:meta`, "born", "1");
      for (let index = 0; index < GATEWAYS; index++) await this.replace(index);
    }

    /** A gateway that died is another one when it comes back. */
    async replace(index: number): Promise<void> {
      const dead = this.gateways[index];
      await dead?.store.close();
      this.#names += 1;
      const target = targetOf({ EARSHOT_REDIS_URL: redis.url, EARSHOT_REDIS_PREFIX: this.prefix });
      const store = openRedis(target);
      store.onGone((gone) => this.hear(ordersOfReaped(gone)));
      const fresh = new Gateway(`g${this.#names}`, store);
      await fresh.renew();
      fresh.seen = new Set((await this.listed(fresh)).map(({ userId }) => userId));
      this.gateways[index] = fresh;
    }

    at(index: number): Gateway {
      const found = this.gateways[index];
      if (found === undefined) throw new Error(`no gateway ${index}`);
      return found;
    }

    hear(orders: readonly PresenceOrder[]): void {
      for (const { update } of orders) {
        for (const { seen } of this.gateways) {
          for (const { userId } of update.joined) seen.add(userId);
          for (const { userId } of update.left) seen.delete(userId);
        }
      }
    }

    async run(one: Step): Promise<void> {
      switch (one.kind) {
        case "join":
        case "leave":
          this.at(one.gateway).touch(one.kind, one.user, one.tab);
          return;
        case "flush":
          await this.flush(this.at(one.gateway), one.lost);
          return;
        case "renew":
          await this.at(one.gateway).renew();
          return;
        case "die":
          await this.expire(this.at(one.gateway));
          await this.replace(one.gateway);
          return;
        case "lapse":
          await this.expire(this.at(one.gateway));
          return;
        case "list":
          await this.at(one.gateway)
            .store.list(TOPIC, 2, undefined)
            .catch(() => {});
          return;
        case "reap":
          await this.reap();
          return;
        case "forget":
          await this.forget(one.what);
      }
    }

    /** Its lease runs out now. */
    expire(one: Gateway): Promise<void> {
      return one.renew(1);
    }

    async flush(one: Gateway, lost: "nothing" | "request" | "answer"): Promise<boolean> {
      const batch = one.ledger.nextBatch();
      if (batch === undefined) {
        one.store.allTold?.();
        return true;
      }
      if (lost === "request") return false;
      try {
        const decisions = await one.store.apply(one.name, batch.operations, batch.number);
        if (lost === "answer") return false;
        one.ledger.applied(batch);
        this.hear(ordersOf(batch.operations, decisions));
      } catch {
        await one.renew();
      }
      return false;
    }

    async reap(): Promise<void> {
      await redis.client.del(`${this.prefix}:{leases}:look`);
      // Rejects while it is being connected to.
      for (const { store } of this.gateways) await store.reap().catch(() => {});
    }

    /** All of it, or what a replica that took over did not have. Gateways then notice that it is another server. */
    async forget(what: "all" | "leases" | "topic" | "index"): Promise<void> {
      const patterns = { all: "*", leases: "{leases}:*", topic: "topic:*", index: "index:*" };
      const keys = await redis.client.keys(`${this.prefix}:${patterns[what]}`);
      if (keys.length > 0) await redis.client.del(...keys);
      await redis.client.call("DEBUG", "CHANGE-REPL-ID");
      await redis.client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    }

    async settle(): Promise<void> {
      for (let round = 0; round < 3; round++) {
        for (const one of this.gateways) await one.renew();
        for (const one of this.gateways) while (!(await this.flush(one, "nothing")));
        for (const one of this.gateways) await one.renew();
        await this.reap();
      }
      // Within this time those who are told again are no news; afterwards who watches is given whole lists.
      for (const one of this.gateways.filter(({ owed }) => owed)) {
        one.seen = new Set((await this.listed(one)).map(({ userId }) => userId));
      }
    }

    async listed({ store }: Gateway): Promise<readonly PresenceEntry[]> {
      return (await store.list(TOPIC, 1_000, undefined)).members;
    }

    async close(): Promise<void> {
      for (const { store } of this.gateways) await store.close();
      await redis.client.flushall();
    }
  }

  test("when it is quiet again it holds exactly what the living hold, and everybody sees who is there", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60, size: "max" }), async (steps) => {
        runs += 1;
        const world = new World();
        await world.begin();
        try {
          for (const one of steps) await world.run(one);
          await world.settle();
          const held = world.gateways.flatMap(({ held }) => [...held.keys()]).sort();
          const users = [...new Set(world.gateways.flatMap(({ held }) => [...held.values()].map((e) => e.userId)))];
          for (const one of world.gateways) {
            // A gateway that was seen alive is not asked for again at once: where its index is lost, too, nobody else looks.
            const page = await until(async () => {
              const listed = await one.store.list(TOPIC, 1_000, undefined);
              const connections = listed.members.map(({ connectionId }) => connectionId).sort();
              return connections.join() === held.join() ? listed : undefined;
            }, `${one.name} lists ${held.join()}`);
            expect(page.count, one.name).toBe(users.length);
            expect([...one.seen].sort(), one.name).toEqual(users.sort());
            expect([one.ledger.held, one.ledger.pending], one.name).toEqual([one.held.size, 0]);
          }
        } finally {
          await world.close();
        }
      }),
      { numRuns: 100, examples: [[DIED_UNTOLD]] },
    );
  });
});
