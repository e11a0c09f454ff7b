// The Topics folder lies on a disk that is slow, hangs, or fails for a while; or holds thousands of files. What is in force
// stays in force, everything else goes on, and it heals by itself.

import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { SUBJECTS_TOLD_MAX } from "../../operator/stores/reports.ts";
import { call, publish } from "../harness/http.ts";
import { nodeOptionsWith } from "../harness/preload.ts";
import { launchStandalone, type Standalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const FILES = 2_000;
const LONG_MS = 120_000;

vi.setConfig({ testTimeout: LONG_MS + 30_000 });

const folder = mkdtempSync(join(tmpdir(), "earshot-slow-"));
const topics = join(folder, "topics");
const disk = join(folder, "disk");
let standalone: Standalone;

function topic(name: string, permissions = "Public"): string {
  return `apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {name: ${name}}\nspec: {permissions: ${permissions}}\n`;
}

/** Milliseconds that each call takes longer; or `never`, or `broken`. */
function setDisk(how: number | "never" | "broken"): void {
  writeFileSync(disk, String(how));
}

function statusOf(name: string): Promise<number> {
  return publish(standalone.http, `default.${name}`, 1).then(({ status }) => status);
}

async function expectDelivery(payload: string): Promise<void> {
  const client = await openWebSocket(standalone.ws, { topics: ["default.t0"] });
  expect((await publish(standalone.http, "default.t0", payload)).json).toMatchObject({ delivered_to: 1 });
  await client.frames.next({ type: "message", payload });
  await client.close();
}

beforeAll(async () => {
  mkdirSync(topics);
  for (let index = 0; index < FILES; index++) writeFileSync(join(topics, `t${index}.yaml`), topic(`t${index}`));
  // Nobody ever writes into it: reading it would never end.
  spawnSync("mkfifo", [join(topics, "pipe.yaml")]);
  setDisk(20);
  const env = { NODE_OPTIONS: nodeOptionsWith("slow-folder"), SLOW_FOLDER: topics, SLOW_FOLDER_FILE: disk };
  standalone = launchStandalone({ env: { ...env, EARSHOT_TOPICS: topics } });
}, LONG_MS);
afterAll(async () => {
  await standalone.close();
  rmSync(folder, { recursive: true });
});

test("it starts with all of 2,000 files, however long the disk takes for them", {
  timeout: LONG_MS + 30_000,
}, async () => {
  await until(() => standalone.stdout.includes("Token:"), "it listens", LONG_MS);
  for (const index of [0, FILES / 2, FILES - 1]) expect(await statusOf(`t${index}`)).toBe(200);
  // A start that takes longer than 10 s says whom it waits for (by then the operator may have its Topics), and nothing else.
  expect(standalone.stderr).toMatch(
    /^(Still waiting for (?:(?:operator|router|gateway)-\d(?:, |; ))+their logs [^\n]*\n)?$/,
  );
});

test("an edit on a slow disk takes effect once it is read, and what was in force stays until then", async () => {
  setDisk(500);
  writeFileSync(join(topics, "t1.yaml"), topic("t1", "Private"));
  expect(await statusOf("t1")).toBe(200);
  await expectDelivery("on a slow disk");
  // One look at 2,000 files takes minutes now.
  setDisk(5);
  await until(async () => (await statusOf("t1")) === 404, "the edit takes effect", LONG_MS);
  expect(await statusOf("t2")).toBe(200);
});

test("a disk that hangs holds up nothing but edits: messages flow, Topics are made over HTTP", async () => {
  setDisk("never");
  writeFileSync(join(topics, "late.yaml"), topic("late"));
  await expectDelivery("while the disk hangs");
  const made = await call(standalone.http, "POST", "/api/v1/topics", { body: { name: "made", permissions: "PUBLIC" } });
  expect(made.status).toBe(201);
  expect((await call(standalone.http, "DELETE", "/api/v1/topics/default.made")).status).toBe(204);
  expect(await statusOf("late")).toBe(404);
  setDisk(0);
  await until(
    async () => (await statusOf("late")) === 200,
    "the disk is back, and what was written meanwhile",
    LONG_MS,
  );
});

test("a folder that cannot be read is told in few lines, what was there stays, and it heals", async () => {
  const before = standalone.stderr;
  setDisk("broken");
  const told = (): string => standalone.stderr.slice(before.length);
  await until(() => told().includes("what was there stays in force"), "it is told", LONG_MS);
  await expectDelivery("while the folder cannot be read");
  expect(await statusOf(`t${FILES - 1}`)).toBe(200);
  writeFileSync(join(topics, "later.yaml"), topic("later"));
  setDisk(0);
  await until(async () => (await statusOf("later")) === 200, "it heals", LONG_MS);
  // A look that was under way met it file by file.
  expect(told().trim().split("\n").length).toBeLessThanOrEqual(2 * (SUBJECTS_TOLD_MAX + 1) + 1);
});

test("a file that is written slowly, in pieces, never takes away what it said before", async () => {
  const before = standalone.stderr;
  const path = join(topics, "t3.yaml");
  const client = await openWebSocket(standalone.ws, { topics: ["default.t3"] });
  const whole = `${topic("t3")}# ${"x".repeat(2_000)}\n`;
  writeFileSync(path, "");
  for (let at = 0; at < whole.length; at += 100) {
    appendFileSync(path, whole.slice(at, at + 100));
    expect((await publish(standalone.http, "default.t3", at)).json).toMatchObject({ delivered_to: 1 });
  }
  await until(async () => (await publish(standalone.http, "default.t3", "end")).status === 200, "it is there");
  expect(client.frames.of("unsubscribed")).toEqual([]);
  expect(standalone.stderr).toBe(before);
  await client.close();
});
