// One installation for the whole file: what a user sees of it.

import { execFile } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call, publish } from "../harness/http.ts";
import { openSse } from "../harness/sse.ts";
import { isAlive, launchStandalone, type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const ROOT = join(import.meta.dirname, "..", "..");

let standalone: Standalone;
let topics: string;
beforeAll(async () => {
  standalone = launchStandalone();
  topics = join(standalone.folder, "topics");
  await standalone.listening();
});
afterAll(() => standalone.close());

test("the terminal shows the banner with the real ports, and nothing else", () => {
  const { http, grpc } = standalone;
  const port = new URL(http).port;
  expect(standalone.stdout).toBe(
    `Earshot is listening.   http://localhost:${port}   (2 routers, 2 gateways)
gRPC:   localhost:${grpc.split(":")[1]}   (reflection is on)
Hear:   curl -N localhost:${port}/api/v1/topics/default.demo/subscribe
Speak:  curl localhost:${port}/api/v1/topics/default.demo/publish -d '{"payload":"hi"}'
Token:  npm run token -- alice --subscribe 'default.*'
`,
  );
  expect(standalone.stderr).toBe("");
});

test("it is six processes, each of which says what it is", async () => {
  const { json } = await call(standalone.http, "GET", "/api/v1/status");
  const processes = json["processes"] as { name: string; role: string; pid: number; metrics: string }[];
  expect(processes.map(({ name }) => name).toSorted()).toEqual([
    "gateway-0",
    "gateway-1",
    "operator-0",
    "presence-0",
    "router-0",
    "router-1",
  ]);
  for (const { pid, role, metrics } of processes) {
    expect(isAlive(pid)).toBe(true);
    expect(await (await fetch(metrics)).text()).toContain(`role="${role}"`);
  }
});

test("what is spoken with curl is heard with curl", async () => {
  const ear = await openSse(standalone.http, "default.demo");
  const answer = await publish(standalone.http, "default.demo", "hi");
  expect(answer.json).toMatchObject({ delivered_to: 1, dropped: false });
  await ear.frames.next({ type: "message", payload: "hi" });
  await ear.close();
});

test("the token that the banner speaks of is good at the door", async () => {
  const run = promisify(execFile);
  const { stdout } = await run(
    process.execPath,
    [join(ROOT, "standalone", "token.ts"), "alice", "--subscribe", "default.*"],
    { env: { ...process.env, EARSHOT_STATE: standalone.stateFolder } },
  );
  const client = await openWebSocket(standalone.ws, { topics: ["default.demo"], token: stdout.trim() });
  expect(client.frames.of("welcome")[0]).toMatchObject({ user_id: "alice" });
  await client.close();
});

test("a second start on the same state folder says who holds it and ends with 1", async () => {
  const second = launchStandalone({ env: { EARSHOT_STATE: standalone.stateFolder } });
  expect(await second.ended()).toBe(1);
  expect(second.stderr).toBe(
    `Earshot already runs on the state folder ${standalone.stateFolder} (process ${standalone.child.pid}, http://localhost:${new URL(standalone.http).port}); end it, or choose another folder with --state or EARSHOT_STATE\n`,
  );
  expect(second.stdout).toBe("");
  await second.close();
  expect((await publish(standalone.http, "default.demo", 1)).status).toBe(200);
});

test("a start on the same ports names the setting and ends with 1", async () => {
  const port = new URL(standalone.http).port;
  const second = launchStandalone({ env: { EARSHOT_PORT: port } });
  expect(await second.ended()).toBe(1);
  expect(second.stderr).toContain(`port ${port} on 127.0.0.1 is in use by another program; choose another one with`);
  expect(second.stderr).toContain("--port or EARSHOT_PORT");
  expect(second.stderr.trim().split("\n")).toHaveLength(1);
  await second.close();
});

test("every killed process is there again, and the rest runs on", async () => {
  const client = await openWebSocket(standalone.ws, { topics: ["default.demo"] });
  for (const name of ["router-0", "operator-0", "presence-0"]) {
    const before = standalone.peer(name);
    process.kill(before?.pid ?? 0, "SIGKILL");
    await until(() => {
      const now = standalone.peer(name);
      return now !== undefined && now.pid !== before?.pid && isAlive(now.pid);
    }, `${name} is there again`);
    const note = `after ${name}`;
    await until(
      async () => (await publish(standalone.http, "default.demo", note)).status === 200,
      "a publish is taken again",
    );
    await client.frames.next({ type: "message", payload: note });
  }
  expect(standalone.stderr).toBe("");
  await client.close();
});

test("status tells of every process how it does, how often it was started again, and how it ended last", async () => {
  const statusOf = async (name: string): Promise<Record<string, unknown>> => {
    const { json } = await call(standalone.http, "GET", "/api/v1/status");
    const all = [...(json["processes"] as { name: string }[]), ...(json["missing"] as { name: string }[])];
    return all.find((one) => one.name === name) ?? {};
  };
  const { pid, restarts } = (await statusOf("router-1")) as { pid: number; restarts: number };
  process.kill(pid, "SIGKILL");
  await until(async () => (await statusOf("router-1"))["pid"] === null, "its place has no process");
  expect(await statusOf("router-1")).toMatchObject({
    role: "router",
    state: "restarting",
    last_end: { signal: "SIGKILL" },
  });
  await until(async () => (await statusOf("router-1"))["state"] === "ready", "it is there again", 30_000);
  expect(await statusOf("router-1")).toMatchObject({
    restarts: restarts + 1,
    last_end: { code: null, signal: "SIGKILL" },
  });
  const { json } = await call(standalone.http, "GET", "/api/v1/status");
  expect(json).toMatchObject({ operator_connected: true, topics: 1, missing: [] });
  expect(json["epoch"]).toBeGreaterThan(1_700_000_000);
});

describe("what is wrong is one sentence that names the setting, and an exit code", () => {
  test.each([
    [{ EARSHOT_PORT: "99999" }, 2, "EARSHOT_PORT must be a whole number from 0 to 65535"],
    [{ EARSHOT_DRAIN: "5" }, 2, "EARSHOT_DRAIN must be a duration"],
    [{ EARSHOT_PROT: "1" }, 2, "EARSHOT_PROT is not a setting"],
    [{ EARSHOT_HOST: "0.0.0.0" }, 2, "(--host, EARSHOT_HOST) can be reached from other machines"],
    [{ EARSHOT_SECRET: "short" }, 2, "EARSHOT_SECRET must be 32 bytes long at least"],
    [{ EARSHOT_PORT: "9", EARSHOT_GRPC_PORT: "9" }, 2, "must differ"],
    [{ EARSHOT_TOPICS: "/nowhere" }, 1, "the topics folder /nowhere (--topics, EARSHOT_TOPICS) is not there"],
    [{ EARSHOT_TOPICS: "package.json" }, 1, "(--topics, EARSHOT_TOPICS) is not a folder"],
    [{ EARSHOT_STATE: "/dev/null/state" }, 1, "the state folder /dev/null/state (--state, EARSHOT_STATE)"],
    [{ EARSHOT_STATE: "/proc/earshot/state" }, 1, "the state folder /proc/earshot/state (--state, EARSHOT_STATE)"],
    [{ EARSHOT_STATE: process.execPath }, 1, "(--state, EARSHOT_STATE) cannot be used: it is not a folder"],
    [{ EARSHOT_HOST: "192.0.2.1", EARSHOT_SECRET: "k".repeat(32) }, 1, "(--host, EARSHOT_HOST)"],
    [{ EARSHOT_ISSUERS: '[{"nonsense":1}]' }, 2, "issuers[0].nonsense is not known"],
  ])("%j", async (env, code, sentence) => {
    const failing = launchStandalone({ env: env as Record<string, string> });
    try {
      expect(await failing.ended()).toBe(code);
      expect(failing.stderr).toContain(sentence);
      expect(failing.stderr.trim().split("\n")).toHaveLength(1);
      expect(failing.stdout).toBe("");
    } finally {
      await failing.close();
    }
  });

  test("a flag is named as a flag", async () => {
    const failing = launchStandalone({ argv: ["--routers", "0"] });
    expect(await failing.ended()).toBe(2);
    expect(failing.stderr).toContain("--routers must be a whole number from 1 to 16 (processes)");
    await failing.close();
  });
});

test("--help lists the settings and starts nothing", async () => {
  const helping = launchStandalone({ argv: ["--help"] });
  expect(await helping.ended()).toBe(0);
  expect(helping.stdout).toContain("--grpc-port  EARSHOT_GRPC_PORT");
  await helping.close();
});

test("a wrong manifest is one line on the terminal with its place, and mending it helps", async () => {
  mkdirSync(topics);
  cpSync(join(ROOT, "topics", "demo.yaml"), join(topics, "demo.yaml"));
  writeFileSync(
    join(topics, "wrong.yaml"),
    "apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {name: w}\nspec:\n  permissions: Open\n",
  );
  const other = await startStandalone({ env: { EARSHOT_TOPICS: topics } });
  try {
    await until(() => other.stderr.includes("permissions"), "the mistake is told");
    expect(other.stderr).toContain("wrong.yaml line 5: spec.permissions must be one of");
    expect(other.stderr.trim().split("\n")).toHaveLength(1);
    writeFileSync(
      join(topics, "wrong.yaml"),
      "apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {name: w}\nspec: {permissions: Public}\n",
    );
    await until(async () => (await publish(other.http, "default.w", 1)).status === 200, "the Topic is there");
  } finally {
    await other.close();
    rmSync(topics, { recursive: true });
  }
});
