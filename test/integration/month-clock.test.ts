// Somebody sets the clock of the machine, or it was wrong all the time: what users read follows it, tokens end by it, and
// nothing else depends on it.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { openGrpc } from "../harness/grpc-ears.ts";
import { call, publish } from "../harness/http.ts";
import { metricIn } from "../harness/metrics.ts";
import { nodeOptionsWith, withEnvironment } from "../harness/preload.ts";
import { openSse } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const TOPIC = "default.demo";
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;
const LONG_MS = 30_000;

const folder = mkdtempSync(join(tmpdir(), "earshot-clock-"));
const file = join(folder, "shift");
let fleet: TestFleet;
let shiftMs = 0;

/** Sets the wall clock of every process of the fleet so far off the right time. */
function setClock(ms: number): void {
  shiftMs = ms;
  // In one step: nobody reads half of it.
  writeFileSync(`${file}.new`, String(ms));
  renameSync(`${file}.new`, file);
}

/** Seconds since 1970 by the fleet's clock. */
function nowS(): number {
  return (Date.now() + shiftMs) / 1_000;
}

function inFleetTime<T>(start: () => Promise<T>): Promise<T> {
  return withEnvironment({ NODE_OPTIONS: nodeOptionsWith("shifted-clock"), SHIFTED_CLOCK_FILE: file }, start);
}

beforeAll(async () => {
  setClock(0);
  const topics = [
    `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: demo}
spec: {permissions: Public, channels: Dynamic, presence: Members}
`,
    `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: few}
spec: {permissions: Public, limits: {maxPublishesPerSecond: 5}}
`,
  ];
  fleet = await inFleetTime(() => startFleet({ topics }));
});
afterEach(() => setClock(0));
afterAll(async () => {
  await fleet.close();
  rmSync(folder, { recursive: true });
});

async function epochs(): Promise<readonly number[]> {
  const routers = fleet.names("router").filter((name) => fleet.isRunning(name));
  const texts = await Promise.all(routers.map((name) => fleet.metrics(name)));
  return texts.map((text) => metricIn(text, "earshot_sync_epoch"));
}

test("an hour ahead ends the tokens of open connections, by every door, and nobody else's", async () => {
  const token = signToken({ sub: "alice", exp: nowS() + 1_800 });
  const anonymous = await openWebSocket(fleet.ws(), { topics: [TOPIC] });
  const longer = await openWebSocket(fleet.ws(), {
    topics: [TOPIC],
    token: signToken({ sub: "carol", exp: nowS() + 7_200 }),
  });
  const socket = await openWebSocket(fleet.ws(), { topics: [TOPIC], token });
  const stream = await openSse(fleet.http(), TOPIC, token);
  const ears = await openGrpc(fleet.grpc(), [TOPIC], { token });
  setClock(HOUR_MS);
  expect(await socket.closed).toMatchObject({ code: 3101 });
  expect(socket.frames.of("unsubscribed").at(-1)).toMatchObject({ reason: "token_expired" });
  await stream.ended;
  expect(stream.frames.of("error").at(-1)).toMatchObject({ code: "token_expired" });
  expect((await ears.ended).code).toBe(16);
  const { json } = await call(fleet.http(), "GET", "/api/v1/topics", { token });
  expect(json["code"]).toBe("token_expired");
  expect(json["detail"]).toMatch(/^the token expired 18\d\d s ago by this server's clock \(20\d\d-/);
  expect((await publish(fleet.http("gateway-1"), TOPIC, "still here")).json).toMatchObject({ delivered_to: 2 });
  for (const client of [anonymous, longer]) {
    await client.frames.next({ type: "message", payload: "still here" });
    await client.close();
  }
  ears.close();
});

test("an hour back ends no token before its time", async () => {
  setClock(HOUR_MS);
  const kept = await openWebSocket(fleet.ws(), {
    topics: [TOPIC],
    token: signToken({ sub: "alice", exp: nowS() + 6 }),
  });
  setClock(0);
  // Six seconds of the first clock are over when this one ends.
  const short = await openWebSocket(fleet.ws(), { topics: [TOPIC], token: signToken({ sub: "bob", exp: nowS() + 8 }) });
  expect(await short.closed).toMatchObject({ code: 3101 });
  await publish(fleet.http("gateway-1"), TOPIC, "alice hears");
  await kept.frames.next({ type: "message", payload: "alice hears" });
  expect(kept.frames.of("unsubscribed")).toEqual([]);
  await kept.close();
});

test("messages bear the time that the clock shows, and go on in order when it is set", async () => {
  const client = await openWebSocket(fleet.ws(), { topics: [TOPIC] });
  for (const ms of [YEAR_MS, -YEAR_MS, 0]) {
    setClock(ms);
    await until(async () => {
      await publish(fleet.http("gateway-1"), TOPIC, { ms });
      const last = client.frames.of("message").at(-1);
      return last !== undefined && Math.abs(Date.parse(String(last["timestamp"])) / 1_000 - nowS()) < 60;
    }, `a message bears a time ${ms} ms off`);
  }
  const seqs = client.frames.of("message").map((frame) => Number(frame["seq"]));
  expect(seqs).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index));
  expect(client.frames.of("gap")).toEqual([]);
  await client.close();
});

