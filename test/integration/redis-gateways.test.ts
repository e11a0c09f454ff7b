// Presence in a real Redis through real gateways and routers, as those who watch a topic see it; and what happens when
// Redis dies, stands still or is slow: lists say `stale`, messages go on.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { call, publish } from "../harness/http.ts";
import { listedAt, Watcher } from "../harness/presence-watcher.ts";
import { HAS_REDIS, RedisServer } from "../harness/redis.ts";
import { SlowProxy } from "../harness/slow-proxy.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const GATEWAYS = ["gateway-0", "gateway-1"];
const TOPIC = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: chat}
spec: {permissions: Public, channels: Dynamic, presence: Members}
`;

describe.skipIf(!HAS_REDIS)("presence in Redis", () => {
  let redis: RedisServer;
  let proxy: SlowProxy;
  let fleet: TestFleet;
  const clients: WebSocketClient[] = [];

  beforeAll(async () => {
    redis = await RedisServer.start();
    proxy = await SlowProxy.listen(redis.port);
    const env = { EARSHOT_REDIS_URL: `redis://127.0.0.1:${proxy.port}` };
    fleet = await startFleet({ topics: [TOPIC], presence: false, env });
    // For a second after a Redis has begun gateways may be telling it what they hold (docs/presence.md).
    for (const gateway of GATEWAYS) {
      await until(async () => (await listed(gateway, "shop.chat:begun")) === "0: ", `${gateway} has whole lists`);
    }
  });
  afterAll(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await fleet?.close();
    await proxy?.close();
    await redis?.close();
  });

  async function enter(gateway: string, topic: string, user: string, query = ""): Promise<WebSocketClient> {
    const client = await openWebSocket(fleet.ws(gateway), { topics: [topic], token: signToken({ sub: user }), query });
    clients.push(client);
    return client;
  }

  async function watch(gateway: string, topic: string): Promise<Watcher> {
    return new Watcher(await enter(gateway, topic, "watcher", "presence=true"));
  }

  function listed(gateway: string, topic: string): Promise<string> {
    return listedAt(fleet.http(gateway), topic);
  }

  /** Publishes numbers until it is stopped; then tells how many were not heard of those that were accepted. */
  function speak(topic: string, ear: WebSocketClient) {
    const ending = new AbortController();
    let told = 0;
    const loop = (async () => {
      for (let number = 0; !ending.signal.aborted; number++) {
        const { json } = await publish(fleet.http(number % 2 === 0 ? "gateway-0" : "gateway-1"), topic, number);
        if (Number(json["delivered_to"]) > 0) told += 1;
      }
    })();
    return async () => {
      ending.abort();
      await loop;
      await until(() => ear.frames.of("message").length >= told, `${told} messages are heard`);
      return { told, heard: ear.frames.of("message").length };
    };
  }

  test("users come and go over two gateways, and a list names each once", async () => {
    const topic = "shop.chat:two";
    const watcher = await watch("gateway-0", topic);
    const alice = await enter("gateway-1", topic, "alice");
    const again = await enter("gateway-0", topic, "alice");
    await enter("gateway-1", topic, "bob");
    await until(() => watcher.seen === "3: alice,bob,watcher", "all are seen");
    for (const gateway of GATEWAYS) {
      expect(await listed(gateway, topic)).toBe("3: alice,bob,watcher");
    }
    await alice.close();
    await again.close();
    await until(() => watcher.seen === "2: bob,watcher", "alice is gone with her last tab");
    expect(watcher.left).toEqual(["alice"]);
  });

  test("a call to end a subscription reaches it on any gateway", async () => {
    const topic = "shop.chat:ended";
    const watcher = await watch("gateway-0", topic);
    const alice = await enter("gateway-1", topic, "alice");
    await until(() => watcher.seen === "2: alice,watcher", "alice is seen");
    const token = signToken({ sub: "alice" });
    const { json } = await call(fleet.http("gateway-0"), "DELETE", `/api/v1/topics/${topic}/subscribe`, { token });
    expect(json).toEqual({ success: true });
    await alice.frames.next({ type: "unsubscribed", topic_id: topic });
    await until(() => watcher.seen === "1: watcher", "alice is gone");
  });

  test("users of a gateway that was killed are gone with its lease, those who are elsewhere too stay", async () => {
    const topic = "shop.chat:killed";
    const watcher = await watch("gateway-0", topic);
    await enter("gateway-1", topic, "alice");
    await enter("gateway-1", topic, "bob");
    await enter("gateway-0", topic, "bob");
    await until(() => watcher.seen === "3: alice,bob,watcher", "all are seen");
    fleet.kill("gateway-1");
    const killedAtMs = performance.now();
    await until(() => watcher.seen === "2: bob,watcher", "alice is gone, bob is not");
    process.stdout.write(`gone ${Math.round(performance.now() - killedAtMs)} ms after their gateway was killed\n`);
    expect(await listed("gateway-0", topic)).toBe("2: bob,watcher");
    await fleet.ended("gateway-1");
    await fleet.start("gateway-1");
  });

  test("a gateway that stands still is as gone; when it wakes its users are back, and their connections never ended", async () => {
    const topic = "shop.chat:stalled";
    const watcher = await watch("gateway-0", topic);
    const alice = await enter("gateway-1", topic, "alice");
    await enter("gateway-0", topic, "bob");
    await until(() => watcher.seen === "3: alice,bob,watcher", "all are seen");
    fleet.kill("gateway-1", "SIGSTOP");
    try {
      await until(() => watcher.seen === "2: bob,watcher", "alice is gone");
    } finally {
      fleet.kill("gateway-1", "SIGCONT");
    }
    await until(() => watcher.seen === "3: alice,bob,watcher", "alice is back");
    for (const gateway of GATEWAYS) {
      await until(async () => (await listed(gateway, topic)) === "3: alice,bob,watcher", `${gateway} lists all`);
    }
    await publish(fleet.http("gateway-0"), topic, "still there");
    await alice.frames.next({ type: "message", payload: "still there" });
    expect(watcher.left).toEqual(["alice"]);
  });

  test("Redis dies and comes back empty: stale meanwhile, then whole, and no message is lost", async () => {
    const topic = "shop.chat:lost";
    const watcherClient = await enter("gateway-0", topic, "watcher", "presence=true");
    const watcher = new Watcher(watcherClient);
    const alice = await enter("gateway-1", topic, "alice");
    await enter("gateway-0", topic, "bob");
    await until(() => watcher.seen === "3: alice,bob,watcher", "all are seen");
    // What a gateway has never read it cannot give, stale or not.
    for (const gateway of GATEWAYS) expect(await listed(gateway, topic)).toBe("3: alice,bob,watcher");
    const stop = speak(topic, watcherClient);
    await redis.kill();
    for (const gateway of GATEWAYS) {
      await until(async () => (await listed(gateway, topic)).startsWith("stale"), `${gateway} says stale`);
    }
    const late = await enter("gateway-1", topic, "carol", "presence=true");
    expect((await late.frames.next({ type: "presence" }))["stale"]).toBe(true);
    await alice.close();
    await redis.start();
    const backAtMs = performance.now();
    for (const gateway of GATEWAYS) {
      await until(async () => (await listed(gateway, topic)) === "3: bob,carol,watcher", `${gateway} is whole again`);
    }
    process.stdout.write(`whole ${Math.round(performance.now() - backAtMs)} ms after an empty Redis answered\n`);
    await until(() => watcher.seen === "3: bob,carol,watcher", "who watches sees it too");
    const { told, heard } = await stop();
    expect(told).toBeGreaterThan(0);
    expect(heard).toBe(told);
  });

  test("Redis stands still: stale at once for who asks, messages go on, and afterwards nobody was gone", async () => {
    const topic = "shop.chat:still";
    const watcherClient = await enter("gateway-0", topic, "watcher", "presence=true");
    const watcher = new Watcher(watcherClient);
    await enter("gateway-1", topic, "alice");
    await until(() => watcher.seen === "2: alice,watcher", "alice is seen");
    for (const gateway of GATEWAYS) expect(await listed(gateway, topic)).toBe("2: alice,watcher");
    const stop = speak(topic, watcherClient);
    redis.signal("SIGSTOP");
    try {
      for (const gateway of GATEWAYS) {
        await until(async () => (await listed(gateway, topic)).startsWith("stale"), `${gateway} says stale`);
      }
      // Longer than any lease.
      const endsAtMs = performance.now() + 3_000;
      await until(() => performance.now() > endsAtMs, "leases would have run out");
    } finally {
      redis.signal("SIGCONT");
    }
    for (const gateway of GATEWAYS) {
      await until(async () => (await listed(gateway, topic)) === "2: alice,watcher", `${gateway} is whole again`);
    }
    await enter("gateway-1", topic, "bob");
    await until(() => watcher.seen === "3: alice,bob,watcher", "bob is seen");
    expect(watcher.left).toEqual([]);
    const { told, heard } = await stop();
    expect(heard).toBe(told);
  });

  test("a slow Redis: within the deadline lists are whole, beyond it stale, and changes are told all the same", async () => {
    const topic = "shop.chat:slow";
    const watcher = await watch("gateway-0", topic);
    proxy.delayMs = 60;
    await enter("gateway-1", topic, "alice");
    await until(() => watcher.seen === "2: alice,watcher", "alice is seen");
    await until(async () => (await listed("gateway-1", topic)) === "2: alice,watcher", "the list is whole");
    proxy.delayMs = 300;
    await until(async () => (await listed("gateway-1", topic)).startsWith("stale"), "the list is stale");
    await enter("gateway-1", topic, "bob");
    await until(() => watcher.users.has("bob"), "bob is seen");
    proxy.delayMs = 0;
    await until(async () => (await listed("gateway-1", topic)) === "3: alice,bob,watcher", "the list is whole again");
    expect(watcher.left).toEqual([]);
  });
});

describe.skipIf(!HAS_REDIS)("a Redis that is not there yet", () => {
  test("gateways start without it, say so once, and are whole when it comes", async () => {
    const redis = await RedisServer.start();
    await redis.kill();
    const fleet = await startFleet({ topics: [TOPIC], presence: false, env: { EARSHOT_REDIS_URL: redis.url } });
    try {
      const topic = "shop.chat:early";
      const options = { topics: [topic], token: signToken({ sub: "alice" }), query: "presence=true" };
      const alice = await openWebSocket(fleet.ws("gateway-0"), options);
      const first = await alice.frames.next({ type: "presence" });
      expect([first["stale"], first["subscribers"]]).toEqual([true, undefined]);
      await redis.start();
      await until(async () => (await listedAt(fleet.http("gateway-1"), topic)) === "1: alice", "alice is listed");
      await alice.frames.next((frame) => frame.type === "presence" && frame["stale"] === undefined);
      expect(fleet.logs("gateway-0").match(/Redis cannot be reached/g)).toHaveLength(1);
      await alice.close();
    } finally {
      await fleet.close();
      await redis.close();
    }
  });
});
