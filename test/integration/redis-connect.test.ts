// Ways to a real Redis: a password, TLS, Sentinels, several installations in one; what is said where settings are wrong,
// and calls that come late.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { loadConfig } from "#core/runtime/config.ts";
import type { Log } from "#core/runtime/log.ts";
import { redisTargetOf } from "#core/runtime/redis-target.ts";
import { RedisConnection } from "../../gateway/presence/redis/connection.ts";
import { call } from "../harness/http.ts";
import { openRedis, StoreGateway, targetOf } from "../harness/presence-stores.ts";
import { freePort, HAS_REDIS, RedisServer } from "../harness/redis.ts";
import { launchStandalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const HAS_OPENSSL = spawnSync("openssl", ["version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "earshot-redis-tls-"));
const TOPIC = "shop.chat";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function start(args: readonly string[] = [], password = ""): Promise<RedisServer> {
  const server = await RedisServer.start({ args, ...(password === "" ? {} : { client: { password } }) });
  closers.push(() => server.close());
  return server;
}

/** Warnings, as one line each. */
function listeningLog(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const say = (fields: object, sentence: string): void => {
    lines.push(`${sentence} ${JSON.stringify(fields)}`);
  };
  const silent = (): void => {};
  return { log: { warn: say, info: silent, debug: silent, error: say } as unknown as Log, lines };
}

function gatewayAt(name: string, env: Readonly<Record<string, string>>, log?: Log): StoreGateway {
  const gateway = new StoreGateway(name, openRedis(targetOf(env), log));
  closers.push(() => gateway.store.close());
  return gateway;
}

async function usable(env: Readonly<Record<string, string>>): Promise<void> {
  const gateway = gatewayAt("g1", env);
  await gateway.renewed();
  await gateway.apply(gateway.join(TOPIC, "alice"));
  expect(await gateway.users(TOPIC)).toBe("alice");
}

describe.skipIf(!HAS_REDIS)("Redis", () => {
  test("with a password, wherever it is set", async () => {
    const password = "p:@ss wörd/";
    const { url, port } = await start(["--requirepass", password], password);
    const file = join(folder, "password");
    writeFileSync(file, `${password}\n`);
    await usable({ EARSHOT_REDIS_URL: `redis://:${encodeURIComponent(password)}@127.0.0.1:${port}` });
    await usable({ EARSHOT_REDIS_URL: url, EARSHOT_REDIS_PASSWORD: password });
    await usable({ EARSHOT_REDIS_URL: url, EARSHOT_REDIS_PASSWORD_FILE: file });
    await usable({
      EARSHOT_REDIS_URL: `${url}/3`,
      EARSHOT_REDIS_USERNAME: "default",
      EARSHOT_REDIS_PASSWORD: password,
    });
  });

  test("a wrong or missing password is said once, with what to do, and never with the password", async () => {
    const { url } = await start(["--requirepass", "right"], "right");
    for (const password of ["", "a secret guess"]) {
      const { log, lines } = listeningLog();
      const gateway = gatewayAt("g1", { EARSHOT_REDIS_URL: url, EARSHOT_REDIS_PASSWORD: password }, log);
      await until(() => lines.length > 0, "it is said");
      let renewals = 0;
      await until(async () => {
        renewals += 1;
        expect(await gateway.renew()).toBe(false);
        return renewals > 30;
      }, "it is tried on");
      expect(lines).toHaveLength(1);
      expect(lines[0]).toMatch(/set redisUsername and redisPassword/);
      expect(lines[0]).not.toContain("a secret guess");
    }
  });

  test("with a user who may do only what docs/presence.md says", async () => {
    const { url, client } = await start();
    const page = readFileSync(join(import.meta.dirname, "../../docs/presence.md"), "utf8");
    const rules = /`(~earshot:[^`]+)`/.exec(page)?.[1]?.split(" ") ?? [];
    await client.call("ACL", "SETUSER", "presence", "on", ">secret", ...rules);
    const { log, lines } = listeningLog();
    const env = { EARSHOT_REDIS_URL: url, EARSHOT_REDIS_USERNAME: "presence", EARSHOT_REDIS_PASSWORD: "secret" };
    const [one, two] = [gatewayAt("g1", env, log), gatewayAt("g2", env, log)];
    await one.renewed();
    await two.renewed();
    await one.apply(one.join(TOPIC, "alice"));
    await two.apply(two.join(TOPIC, "bob"));
    await one.renew(0);
    expect(await two.reap()).toMatchObject([{ userId: "alice" }]);
    expect([await two.users(TOPIC), lines]).toEqual(["bob", []]);
  });

  test("installations with other prefixes do not see each other", async () => {
    const { url } = await start();
    const [one, two] = ["one", "two"].map((prefix) =>
      gatewayAt(prefix, { EARSHOT_REDIS_URL: url, EARSHOT_REDIS_PREFIX: prefix }),
    ) as [StoreGateway, StoreGateway];
    await one.renewed();
    await two.renewed();
    await one.apply(one.join(TOPIC, "alice"));
    await two.apply(two.join(TOPIC, "bob"));
    expect([await one.users(TOPIC), await two.users(TOPIC)]).toEqual(["alice", "bob"]);
    await one.renew(0);
    expect(await two.reap()).toEqual([]);
  });

  test("out of memory: joins are refused, leases live, what to do is said; with room again all goes on", async () => {
    const server = await start(["--maxmemory-policy", "noeviction"]);
    const { log, lines } = listeningLog();
    const gateway = gatewayAt("g1", { EARSHOT_REDIS_URL: server.url }, log);
    await gateway.renewed();
    await gateway.apply(gateway.join(TOPIC, "alice"));
    await server.client.config("SET", "maxmemory", "1");
    await expect(gateway.apply(gateway.join(TOPIC, "bob"))).rejects.toMatchObject({ code: "presence_unavailable" });
    expect(await gateway.renew()).toBe(true);
    expect(await gateway.users(TOPIC)).toBe("alice");
    expect(lines.filter((line) => /raise its maxmemory/.test(line))).toHaveLength(1);
    await server.client.config("SET", "maxmemory", "0");
    await gateway.again(gateway.join(TOPIC, "bob"));
    expect(await gateway.users(TOPIC)).toBe("alice,bob");
  });

  test("a policy that throws keys away is warned of", async () => {
    const { url } = await start(["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"]);
    const { log, lines } = listeningLog();
    await gatewayAt("g1", { EARSHOT_REDIS_URL: url }, log).renewed();
    expect(lines).toMatchObject([expect.stringMatching(/may throw members away.*allkeys-lru.*noeviction/)]);
  });

  test("a server that is a replica, and one that is a node of a Cluster, are named as such", async () => {
    const master = await start();
    const replica = await start(["--replicaof", "127.0.0.1", String(master.port)]);
    const { log, lines } = listeningLog();
    const gateway = gatewayAt("g1", { EARSHOT_REDIS_URL: replica.url }, log);
    await until(async () => {
      expect(await gateway.renew()).toBe(false);
      return lines.some((line) => line.includes("this server is a replica"));
    }, "it is said that this is a replica");
    const asCluster = listeningLog();
    gatewayAt("g2", { EARSHOT_REDIS_URL: master.url, EARSHOT_REDIS_MODE: "Cluster" }, asCluster.log);
    await until(
      () => asCluster.lines.some((line) => line.includes("this is no Cluster")),
      "it is said that it is none",
    );
  });

  test("a batch that arrives after the end of its lease is refused, and one that a newer one overtook", async () => {
    const { url, client } = await start();
    const target = targetOf({ EARSHOT_REDIS_URL: url });
    const connection = new RedisConnection({ target, clock: SYSTEM_CLOCK, log: listeningLog().log });
    closers.push(() => Promise.resolve(connection.close()));
    await until(() => connection.ready, "it is connected");
    const keys = ["users", "order", "entries", "meta", "holders", "held:g/1"].map((key) => `earshot:topic:{t}:${key}`);
    const apply = (batch: number, fenceMs: number) =>
      connection.run("earshotApply", keys, ["g/1", batch, fenceMs, "+", `c s u${batch}`, `u${batch}`, "[]"]);
    const nowMs = Number((await client.time())[0]) * 1_000;
    await expect(apply(1, nowMs - 1)).rejects.toThrow("EARSHOT_OLD");
    await apply(2, nowMs + 60_000);
    await expect(apply(1, nowMs + 60_000)).rejects.toThrow("EARSHOT_OLD");
    expect(await client.hkeys("earshot:topic:{t}:users")).toEqual(["u2"]);
  });

  test("Sentinels name the master, and after a failover the new one: nobody is gone", {
    timeout: 120_000,
  }, async () => {
    const master = await start();
    const replica = await start(["--replicaof", "127.0.0.1", String(master.port)]);
    const sentinels = await Promise.all([1, 2, 3].map((number) => startSentinel(number, master.port)));
    const env = {
      EARSHOT_REDIS_URL: sentinels.map(({ url }) => url).join(","),
      EARSHOT_REDIS_MODE: "Sentinel",
      EARSHOT_REDIS_SENTINEL_MASTER: "presence",
    };
    const [one, two] = [gatewayAt("g1", env), gatewayAt("g2", env)];
    await one.renewed();
    await two.renewed();
    await one.apply(one.join(TOPIC, "alice"));
    await two.apply(two.join(TOPIC, "bob"));
    await until(async () => (await replica.client.dbsize()) === (await master.client.dbsize()), "it is replicated");
    await until(
      async () =>
        String(await sentinels[0]?.client.call("SENTINEL", "CKQUORUM", "presence").catch(String)).startsWith("OK"),
      "the Sentinels agree",
      30_000,
    );
    // Two of three are enough.
    await sentinels[2]?.kill();
    await master.kill();
    const killedAtMs = performance.now();
    await until(async () => (await replica.client.role())[0] === "master", "the replica is master", 60_000);
    const promotedAtMs = performance.now();
    for (const gateway of [one, two]) {
      await until(() => gateway.renew(), `${gateway.name} has a lease at the new master`, 30_000);
      await until(() => gateway.emptied.at(-1) === "moved", `${gateway.name} is to tell all again`);
    }
    const wholeMs = Math.round(performance.now() - promotedAtMs);
    const promotedMs = Math.round(promotedAtMs - killedAtMs);
    process.stdout.write(`Sentinels promoted after ${promotedMs} ms, leases were renewed ${wholeMs} ms later\n`);
    expect(await one.apply(one.join(TOPIC, "alice"))).toMatchObject([{ changed: false }]);
    expect(await two.apply(two.join(TOPIC, "bob"))).toMatchObject([{ changed: false }]);
    for (const { store } of [one, two]) store.allTold?.();
    for (let round = 0; round < 3; round++) {
      for (const gateway of [one, two]) {
        await gateway.renew();
        expect(await gateway.reap()).toEqual([]);
      }
    }
    expect(await one.users(TOPIC)).toBe("alice,bob");
  });

  async function startSentinel(number: number, masterPort: number): Promise<RedisServer> {
    const port = await freePort();
    const file = join(folder, `sentinel-${port}.conf`);
    writeFileSync(
      file,
      [
        `port ${port}`,
        "bind 127.0.0.1",
        `dir ${folder}`,
        `sentinel monitor presence 127.0.0.1 ${masterPort} 2`,
        "sentinel down-after-milliseconds presence 1000",
        "sentinel failover-timeout presence 5000",
        `sentinel myid ${String(number).repeat(40)}`,
      ].join("\n"),
    );
    const sentinel = await RedisServer.start({ port, command: [file, "--sentinel"] });
    closers.push(() => sentinel.close());
    return sentinel;
  }
});

describe.skipIf(!HAS_REDIS)("npm start with a Redis", () => {
  test("has no presence process, and its gateways keep members there", async () => {
    const redis = await start();
    const standalone = await startStandalone({ env: { EARSHOT_REDIS_URL: redis.url } });
    closers.push(() => standalone.close());
    expect(standalone.peers().map(({ role }) => role)).not.toContain("presence");
    const body = { name: "room", permissions: "PUBLIC", presence: "Members" };
    await until(async () => (await call(standalone.http, "POST", "/api/v1/topics", { body })).status < 300, "a Topic");
    const client = await openWebSocket(standalone.ws, { topics: ["default.room"], query: "presence=true" });
    await until(async () => {
      const { json } = await call(standalone.http, "GET", "/api/v1/topics/default.room/subscribers");
      return json["count"] === 1 && json["stale"] !== true;
    }, "the member is listed");
    expect(await redis.client.hlen("earshot:topic:{default.room}:users")).toBe(1);
    await client.close();
    await until(async () => (await redis.client.exists("earshot:topic:{default.room}:users")) === 0, "it is gone");
  });
});

describe.skipIf(!HAS_REDIS || !HAS_OPENSSL)("Redis with TLS", () => {
  test("is believed when its certificate is the right authority's, and not otherwise", async () => {
    const { ca, key, certificate } = makeCertificates();
    const port = await freePort();
    const args = ["--port", "0", "--tls-port", String(port), "--tls-cert-file", certificate, "--tls-key-file", key];
    const options = { port, args: [...args, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no"] };
    const server = await RedisServer.start({ ...options, client: { tls: { rejectUnauthorized: false } } });
    closers.push(() => server.close());
    await usable({ EARSHOT_REDIS_URL: `rediss://127.0.0.1:${port}`, EARSHOT_REDIS_CA_FILE: ca });
    await usable({ EARSHOT_REDIS_URL: `rediss://localhost:${port}`, EARSHOT_REDIS_CA_FILE: ca });
    const { log, lines } = listeningLog();
    const gateway = gatewayAt("g9", { EARSHOT_REDIS_URL: `rediss://127.0.0.1:${port}` }, log);
    await until(() => lines.length > 0, "it is said");
    expect(lines[0]).toMatch(/check rediss:\/\/ and redisCaFile/);
    expect(await gateway.renew()).toBe(false);
  });

  function makeCertificates(): { ca: string; key: string; certificate: string } {
    const path = (name: string): string => join(folder, name);
    const openssl = (...args: string[]): void => void execFileSync("openssl", args, { stdio: "ignore" });
    const subject = ["-subj", "/CN=a test's authority"];
    openssl(
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "2",
      ...subject,
      "-keyout",
      path("ca.key"),
      "-out",
      path("ca.pem"),
    );
    openssl(
      "req",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-subj",
      "/CN=redis",
      "-keyout",
      path("redis.key"),
      "-out",
      path("redis.csr"),
    );
    writeFileSync(path("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    openssl(
      "x509",
      "-req",
      "-in",
      path("redis.csr"),
      "-CA",
      path("ca.pem"),
      "-CAkey",
      path("ca.key"),
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      path("names"),
      "-out",
      path("redis.pem"),
    );
    return { ca: path("ca.pem"), key: path("redis.key"), certificate: path("redis.pem") };
  }
});

describe("settings of Redis", () => {
  const parse = (env: Readonly<Record<string, string>>) =>
    redisTargetOf(loadConfig("gateway", { argv: [], env }).config);

  test.each([
    ["redis://h", { host: "h", port: 6379 }],
    ["rediss://user:p%40ss@h.example:7000/2", { host: "h.example", port: 7000 }],
    ["redis://[::1]:7000", { host: "::1", port: 7000 }],
  ])("%s is taken", (url, node) => {
    expect(parse({ EARSHOT_REDIS_URL: url })?.nodes).toEqual([node]);
  });

  test("an address has user, password, database and TLS", () => {
    const target = parse({ EARSHOT_REDIS_URL: "rediss://user:p%40ss@h/2" });
    expect(target).toMatchObject({ username: "user", password: "p@ss", database: 2, tls: true, prefix: "earshot" });
    expect(parse({})).toBeUndefined();
    const sentinels = parse({
      EARSHOT_REDIS_URL: "redis://a, redis://b:1",
      EARSHOT_REDIS_MODE: "Sentinel",
      EARSHOT_REDIS_SENTINEL_MASTER: "m",
    });
    expect(sentinels?.nodes).toEqual([
      { host: "a", port: 26379 },
      { host: "b", port: 1 },
    ]);
  });

  test.each([
    [{ EARSHOT_REDIS_URL: "http://h" }, "EARSHOT_REDIS_URL"],
    [{ EARSHOT_REDIS_URL: "localhost:6379" }, "EARSHOT_REDIS_URL"],
    [{ EARSHOT_REDIS_URL: "redis://a,rediss://b" }, "EARSHOT_REDIS_URL"],
    [{ EARSHOT_REDIS_URL: "redis://h/name" }, "EARSHOT_REDIS_URL"],
    [{ EARSHOT_REDIS_URL: "redis://:hidden%zz@h" }, "EARSHOT_REDIS_URL"],
    [{ EARSHOT_REDIS_URL: "redis://a,redis://b" }, "redisMode"],
    [{ EARSHOT_REDIS_URL: "redis://a/1", EARSHOT_REDIS_MODE: "Cluster" }, "redisUrl"],
    [{ EARSHOT_REDIS_URL: "redis://a", EARSHOT_REDIS_MODE: "Sentinel" }, "redisSentinelMaster"],
    [{ EARSHOT_REDIS_URL: "redis://:hidden@a", EARSHOT_REDIS_PASSWORD: "b" }, "redisPassword"],
    [{ EARSHOT_REDIS_URL: "redis://a", EARSHOT_REDIS_PREFIX: "{x}" }, "EARSHOT_REDIS_PREFIX"],
    [{ EARSHOT_REDIS_MODE: "cluster" }, "EARSHOT_REDIS_MODE"],
  ])("%j is refused, naming what to change and no secret", (env, named) => {
    expect(() => parse(env)).toThrow(named);
    expect(() => parse(env)).not.toThrow("hidden");
  });

  test("npm start says what is wrong in one sentence, and starts nothing", async () => {
    for (const env of [
      { EARSHOT_REDIS_URL: "redis://a,redis://b" },
      { EARSHOT_REDIS_URL: "redis://:hidden@127.0.0.1", EARSHOT_REDIS_PASSWORD: "b" },
    ]) {
      const standalone = launchStandalone({ env });
      expect(await standalone.ended()).toBe(2);
      expect(standalone.stderr).toMatch(/^[^\n]*redis[^\n]*\n$/i);
      expect(standalone.stderr).not.toContain("hidden");
      await standalone.close();
    }
  });
});