test("no limit of a rate is stuck or lifted by a clock that is set", async () => {
  const client = await openWebSocket(fleet.ws(), { topics: ["default.few"] });
  for (const ms of [0, YEAR_MS, -YEAR_MS]) {
    setClock(ms);
    await until(
      async () => (await publish(fleet.http(), "default.few", 1)).status === 429,
      "the rate is held",
      LONG_MS,
    );
    await until(
      async () => (await publish(fleet.http(), "default.few", 1)).status === 200,
      "the rate is given",
      LONG_MS,
    );
  }
  expect((await call(fleet.http(), "GET", "/api/v1/topics")).status).toBe(200);
  await client.close();
});

test("members come and go, also past a store that starts a year earlier", async () => {
  const client = await openWebSocket(fleet.ws(), { topics: [TOPIC], query: "presence=true" });
  const alice = await openWebSocket(fleet.ws("gateway-1"), { topics: [TOPIC], token: signToken({ sub: "alice" }) });
  setClock(-YEAR_MS);
  fleet.kill("presence-0");
  await fleet.ended("presence-0");
  await inFleetTime(() => fleet.start("presence-0"));
  const listed = async () => (await call(fleet.http(), "GET", `/api/v1/topics/${TOPIC}/subscribers`)).json;
  await until(
    async () => {
      const list = await listed();
      return list["stale"] !== true && list["count"] === 2;
    },
    "both are listed, and the list is whole",
    LONG_MS,
  );
  const before = client.frames.of("presence").length;
  await alice.close();
  await until(
    () =>
      client.frames
        .of("presence")
        .slice(before)
        .some(({ count }) => count === 1),
    "alice's leave is told",
    LONG_MS,
  );
  await client.close();
});

test("no epoch is lower than the one before, though the map is lost while the clock is a year behind", async () => {
  const before = Math.max(...(await epochs()));
  setClock(-YEAR_MS);
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  rmSync(join(fleet.stateFolder, "shard-map.json"));
  await inFleetTime(() => fleet.start("operator-0"));
  const name = await inFleetTime(() => fleet.add("router"));
  await until(
    async () => {
      const now = await epochs();
      return now.length === 3 && now.every((epoch) => epoch > before && epoch === now[0]);
    },
    "all routers have a map above the one before",
    LONG_MS,
  );
  expect(await fleet.notReady(name)).toEqual([]);
  const client = await openWebSocket(fleet.ws(), { topics: [TOPIC] });
  expect((await publish(fleet.http("gateway-1"), TOPIC, "after")).json).toMatchObject({ delivered_to: 1 });
  await client.close();
});

test("no process has ended meanwhile", () => {
  for (const role of ["operator", "router", "gateway", "presence"] as const) {
    for (const name of fleet.names(role)) expect(fleet.isRunning(name), name).toBe(true);
  }
});
