// How an installation ends, and what is left of it: nothing.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { call } from "../harness/http.ts";
import { isAlive, type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const ENDS_WITHIN_MS = 10_000;

const running: Standalone[] = [];
afterEach(async () => {
  for (const standalone of running.splice(0)) await standalone.close();
});

async function start(env: Record<string, string> = {}): Promise<Standalone> {
  const standalone = await startStandalone({ env });
  running.push(standalone);
  return standalone;
}

function pidsOf(standalone: Standalone): number[] {
  return standalone.peers().map(({ pid }) => pid);
}

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s ends everything in time and tells clients", async (signal) => {
  const standalone = await start();
  const pids = pidsOf(standalone);
  const client = await openWebSocket(standalone.ws, { topics: ["default.demo"] });
  const startMs = performance.now();
  standalone.child.kill(signal);
  // npm passes on what the terminal has already sent.
  standalone.child.kill(signal);
  expect(await standalone.ended()).toBe(0);
  expect(performance.now() - startMs).toBeLessThan(ENDS_WITHIN_MS);
  expect(pids.filter(isAlive)).toEqual([]);
  expect((await client.closed).code).toBe(1012);
  expect(existsSync(join(standalone.stateFolder, "lock"))).toBe(false);
});

test("a frozen process does not hold up the end", async () => {
  const standalone = await start({ EARSHOT_DRAIN: "500ms" });
  const pids = pidsOf(standalone);
  for (const name of ["router-0", "gateway-0"]) process.kill(standalone.peer(name)?.pid ?? 0, "SIGSTOP");
  standalone.child.kill("SIGTERM");
  expect(await standalone.ended()).toBe(0);
  expect(pids.filter(isAlive)).toEqual([]);
});

test("when the supervisor is killed its processes end by themselves, and the next start works at once", async () => {
  const standalone = await start();
  const pids = pidsOf(standalone);
  const port = new URL(standalone.http).port;
  standalone.child.kill("SIGKILL");
  await once(standalone.child, "exit");
  const next = await start({ EARSHOT_STATE: standalone.stateFolder, EARSHOT_PORT: port });
  expect(pids.filter(isAlive)).toEqual([]);
  expect(next.http).toBe(standalone.http);
});

test("Topics made over HTTP outlive everything", async () => {
  const first = await start();
  const made = await call(first.http, "POST", "/api/v1/topics", { body: { name: "kept", permissions: "PUBLIC" } });
  expect(made.status).toBe(201);
  first.child.kill("SIGTERM");
  await first.ended();
  const second = await start({ EARSHOT_STATE: first.stateFolder });
  expect((await call(second.http, "GET", "/api/v1/topics/default.kept")).status).toBe(200);
});

test("npm start ends with its processes when npm alone is told to", async () => {
  const folder = mkdtempSync(join(tmpdir(), "earshot-npm-"));
  const state = join(folder, "state");
  const npm = spawn("npm", ["start", "--silent"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, EARSHOT_PORT: "0", EARSHOT_GRPC_PORT: "0", EARSHOT_STATE: state },
  });
  let stdout = "";
  npm.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  try {
    await until(() => stdout.includes("Token:"), "npm start prints its banner");
    const { pid } = JSON.parse(readFileSync(join(state, "lock"), "utf8")) as { pid: number };
    npm.kill("SIGTERM");
    await until(() => !isAlive(pid), "the supervisor ends");
    expect(existsSync(join(state, "lock"))).toBe(false);
  } finally {
    npm.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});
