// A laptop sleeps: every process of an installation stands still for longer than any heartbeat of it lasts, and goes on.
// (In a real sleep the monotonic clock stands still too, which is kinder: no timer is late. What the wall clock does then
// is tried in month-clock.test.ts.)

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { call, publish } from "../harness/http.ts";
import { metricIn, metricsAt } from "../harness/metrics.ts";
import { isAlive, type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const TOPIC = "default.demo";
/** Beyond heartbeats (3 s), presence leases (6 s), gRPC's keepalive (3.5 s), and the pings below. */
const SLEEP_MS = 10_000;
const LONG_MS = 40_000;

let standalone: Standalone;
beforeAll(async () => {
  standalone = await startStandalone({ env: { EARSHOT_PING_INTERVAL: "2s" } });
});
afterAll(() => standalone.close());

/** A client that is a process of its own, so that it can sleep too: it tells every frame, and when its socket ends. */
function startSleeper(ws: string) {
  const script = `
    const socket = new WebSocket(${JSON.stringify(`${ws}/ws/subscribe?topic_id=${TOPIC}`)});
    socket.onmessage = ({ data }) => console.log(data);
    socket.onclose = ({ code }) => console.log(JSON.stringify({ type: "closed", code }));
  `;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const frames: Record<string, unknown>[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    frames.push(JSON.parse(line) as Record<string, unknown>);
  });
  return { child, frames };
}

/** Everything stands still; in which order it wakes up is nobody's choice. */
async function sleep(pids: readonly number[], wakeOrder: readonly number[]): Promise<void> {
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  await delay(SLEEP_MS);
  for (const pid of wakeOrder) process.kill(pid, "SIGCONT");
}

async function metric(name: string, role: string, labels?: string): Promise<readonly number[]> {
  const peers = standalone.peers().filter((peer) => peer.role === role);
  return Promise.all(peers.map(async ({ probes }) => metricIn(await metricsAt(probes), name, labels)));
}

/** Resolves when every gateway has both routers, all have one map, and a publish at each gateway reaches everybody. */
async function expectWell(): Promise<void> {
  await until(
    async () => (await metric("earshot_gateway_links", "gateway", 'state="alive"')).every((alive) => alive === 2),
    "every gateway has both routers",
    LONG_MS,
  );
  await until(
    async () => new Set(await metric("earshot_sync_epoch", "router")).size === 1,
    "routers have one map",
    LONG_MS,
  );
  for (const { probes, name } of standalone.peers()) {
    await until(async () => (await fetch(`http://${probes}/readyz`)).ok, `${name} is ready`, LONG_MS);
  }
}

test.each([
  ["in the order in which they were started", false],
  ["the other way round", true],
])("everything sleeps and wakes up %s: the same processes go on, and so does delivery", async (_order, reversed) => {
  const pids = standalone.peers().map(({ pid }) => pid);
  const [epoch = 0] = await metric("earshot_sync_epoch", "router");
  const sleeper = startSleeper(standalone.ws);
  const watcher = await openWebSocket(standalone.ws, { topics: [TOPIC], query: "presence=true" });
  try {
    await until(() => sleeper.frames.some(({ type }) => type === "subscribed"), "the sleeper is subscribed");
    const all = [standalone.child.pid ?? 0, ...pids, sleeper.child.pid ?? 0];
    await sleep(all, reversed ? all.toReversed() : all);
    await expectWell();
    expect(standalone.peers().map(({ pid }) => pid)).toEqual(pids);
    expect(pids.every(isAlive)).toBe(true);
    expect((await metric("earshot_sync_epoch", "router"))[0]).toBeGreaterThanOrEqual(epoch);
    const again = await openWebSocket(standalone.ws, { topics: [TOPIC] });
    const payload = `awake, reversed: ${reversed}`;
    expect((await publish(standalone.http, TOPIC, payload)).status).toBe(200);
    await again.frames.next({ type: "message", payload });
    // Whoever was connected still is and hears it, or was told to come back.
    await until(
      () => sleeper.frames.some((frame) => frame["payload"] === payload || frame["code"] === 3102),
      "the sleeper hears, or was told to come back",
      LONG_MS,
    );
    await Promise.race([watcher.frames.next({ type: "message", payload }), watcher.closed]);
    const made = await call(standalone.http, "POST", "/api/v1/topics", {
      body: { name: `awake-${reversed}`, permissions: "PUBLIC" },
    });
    expect(made.status).toBe(201);
    const listed = async () => (await call(standalone.http, "GET", `/api/v1/topics/${TOPIC}/subscribers`)).json;
    await until(async () => (await listed())["stale"] !== true, "the list of members is whole", LONG_MS);
    process.stdout.write(
      `figures: slept ${SLEEP_MS} ms: sleeper ${sleeper.frames.some(({ type }) => type === "closed") ? "ended" : "still connected"}, ` +
        `epoch ${epoch} then ${(await metric("earshot_sync_epoch", "router"))[0]}\n`,
    );
    await again.close();
  } finally {
    sleeper.child.kill("SIGKILL");
    await watcher.close();
  }
  expect(standalone.stderr).toBe("");
});
