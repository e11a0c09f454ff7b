// Presence in a real Redis Cluster of three masters with a replica each, with gateways' trackers in the test: while it is
// in use a slot moves, a master is killed, one stands still, one comes back empty.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import type { PresenceOrder } from "../../gateway/presence/changes.ts";
import type { PresenceEntry } from "../../gateway/presence/presence.ts";
import { StoreTracker } from "../../gateway/presence/tracker.ts";
import { openRedis, targetOf } from "../harness/presence-stores.ts";
import { HAS_REDIS } from "../harness/redis.ts";
import { RedisCluster } from "../harness/redis-cluster.ts";
import { until } from "../harness/until.ts";

const PLACED = { messageId: "", deliveredTo: 1, exact: false, dropped: false, reason: undefined, notDelivered: {} };
/** A failover takes some seconds, and this machine may be slow. */
const FAILOVER_MS = 30_000;

describe.skipIf(!HAS_REDIS)("a Redis Cluster", { timeout: 120_000 }, () => {
  let cluster: RedisCluster;
  let trackers: StoreTracker[] = [];
  let names = 0;

  beforeAll(async () => {
    cluster = await RedisCluster.start();
  }, 120_000);
  afterEach(async () => {
    for (const tracker of trackers) await tracker.close();
    trackers = [];
    for (const node of cluster.nodes) if (!node.isRunning) await node.start();
    await cluster.whole();
  }, 120_000);
  afterAll(() => cluster?.close());

  /** What was told of a topic: `+alice`, `-alice`. */
  const told = new Map<string, string[]>();

  async function open(): Promise<StoreTracker> {
    names += 1;
    const target = targetOf({ EARSHOT_REDIS_URL: cluster.url, EARSHOT_REDIS_MODE: "Cluster" });
    const log = createLog("silent", {});
    const tracker = new StoreTracker({
      store: openRedis(target, log),
      place: (order) => {
        hear(order);
        return Promise.resolve(PLACED);
      },
      incarnation: `gateway${names}`,
      log,
      registry: createRegistry("gateway"),
    });
    trackers.push(tracker);
    await until(async () => !(await tracker.snapshot("shop.other", 1, undefined)).stale, "the cluster answers");
    return tracker;
  }

  function hear({ topicId, update }: PresenceOrder): void {
    const changes = told.get(topicId) ?? [];
    told.set(topicId, changes);
    for (const { userId } of update.joined) changes.push(`+${userId}`);
    for (const { userId } of update.left) changes.push(`-${userId}`);
  }

  function entry(topicId: string, userId: string): PresenceEntry {
    return {
      topicId,
      userId,
      info: undefined,
      connectionId: `${topicId}-${userId}`,
      subscriptionId: "s1",
      subscribedAtMs: 5,
    };
  }

  async function usersAt(tracker: StoreTracker, topicId: string): Promise<string> {
    const { page, stale } = await tracker.snapshot(topicId, 1_000, undefined);
    return `${stale ? "stale " : ""}${[...new Set(page?.members.map(({ userId }) => userId))].sort().join()}`;
  }

  /** A user comes and goes every few milliseconds, in some of the topics. */
  function churn(tracker: StoreTracker, topics: readonly string[]): () => void {
    let turns = 0;
    const timer = setInterval(() => {
      const topicId = topics[turns % topics.length] ?? "";
      tracker.joined(entry(topicId, `churn${turns}`));
      if (turns >= 50) tracker.left(entry(topics[(turns - 50) % topics.length] ?? "", `churn${turns - 50}`));
      turns += 1;
    }, 2);
    return () => {
      clearInterval(timer);
      for (let turn = Math.max(0, turns - 50); turn < turns; turn++) {
        tracker.left(entry(topics[turn % topics.length] ?? "", `churn${turn}`));
      }
    };
  }

  test("topics lie on all masters, and each is as with one server", async () => {
    const [one, two] = [await open(), await open()];
    const topics = Array.from({ length: 20 }, (_, index) => `shop.chat:spread${index}`);
    const masters = new Set<number>();
    for (const topicId of topics) {
      one.joined(entry(topicId, "alice"));
      two.joined(entry(topicId, "bob"));
      masters.add((await cluster.masterOf(`{${topicId}}`)).port);
    }
    expect(masters.size).toBe(3);
    for (const topicId of topics) {
      await until(async () => (await usersAt(one, topicId)) === "alice,bob", `${topicId} has both`);
    }
    await two.close();
    for (const topicId of topics) {
      await until(async () => (await usersAt(one, topicId)) === "alice", `${topicId} has one`);
      await until(() => told.get(topicId)?.toSorted().join() === "+alice,+bob,-bob", `all is told of ${topicId}`);
    }
  });

  test("a slot that moves while its topic is in use loses nothing and tells nothing twice", async () => {
    const [one, two] = [await open(), await open()];
    const topicId = "shop.chat:moving";
    one.joined(entry(topicId, "alice"));
    two.joined(entry(topicId, "bob"));
    const stop = churn(one, [topicId]);
    for (let moves = 0; moves < 3; moves++) {
      await cluster.moveSlotOf(`{${topicId}}`);
      await until(async () => (await usersAt(two, topicId)).includes("alice,bob"), "it is listed where it is now");
    }
    stop();
    for (const tracker of [one, two]) {
      await until(async () => (await usersAt(tracker, topicId)) === "alice,bob", "only who stayed is there");
    }
    const changes = told.get(topicId) ?? [];
    expect(changes.filter((change) => /alice|bob/.test(change)).sort()).toEqual(["+alice", "+bob"]);
    expect(new Set(changes).size).toBe(changes.length);
  });

  for (const [what, topicId, key] of [
    ["that has a topic", "shop.chat:failing", "{shop.chat:failing}"],
    ["that has the leases", "shop.chat:leases", "{leases}"],
  ] as const) {
    test(`a master ${what} is killed while in use: its replica goes on, and nobody is gone`, async () => {
      const [one, two] = [await open(), await open()];
      one.joined(entry(topicId, "alice"));
      two.joined(entry(topicId, "bob"));
      await until(async () => (await usersAt(two, topicId)) === "alice,bob", "both are there");
      const stop = churn(one, [topicId, "shop.chat:other1", "shop.chat:other2"]);
      const master = await cluster.masterOf(key);
      await master.kill();
      const killedAtMs = performance.now();
      await until(async () => (await cluster.masterOf(key)).port !== master.port, "its replica is master", FAILOVER_MS);
      const promotedAtMs = performance.now();
      stop();
      for (const tracker of [one, two]) {
        await until(
          async () => (await usersAt(tracker, topicId)) === "alice,bob",
          "only who stayed is there",
          FAILOVER_MS,
        );
      }
      const [toPromoted, toWhole] = [promotedAtMs - killedAtMs, performance.now() - promotedAtMs].map(Math.round);
      process.stdout.write(`master ${what}: promoted after ${toPromoted} ms, lists whole ${toWhole} ms later\n`);
      const changes = told.get(topicId) ?? [];
      expect(changes.filter((change) => /-(alice|bob)/.test(change))).toEqual([]);
    });
  }

  test("a master that stands still is replaced; when it wakes, nobody heeds what it still knows", async () => {
    const [one, two] = [await open(), await open()];
    const topicId = "shop.chat:frozen";
    one.joined(entry(topicId, "alice"));
    two.joined(entry(topicId, "bob"));
    await until(async () => (await usersAt(two, topicId)) === "alice,bob", "both are there");
    const master = await cluster.masterOf(`{${topicId}}`);
    const others = cluster.nodes.filter((node) => node !== master);
    master.signal("SIGSTOP");
    try {
      one.left(entry(topicId, "alice"));
      two.joined(entry(topicId, "carol"));
      await until(
        async () => (await cluster.masterOf(`{${topicId}}`, others)).port !== master.port,
        "its replica is master",
        FAILOVER_MS,
      );
      for (const tracker of [one, two]) {
        await until(async () => (await usersAt(tracker, topicId)) === "bob,carol", "it goes on", FAILOVER_MS);
      }
    } finally {
      master.signal("SIGCONT");
    }
    await until(async () => (await master.client.role())[0] === "slave", "it is a replica now", FAILOVER_MS);
    two.joined(entry(topicId, "dave"));
    for (const tracker of [one, two]) {
      await until(async () => (await usersAt(tracker, topicId)) === "bob,carol,dave", "it still goes on", FAILOVER_MS);
    }
    expect(told.get(topicId)?.filter((change) => /-(bob|carol|dave)/.test(change))).toEqual([]);
  });

  test("a master that is back at once, but empty, is told all again", async () => {
    const [one, two] = [await open(), await open()];
    const topics = Array.from({ length: 6 }, (_, index) => `shop.chat:emptied${index}`);
    for (const topicId of topics) {
      one.joined(entry(topicId, "alice"));
      two.joined(entry(topicId, "bob"));
    }
    for (const topicId of topics) {
      await until(async () => (await usersAt(two, topicId)) === "alice,bob", "both are there");
    }
    const master = await cluster.masterOf(`{${topics[0]}}`);
    await master.client.call("FLUSHALL");
    await master.kill();
    await master.start();
    for (const topicId of topics) {
      for (const tracker of [one, two]) {
        await until(async () => (await usersAt(tracker, topicId)) === "alice,bob", `${topicId} is whole`, FAILOVER_MS);
      }
    }
  });
});
