// What staying alive costs at Redis, by how much is held; and ten thousand members of one topic: their list, and what is
// told of them, while messages go on. Figures are printed, not asserted.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { StoreTracker } from "../../gateway/presence/tracker.ts";
import { Crowd } from "../harness/crowd.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { call, publish } from "../harness/http.ts";
import { openRedis, StoreGateway, targetOf } from "../harness/presence-stores.ts";
import { HAS_REDIS, RedisServer } from "../harness/redis.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const SIZES = [0, 1_000, 5_000];
const GATEWAYS = 2;

/** Calls of one idle gateway that are waited for: some seconds of them. */
const IDLE_CALLS = 20;

const PLACED = { messageId: "", deliveredTo: 1, exact: false, dropped: false, reason: undefined, notDelivered: {} };

let redis: RedisServer;
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  if (HAS_REDIS) redis = await RedisServer.start();
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  await redis?.client.flushall();
});
afterAll(() => redis?.close());

/** Commands that Redis counted since `CONFIG RESETSTAT`, those within scripts too; without the test's own. */
async function commands(): Promise<Record<string, number>> {
  const stats = await redis.client.info("commandstats");
  const counts: Record<string, number> = {};
  for (const [, name = "", calls] of stats.matchAll(/cmdstat_([^:]+):calls=(\d+)/g)) {
    if (!/^(info|config|del|client|select|ping)/.test(name)) counts[name] = Number(calls);
  }
  return counts;
}

async function usedBytes(): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.client.info("memory"))?.[1]);
}

function print(title: string, rows: readonly Record<string, number>[]): void {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))].sort();
  const lines = names.map((name) => name.padEnd(20) + rows.map((row) => String(row[name] ?? 0).padStart(10)).join(""));
  const head = "subscriptions".padEnd(20) + SIZES.map((size) => String(size).padStart(10)).join("");
  process.stdout.write(`\n${title}\n${head}\n${lines.join("\n")}\n`);
}

describe.skipIf(!HAS_REDIS)("staying alive", () => {
  test("ten renewals and ten looks are the same commands, however many subscriptions a gateway holds", async () => {
    const rows: Record<string, number>[] = [];
    for (const size of SIZES) {
      const target = targetOf({ EARSHOT_REDIS_URL: redis.url, EARSHOT_REDIS_PREFIX: `size${size}` });
      const emptyBytes = await usedBytes();
      const gateways: StoreGateway[] = [];
      for (let index = 0; index < GATEWAYS; index++) {
        const gateway = await StoreGateway.open(`g${index}`, openRedis(target));
        closers.push(() => gateway.store.close());
        gateways.push(gateway);
        for (let at = 0; at < size; at += 1_000) {
          const users = Array.from({ length: 1_000 }, (_, user) => at + user);
          await gateway.apply(...users.map((user) => gateway.join(`shop.chat:${user % 100}`, `u${index}-${user}`)));
        }
        await gateway.reap();
      }
      const bytes = ((await usedBytes()) - emptyBytes) / Math.max(1, GATEWAYS * size);
      if (size > 0) process.stdout.write(`${size} subscriptions a gateway: ${Math.round(bytes)} bytes each in Redis\n`);
      await redis.client.config("RESETSTAT");
      for (let round = 0; round < 10; round++) {
        for (const gateway of gateways) {
          expect(await gateway.renew()).toBe(true);
          await redis.client.del(`size${size}:{leases}:look`);
          expect(await gateway.reap()).toEqual([]);
        }
      }
      rows.push(await commands());
    }
    print(`${GATEWAYS} gateways, 10 renewals and 10 looks each`, rows);
    expect(rows[1]).toEqual(rows[0]);
    expect(rows[2]).toEqual(rows[0]);
    expect(rows[0]?.["evalsha"]).toBe(GATEWAYS * 20);
  });

  test("idle gateways call as often, however many subscriptions they hold", async () => {
    const rows: Record<string, number>[] = [];
    for (const size of SIZES) {
      const target = targetOf({ EARSHOT_REDIS_URL: redis.url, EARSHOT_REDIS_PREFIX: `idle${size}` });
      const trackers = Array.from({ length: GATEWAYS }, (_, index) => {
        const log = createLog("silent", {});
        const store = openRedis(target, log);
        const place = () => Promise.resolve(PLACED);
        const registry = createRegistry("gateway");
        return new StoreTracker({ store, place, incarnation: `g${index}`, log, registry, clock: SYSTEM_CLOCK });
      });
      closers.push(async () => {
        for (const tracker of trackers) await tracker.close();
      });
      for (const [index, tracker] of trackers.entries()) {
        for (let user = 0; user < size; user++) {
          const ids = { connectionId: `g${index}-${user}`, subscriptionId: "s1" };
          const topicId = `shop.chat:${user % 100}`;
          tracker.joined({ topicId, userId: `u${user}`, info: undefined, subscribedAtMs: 1, ...ids });
        }
        // A list that is whole comes after everything that was told before it.
        await until(async () => !(await tracker.snapshot("shop.chat:0", 1, undefined)).stale, "all is told", 30_000);
      }
      await redis.client.config("RESETSTAT");
      const beganMs = performance.now();
      const {
        evalsha = 0,
        eval: first = 0,
        ...others
      } = await until(async () => {
        const counts = await commands();
        return (counts["evalsha"] ?? 0) >= GATEWAYS * IDLE_CALLS ? counts : undefined;
      }, "idle gateways have renewed and looked a while");
      const seconds = (performance.now() - beganMs) / 1_000;
      const writes = ["hset", "hdel", "zadd", "zrem"].map((name) => others[name] ?? 0);
      rows.push({
        "calls a second": Math.round((evalsha + first) / seconds),
        writes: writes.reduce((a, b) => a + b, 0),
      });
      for (const tracker of trackers) await tracker.close();
    }
    print(`${GATEWAYS} idle gateways`, rows);
    // 2.5 renewals and some 4 looks a second each; twice that is far from what 1,000 subscriptions would need.
    for (const row of rows) expect(row["calls a second"]).toBeLessThan(GATEWAYS * 13);
  });
});

