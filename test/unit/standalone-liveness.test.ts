// The processes are small scripts with a probe of their own; the patience is a test's.

import { type ChildProcess, spawn } from "node:child_process";
import { afterEach, expect, test } from "vitest";
import type { PeerDirectory, PeerEndpoint } from "#core/fleet/peers.ts";
import { createLog } from "#core/runtime/log.ts";
import { Child, type ChildEnd } from "../../standalone/child.ts";
import { Liveness } from "../../standalone/liveness.ts";
import { until } from "../harness/until.ts";

const PATIENCE = { intervalMs: 100, answerMs: 200, missedMax: 3 };
const ANSWERS = `
const server = require("node:http").createServer((_, response) => response.writeHead(STATUS).end());
server.listen(0, "127.0.0.1", () => process.send({ type: "ready", ports: { http: server.address().port } }));
process.on("disconnect", () => process.exit());
`;

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

function start(status: number): { child: Child; ends: ChildEnd[]; liveness: Liveness } {
  const ends: ChildEnd[] = [];
  const run = (): ChildProcess =>
    spawn(process.execPath, ["-e", ANSWERS.replace("STATUS", String(status))], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
  const slot = { name: "router-0", role: "router", entry: "", environment: {} } as const;
  const child = new Child(slot, run, {
    ready: () => {},
    notice: () => {},
    cannotStart: () => {},
    killRouter: () => "only_one" as const,
    slots: () => [],
    ended: (_child, end) => ends.push(end),
  });
  const peers: PeerDirectory = {
    list: () => peersOf(child),
    onChange: () => () => {},
    close: () => Promise.resolve(),
  };
  const liveness = new Liveness([child], peers, createLog("silent", {}), PATIENCE);
  closers.push(
    () => child.close(),
    () => liveness.close(),
  );
  child.start();
  return { child, ends, liveness };
}

function peersOf(child: Child): PeerEndpoint[] {
  const { state } = child;
  if (state.kind !== "ready") return [];
  const probes = `127.0.0.1:${state.ports.http}`;
  const pid = state.process.pid ?? 0;
  return [{ name: "router-0", role: "router", incarnation: "a", pid, grpc: "", probes, node: "", zone: "" }];
}

test("a process that answers lives on", async () => {
  const { child, ends, liveness } = start(200);
  await until(() => child.state.kind === "ready", "it is ready");
  const { pid } = child.process ?? {};
  const asked = performance.now();
  await until(() => performance.now() - asked > 6 * PATIENCE.intervalMs, "it was asked often");
  expect(child.process?.pid).toBe(pid);
  expect(liveness.answers(child)).toBe(true);
  expect(ends).toEqual([]);
});

test("a process that is frozen is ended, and its slot starts another one", async () => {
  const { child, ends, liveness } = start(200);
  await until(() => child.state.kind === "ready", "it is ready");
  const { pid } = child.process ?? {};
  child.kill("SIGSTOP");
  await until(() => !liveness.answers(child), "it is known not to answer");
  await until(() => ends.length === 1, "it is ended");
  expect(ends[0]?.signal).toBe("SIGKILL");
  await until(() => child.state.kind === "ready" && child.process?.pid !== pid, "another one is ready");
  expect(liveness.answers(child)).toBe(true);
});

test("a process that answers with a failure is ended too", async () => {
  const { ends } = start(500);
  await until(() => ends.length === 1, "it is ended");
  expect(ends[0]?.signal).toBe("SIGKILL");
});
