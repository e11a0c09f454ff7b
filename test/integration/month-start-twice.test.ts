// `npm start` while it runs already: the second one says what is in its way, and the first one notices nothing.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { publish } from "../harness/http.ts";
import { isAlive, launchStandalone, type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const TOPIC = "default.demo";

let first: Standalone;
let pids: readonly number[];
let client: WebSocketClient;
beforeAll(async () => {
  first = await startStandalone();
  pids = first.peers().map(({ pid }) => pid);
  client = await openWebSocket(first.ws, { topics: [TOPIC] });
});
afterAll(() => first.close());

async function expectUnharmed(): Promise<void> {
  const payload = `heard ${client.frames.all.length}`;
  expect((await publish(first.http, TOPIC, payload)).json).toMatchObject({ delivered_to: 1 });
  await client.frames.next({ type: "message", payload });
  expect(first.peers().map(({ pid }) => pid)).toEqual(pids);
  expect(pids.every(isAlive)).toBe(true);
  expect(first.stderr).toBe("");
}

test("on the same state folder: it names the process and the address, and ends with 1", async () => {
  const second = launchStandalone({ env: { EARSHOT_STATE: first.stateFolder } });
  expect(await second.ended()).toBe(1);
  expect(second.stderr.trim().split("\n")).toHaveLength(1);
  expect(second.stderr).toContain(`(process ${first.child.pid}, http://localhost:${new URL(first.http).port}); end it`);
  await second.close();
  await expectUnharmed();
});

test("on the same ports: it names the port and the setting, and ends with 1", async () => {
  const port = new URL(first.http).port;
  const grpcPort = first.grpc.split(":")[1] ?? "";
  for (const [env, sentence] of [
    [{ EARSHOT_PORT: port }, `port ${port} on 127.0.0.1 is in use by another program; choose another one with --port`],
    [{ EARSHOT_GRPC_PORT: grpcPort }, `port ${grpcPort} on 127.0.0.1 is in use by another program; choose another one`],
  ] as const) {
    const second = launchStandalone({ env });
    expect(await second.ended()).toBe(1);
    expect(second.stderr.trim().split("\n")).toHaveLength(1);
    expect(second.stderr).toContain(sentence);
    await second.close();
  }
  await expectUnharmed();
});

test("with ports and a state folder of its own it runs beside the first, each with its own messages", async () => {
  const second = await startStandalone();
  try {
    const other = await openWebSocket(second.ws, { topics: [TOPIC] });
    expect((await publish(second.http, TOPIC, "of the second")).json).toMatchObject({ delivered_to: 1 });
    await other.frames.next({ type: "message", payload: "of the second" });
    await expectUnharmed();
    expect(client.frames.of("message").some((frame) => frame["payload"] === "of the second")).toBe(false);
  } finally {
    await second.close();
  }
  await expectUnharmed();
});

test.each([
  ["an empty state folder", undefined],
  ["a state folder whose last owner was killed", '{"pid":4194304,"startedAt":"1"}'],
])("of three started in the same moment on %s one runs, and the others say so", async (_what, lock) => {
  const state = join(mkdtempSync(join(tmpdir(), "earshot-state-")), "state");
  if (lock !== undefined) {
    mkdirSync(state);
    writeFileSync(join(state, "lock"), lock);
  }
  const all = [1, 2, 3].map(() => launchStandalone({ env: { EARSHOT_STATE: state } }));
  try {
    await until(() => all.filter((one) => one.hasEnded).length === 2, "two of them end", 30_000);
    const [runs] = all.filter((one) => !one.hasEnded);
    await runs?.listening();
    for (const one of all.filter((each) => each !== runs)) {
      expect(await one.ended()).toBe(1);
      expect(one.stderr.trim().split("\n"), one.stderr).toHaveLength(1);
      expect(one.stderr).toContain(state);
    }
    expect((await publish(runs?.http ?? "", TOPIC, 1)).status).toBe(200);
  } finally {
    for (const one of all) await one.close();
    rmSync(join(state, ".."), { recursive: true });
  }
});