const TOPIC = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: chat}
spec: {permissions: Public, channels: Dynamic, presence: Members}
`;
const CROWD = 10_000;

describe.skipIf(!HAS_REDIS)("ten thousand members of one topic", { timeout: 300_000 }, () => {
  let fleet: TestFleet;
  const crowd = new Crowd();

  beforeAll(async () => {
    const env = { EARSHOT_REDIS_URL: redis.url, EARSHOT_UPGRADES_PER_SECOND: "100000" };
    fleet = await startFleet({ topics: [TOPIC], presence: false, env });
  }, 60_000);
  afterAll(async () => {
    await crowd.close();
    await fleet?.close();
  }, 60_000);

  let misses = 0;

  /** The whole list, page by page. */
  async function pages(
    gateway: string,
    topic: string,
  ): Promise<{ users: string[]; counts: Set<unknown>; pages: number }> {
    const users: string[] = [];
    const counts = new Set<unknown>();
    let cursor = "";
    let read = 0;
    do {
      const query = `limit=1000${cursor === "" ? "" : `&cursor=${cursor}`}`;
      const json = await until(async () => {
        const answer = await call(fleet.http(gateway), "GET", `/api/v1/topics/${topic}/subscribers?${query}`);
        // A page that could not be read within its deadline: safe to ask for again, as its answer says.
        if (answer.status === 503) misses += 1;
        return answer.status === 200 && answer.json["stale"] !== true ? answer.json : undefined;
      }, "a page");
      users.push(...(json["subscribers"] as { user_id: string }[]).map(({ user_id }) => user_id));
      counts.add(json["count"]);
      cursor = typeof json["next_cursor"] === "string" ? json["next_cursor"] : "";
      read += 1;
    } while (cursor !== "");
    return { users, counts, pages: read };
  }

  test("are listed in pages, each once; what is told of them comes once a second, and messages go on", async () => {
    const [topic, aside] = ["shop.chat:crowd", "shop.chat:aside"];
    const options = { topics: [topic, aside], token: signToken({ sub: "watcher" }), query: "presence=true" };
    const watcher = await openWebSocket(fleet.ws("gateway-0"), options);
    const presenceFrames = () => watcher.frames.of("presence").filter((frame) => frame["topic_id"] === topic);
    const countNow = (): number => Number(presenceFrames().at(-1)?.["count"]);
    const ending = new AbortController();
    let taken = 0;
    const speaking = (async () => {
      for (let number = 0; !ending.signal.aborted; number++) {
        // The crowd hears each twentieth: what is tried is not how fast ten thousand sockets are written.
        const to = number % 20 === 0 ? topic : aside;
        const { json } = await publish(fleet.http("gateway-1"), to, performance.now());
        if (Number(json["delivered_to"]) > 0) taken += 1;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    const latenciesMs: number[] = [];
    watcher.frames.on((frame) => {
      if (frame.type === "message") latenciesMs.push(performance.now() - Number(frame["payload"]));
    });

    const emptyBytes = await usedBytes();
    const beganMs = performance.now();
    await crowd.enter([fleet.http("gateway-0"), fleet.http("gateway-1")], topic, CROWD);
    await until(() => countNow() === CROWD + 1, "the watcher is told how many", 60_000);
    const cameMs = performance.now() - beganMs;
    const bytes = Math.round(((await usedBytes()) - emptyBytes) / CROWD);
    for (const gateway of ["gateway-0", "gateway-1"]) {
      const { users, counts, pages: read } = await pages(gateway, topic);
      expect([users.length, new Set(users).size, [...counts], read]).toEqual([CROWD + 1, CROWD + 1, [CROWD + 1], 11]);
    }
    const readMs = performance.now() - beganMs - cameMs;
    const leavingAtMs = performance.now();
    await crowd.close();
    await until(() => countNow() === 1, "the watcher is told that they are gone", 60_000);
    const leftMs = performance.now() - leavingAtMs;
    expect((await pages("gateway-0", topic)).users).toEqual(["watcher"]);

    ending.abort();
    await speaking;
    await until(() => watcher.frames.of("message").length >= taken, "every message is heard");
    const frames = presenceFrames();
    const named = frames.map(
      (frame) => Object.values(frame).flatMap((value) => (Array.isArray(value) ? value : [])).length,
    );
    expect(Math.max(...named)).toBeLessThanOrEqual(1_000);
    const deltas = frames.filter((frame) => frame["subscribers"] === undefined);
    expect(deltas.length).toBeLessThanOrEqual((performance.now() - beganMs) / 1_000 + 3);
    latenciesMs.sort((one, other) => one - other);
    const at = (part: number): number => Math.round(latenciesMs[Math.floor((latenciesMs.length - 1) * part)] ?? 0);
    process.stdout.write(
      `${CROWD} came in ${Math.round(cameMs)} ms, two whole lists took ${Math.round(readMs)} ms (${misses} pages late), all left in ${Math.round(leftMs)} ms; ` +
        `${bytes} bytes each in Redis; ${frames.length} presence frames; ${latenciesMs.length} messages meanwhile, ` +
        `heard after ${at(0.5)} ms (median), ${at(0.99)} ms (99 %), ${at(1)} ms (most)\n`,
    );
    await watcher.close();
  });
});
