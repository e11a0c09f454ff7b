// What every presence store must do, tried on both: the memory store behind its gRPC server, and a real Redis. Several
// gateways at each.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RECOVERY_MS } from "../../gateway/presence/memory-store.ts";
import type { PresenceReaped } from "../../gateway/presence/presence.ts";
import { memoryWorld, redisWorld, StoreGateway, type StoreWorld } from "../harness/presence-stores.ts";
import { HAS_REDIS } from "../harness/redis.ts";
import { until } from "../harness/until.ts";

const WORLDS = [
  { name: "memory", begin: memoryWorld, isThere: true },
  { name: "Redis", begin: redisWorld, isThere: HAS_REDIS },
];

/** A lease that runs out while a test waits. */
const SHORT_MS = 300;

describe.each(WORLDS.filter(({ isThere }) => isThere))("$name", ({ begin }) => {
  let world: StoreWorld;
  const gateways: StoreGateway[] = [];
  let names = 0;

  beforeAll(async () => {
    world = await begin();
  });
  afterAll(async () => {
    for (const { store } of gateways) await store.close();
    await world.close();
  });

  async function open(ttlMs?: number): Promise<StoreGateway> {
    names += 1;
    const gateway = await StoreGateway.open(`gateway${names}`, world.open(), ttlMs);
    gateways.push(gateway);
    return gateway;
  }

  /** A topic that no other test has. */
  function newTopic(): string {
    names += 1;
    return `shop.chat:${names}`;
  }

  /** Users of a topic who are gone, as one of the gateways is told; all of them look. */
  async function gone(topicId: string, ...lookers: StoreGateway[]): Promise<readonly PresenceReaped[]> {
    const all = await Promise.all(lookers.map((looker) => looker.reap()));
    return all.flat().filter((one) => one.topicId === topicId);
  }

  test("a user's first subscription and last one are told, over two gateways, and none in between", async () => {
    const topic = newTopic();
    const [one, two] = [await open(), await open()];
    const [alice, aliceAgain, bob] = await one.apply(
      one.join(topic, "alice/1"),
      one.join(topic, "alice/2"),
      one.join(topic, "bob"),
    );
    expect([alice, aliceAgain, bob]).toMatchObject([
      { changed: true, count: 1 },
      { changed: false, count: 1 },
      { changed: true, count: 2 },
    ]);
    expect(await two.apply(two.join(topic, "alice"))).toMatchObject([{ changed: false, count: 2 }]);
    expect(await one.apply(one.leave(topic, "alice/1"), one.leave(topic, "alice/2"))).toMatchObject([
      { changed: false, count: 2 },
      { changed: false, count: 2 },
    ]);
    const [last] = await two.apply(two.leave(topic, "alice"));
    expect(last).toMatchObject({ changed: true, count: 1 });
    expect(last?.version).toBeGreaterThan(bob?.version ?? Number.POSITIVE_INFINITY);
    expect(await two.apply(two.leave(topic, "alice"))).toMatchObject([{ changed: false, count: 1 }]);
    expect(await one.users(topic)).toBe("bob");
  });

  test("a batch that is sent again is answered as before, as far as that still holds, and does nothing twice", async () => {
    const topic = newTopic();
    const [one, two] = [await open(), await open()];
    const batch = [one.join(topic, "alice"), one.join(topic, "bob"), one.join(topic, "bob/2")];
    const first = await one.apply(...batch);
    expect(await one.again(...batch)).toMatchObject([
      { changed: true, count: 2 },
      { changed: true, count: 2 },
      { changed: false, count: 2 },
    ]);
    await two.apply(two.join(topic, "bob"));
    const leaving = [one.leave(topic, "alice"), one.leave(topic, "bob"), one.leave(topic, "bob/2")];
    expect(await one.apply(...leaving)).toMatchObject([{ changed: true }, { changed: false }, { changed: false }]);
    expect(await one.again(...leaving)).toMatchObject([
      { changed: true, count: 1 },
      { changed: false, count: 1 },
      { changed: false, count: 1 },
    ]);
    await two.apply(two.join(topic, "alice"));
    expect(await one.again(...leaving)).toMatchObject([{ changed: false, count: 2 }, { changed: false }, {}]);
    expect(first).toHaveLength(3);
    expect(await two.users(topic)).toBe("bob,alice");
  });

  test("a batch over several topics is decided topic by topic", async () => {
    const [first, second] = [newTopic(), newTopic()];
    const one = await open();
    expect(await one.apply(one.join(first, "alice"), one.join(second, "alice"), one.join(first, "bob"))).toMatchObject([
      { count: 1 },
      { count: 1 },
      { count: 2 },
    ]);
    expect([await one.users(first), await one.users(second)]).toEqual(["alice,bob", "alice"]);
  });

  test("a subscription that is told again keeps its place and takes the newer info", async () => {
    const topic = newTopic();
    const one = await open();
    await one.apply(one.join(topic, "alice", { info: '{"name":"A"}' }), one.join(topic, "bob"));
    expect(await one.apply(one.join(topic, "alice", { info: '{"name":"Ä"}' }))).toMatchObject([{ changed: false }]);
    const { members } = await one.store.list(topic, 10, undefined);
    expect(members).toEqual([one.entry(topic, "alice", '{"name":"Ä"}'), one.entry(topic, "bob")]);
  });

  test("users of a gateway that is gone are gone with its lease, and each is told to one caller, once", async () => {
    const topic = newTopic();
    const [one, two, dead] = [await open(), await open(), await open(SHORT_MS)];
    await one.apply(one.join(topic, "alice"));
    await dead.apply(dead.join(topic, "alice"), dead.join(topic, "bob"), dead.join(topic, "carol"));
    const told: PresenceReaped[] = [];
    await until(async () => {
      told.push(...(await gone(topic, one, two)));
      return told.length > 1;
    }, "bob and carol are gone");
    expect(told.map(({ userId }) => userId).sort()).toEqual(["bob", "carol"]);
    expect(told.at(-1)?.count).toBe(1);
    expect(await two.users(topic)).toBe("alice");
    for (let looks = 0; looks < 5; looks++) expect(await gone(topic, one, two)).toEqual([]);
  });

  test("who reads a list before anybody looked does not see the dead either, and they are told of later", async () => {
    const topic = newTopic();
    const [one, dead] = [await open(), await open(SHORT_MS)];
    await one.apply(one.join(topic, "alice"));
    await dead.apply(dead.join(topic, "bob"));
    await until(async () => (await one.users(topic)) === "alice", "bob is listed no more");
    expect((await one.store.list(topic, 10, undefined)).count).toBe(1);
    expect(await until(async () => (await gone(topic, one))[0], "bob is told of")).toMatchObject({ userId: "bob" });
  });

  test("a gateway whose lease ran out is refused, is told so by its renewal, and tells all again", async () => {
    const topic = newTopic();
    const [one, late] = [await open(), await open(SHORT_MS)];
    await late.apply(late.join(topic, "alice"));
    await until(async () => (await gone(topic, one)).length > 0, "alice is gone");
    await expect(late.apply(late.join(topic, "bob"))).rejects.toMatchObject({ code: "presence_unavailable" });
    await late.renewed();
    expect(late.emptied).toEqual(["lapsed"]);
    expect(await late.apply(late.join(topic, "alice"))).toMatchObject([{ changed: true, count: 1 }]);
    expect(await one.users(topic)).toBe("alice");
  });

  test("a lease that is given up takes its users along at once; one that is renewed in time keeps them", async () => {
    const topic = newTopic();
    const [one, ending] = [await open(SHORT_MS), await open()];
    await one.apply(one.join(topic, "alice"));
    await ending.apply(ending.join(topic, "bob"));
    await ending.renew(0);
    await until(async () => {
      await one.renew(SHORT_MS);
      return (await one.users(topic)) === "alice";
    }, "bob is gone");
    const endsAtMs = performance.now() + 3 * SHORT_MS;
    await until(async () => {
      await one.renew(SHORT_MS);
      return performance.now() > endsAtMs;
    }, "several leases' time has passed");
    expect([await one.users(topic), one.emptied]).toEqual(["alice", []]);
  });

  test("while nobody at all calls, no lease runs out", async () => {
    const topic = newTopic();
    const [one, two] = [await open(SHORT_MS), await open()];
    await one.apply(one.join(topic, "alice"));
    const endsAtMs = performance.now() + 1_500;
    await until(() => performance.now() > endsAtMs, "a silence longer than any lease");
    expect(await two.users(topic)).toBe("alice");
    await one.renewed(60_000);
    expect([await two.users(topic), one.emptied]).toEqual(["alice", []]);
  });

  test("pages go on behind their cursor, each subscription once, in the order in which users came", async () => {
    const topic = newTopic();
    const one = await open();
    const names = Array.from({ length: 25 }, (_, index) => `u${String(index).padStart(2, "0")}`);
    await one.apply(...names.map((name) => one.join(topic, name)));
    await one.apply(...["u03", "u07"].map((name) => one.join(topic, `${name}/2`)));
    const listed: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await one.store.list(topic, 4, cursor);
      expect(page.count).toBe(25);
      expect(new Set(page.members.map(({ userId }) => userId)).size).toBeLessThanOrEqual(4);
      listed.push(...page.members.map(({ connectionId }) => connectionId));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    expect(listed).toHaveLength(27);
    expect([...new Set(listed.map((connectionId) => connectionId.split("-")[1]))]).toEqual(names);
    await expect(one.store.list(topic, 4, "nonsense")).rejects.toMatchObject({
      code: "invalid_request",
      field: "cursor",
    });
  });

  test("a page of long infos ends early, and the next one goes on", async () => {
    const topic = newTopic();
    const one = await open();
    const info = JSON.stringify("x".repeat(10_000));
    await one.apply(...Array.from({ length: 100 }, (_, index) => one.join(topic, `u${index}`, { info })));
    const listed: string[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const page = await one.store.list(topic, 1_000, cursor);
      listed.push(...page.members.map(({ userId }) => userId));
      cursor = page.nextCursor;
      pages += 1;
    } while (cursor !== undefined);
    expect([new Set(listed).size, pages]).toEqual([100, 4]);
  });

  test("a topic that was empty goes on with its versions", async () => {
    const topic = newTopic();
    const one = await open();
    const [first] = await one.apply(one.join(topic, "alice"));
    const [second] = await one.apply(one.leave(topic, "alice"));
    const empty = await one.store.list(topic, 10, undefined);
    const [third] = await one.apply(one.join(topic, "alice"));
    const versions = [first?.version ?? 0, second?.version ?? 0, third?.version ?? 0];
    expect(versions).toEqual([...new Set(versions)].sort((one, other) => one - other));
    expect(empty).toMatchObject({ members: [], count: 0, nextCursor: undefined });
    expect(empty.version).toBeGreaterThanOrEqual(second?.version ?? 0);
  });

  test("a store that lost all says so, its versions go on, and who is told again is no news for a second", async () => {
    const topic = newTopic();
    const [one, two] = [await open(), await open()];
    const [before] = await one.apply(one.join(topic, "alice"));
    await world.lose();
    await one.renewed();
    await two.renewed();
    expect([one.emptied.at(-1), two.emptied.at(-1)]).toEqual(["restarted", "restarted"]);
    const [alice, bob] = await one.apply(
      one.join(topic, "alice", { resent: true }),
      one.join(topic, "bob", { resent: false }),
    );
    expect(alice).toMatchObject({ changed: false, count: 1 });
    expect(bob).toMatchObject({ changed: true, count: 2 });
    expect(alice?.version).toBeGreaterThan(before?.version ?? Number.POSITIVE_INFINITY);
    const endsAtMs = performance.now() + RECOVERY_MS;
    await until(() => performance.now() > endsAtMs, "everybody else has told all again");
    expect(await two.apply(two.join(topic, "carol", { resent: true }))).toMatchObject([{ changed: true, count: 3 }]);
    expect(await two.users(topic)).toBe("alice,bob,carol");
  });
});
