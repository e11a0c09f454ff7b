// The processes here are one-line scripts: what a Child does with any process.

import { type ChildProcess, spawn } from "node:child_process";
import { afterEach, expect, test } from "vitest";
import { Child, type ChildEnd, type ChildEvents, type SpawnProcess } from "../../standalone/child.ts";
import { until } from "../harness/until.ts";

class Recorder implements ChildEvents {
  readonly said: string[] = [];
  readonly ends: ChildEnd[] = [];
  readies = 0;

  ready(): void {
    this.readies += 1;
  }
  notice(_child: Child, text: string): void {
    this.said.push(text);
  }
  cannotStart(_child: Child, text: string): void {
    this.said.push(`cannot: ${text}`);
  }
  killRouter(pid: number) {
    this.said.push(`kill ${pid}`);
    return "killed" as const;
  }
  slots() {
    return children.map((child) => child.report());
  }
  ended(_child: Child, end: ChildEnd): void {
    this.ends.push(end);
  }
}

const READY = `process.send({ type: "ready", ports: { http: 7 } }); process.on("disconnect", () => process.exit());`;
const SLOT = { name: "router-0", role: "router", entry: "", environment: {} } as const;

const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) await child.close();
});

function childOf(script: string, spawnProcess: SpawnProcess = () => run(script)): [Child, Recorder] {
  const recorder = new Recorder();
  const child = new Child(SLOT, spawnProcess, recorder);
  children.push(child);
  child.start();
  return [child, recorder];
}

function run(script: string): ChildProcess {
  return spawn(process.execPath, ["-e", script], { stdio: ["ignore", "ignore", "ignore", "ipc"] });
}

test("a process is starting until it says that it is ready", async () => {
  const [child, recorder] = childOf(READY);
  expect(child.state.kind).toBe("starting");
  await until(() => child.state.kind === "ready", "it is ready");
  expect(child.state).toMatchObject({ ports: { http: 7 } });
  expect(recorder.readies).toBe(1);
});

test("a process that is killed on purpose again and again is started again as after the first time", async () => {
  const [child, recorder] = childOf(READY);
  for (const times of [1, 2, 3, 4]) {
    await until(() => recorder.readies === times, `it is ready for time ${times}`);
    child.killOnPurpose();
  }
  await until(() => recorder.ends.length === 4, "it was killed four times");
  for (const { restartInMs } of recorder.ends) expect(restartInMs).toBeLessThanOrEqual(500);
});

test("a process that was killed is started again within a second, as another one", async () => {
  const [child, recorder] = childOf(READY);
  await until(() => child.state.kind === "ready", "it is ready");
  const { process: first } = child;
  child.kill("SIGKILL");
  await until(() => recorder.readies === 2, "it is ready again");
  expect(child.process?.pid).not.toBe(first?.pid);
  expect(recorder.ends).toMatchObject([{ signal: "SIGKILL", wasReady: true }]);
  expect(recorder.ends[0]?.restartInMs).toBeLessThanOrEqual(1_000);
});

test("a process that ends again and again waits longer each time", async () => {
  const [, recorder] = childOf("process.exit(3)");
  await until(() => recorder.ends.length === 3, "it ended three times");
  const [first, second, third] = recorder.ends;
  expect(first).toMatchObject({ code: 3, wasReady: false });
  expect(first?.restartInMs).toBeLessThanOrEqual(500);
  expect(second?.restartInMs).toBeGreaterThanOrEqual(500);
  expect(third?.restartInMs).toBeGreaterThanOrEqual(1_000);
});

test("notices and the reason why it cannot start are passed on", async () => {
  const [, recorder] = childOf(
    `process.send({ type: "notice", text: "a" }); process.send({ type: "cannotStart", text: "b" }); process.send({ type: "draining" }, () => process.exit(1));`,
  );
  await until(() => recorder.ends.length === 1, "it ended");
  expect(recorder.said).toEqual(["a", "cannot: b"]);
  expect(recorder.ends).toMatchObject([{ code: 1, wasReady: false }]);
});

test("a process that was asked to end is not started again", async () => {
  const [child, recorder] = childOf(`process.on("SIGTERM", () => process.exit(0)); ${READY}`);
  await until(() => child.state.kind === "ready", "it is ready");
  await child.drain();
  expect(recorder.ends).toMatchObject([{ code: 0, restartInMs: undefined }]);
  expect(child.state.kind).toBe("closed");
  child.start();
  expect(child.state.kind).toBe("closed");
  await child.drain();
  await child.close();
});

test("a process that does not heed being asked is ended by close, also a frozen one", async () => {
  const [child, recorder] = childOf(`process.on("SIGTERM", () => {}); ${READY}`);
  await until(() => child.state.kind === "ready", "it is ready");
  const drained = child.drain();
  child.kill("SIGSTOP");
  await child.close();
  await drained;
  expect(recorder.ends).toMatchObject([{ signal: "SIGKILL", restartInMs: undefined }]);
});

test("a process that waits for its restart is not started by then when it was closed meanwhile", async () => {
  const [child, recorder] = childOf("process.exit(1)");
  await until(() => child.state.kind === "waiting" && recorder.ends.length === 1, "it waits");
  await child.close();
  expect(child.state.kind).toBe("closed");
});

test("a program that cannot be run at all counts as ended", async () => {
  const [child, recorder] = childOf("", () =>
    spawn("/nowhere/node", [], { stdio: ["ignore", "ignore", "ignore", "ipc"] }),
  );
  await until(() => recorder.ends.length === 1, "it ended");
  expect(recorder.ends).toMatchObject([{ code: null, signal: null, wasReady: false }]);
  expect(child.state.kind).toBe("waiting");
});
