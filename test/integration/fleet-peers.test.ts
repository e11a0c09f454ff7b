import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { announcePeer, type PeerDirectory, type PeerEndpoint, watchPeers } from "#core/fleet/peers.ts";
import { ConfigError } from "#core/runtime/config.ts";
import { createLog } from "#core/runtime/log.ts";
import { until } from "../harness/until.ts";

let folder: string;
let directory: PeerDirectory;
let changes: number;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "earshot-peers-")), "peers");
  directory = watchPeers(`folder:${folder}`, createLog("silent", {}));
  changes = 0;
  directory.onChange(() => (changes += 1));
});
afterEach(async () => {
  await directory.close();
  await directory.close();
  rmSync(join(folder, ".."), { recursive: true, force: true });
});

function endpoint(name: string, more: Partial<PeerEndpoint> = {}): PeerEndpoint {
  const base = { name, role: "router", incarnation: `${name}-1`, pid: process.pid, grpc: "127.0.0.1:4000" } as const;
  return { ...base, probes: "127.0.0.1:4001", node: "n1", zone: "", ...more };
}

const names = () => directory.list("router").map((peer) => peer.name);

test("a peer that announces itself is listed whole, and gone when it closes", async () => {
  const mine = await announcePeer(`folder:${folder}`, endpoint("router-0"));
  await until(() => names().length === 1, "listed");
  expect(directory.list("router")).toEqual([endpoint("router-0")]);
  expect(directory.list("gateway")).toEqual([]);
  await mine.close();
  await mine.close();
  await until(() => names().length === 0, "gone");
  expect(changes).toBeGreaterThanOrEqual(2);
  expect(readdirSync(folder)).toEqual([]);
});

test("a successor of the same name keeps its file when its predecessor closes late", async () => {
  const old = await announcePeer(`folder:${folder}`, endpoint("router-0"));
  await announcePeer(`folder:${folder}`, endpoint("router-0", { incarnation: "second" }));
  await old.close();
  await until(() => directory.list("router")[0]?.incarnation === "second", "successor listed");
});

test("a peer whose process died without a word is not listed", async () => {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  await once(child, "spawn");
  await announcePeer(`folder:${folder}`, endpoint("router-0", { pid: child.pid ?? 0 }));
  await until(() => names().length === 1, "listed");
  child.kill("SIGKILL");
  await once(child, "exit");
  await until(() => names().length === 0, "gone");
  expect(readdirSync(folder)).toEqual(["router-0.json"]);
});

test("half-written and foreign files are ignored, and taken when they become whole", async () => {
  const text = JSON.stringify(endpoint("router-1"));
  const others = {
    "router-1.json": text.slice(0, 40),
    "notes.json": '"hello"',
    "list.json": "[1,2]",
    "router-2.json": JSON.stringify({ ...endpoint("router-2"), role: "king" }),
    "router-3.json": JSON.stringify({ ...endpoint("router-3"), pid: "12" }),
    "router-4.json": JSON.stringify(endpoint("router-5")),
    "router-6.json": `${JSON.stringify(endpoint("router-6"))}${" ".repeat(20_000)}`,
    "README.txt": "not ours",
  };
  for (const [file, content] of Object.entries(others)) writeFileSync(join(folder, file), content);
  await announcePeer(`folder:${folder}`, endpoint("router-0"));
  await until(() => names().includes("router-0"), "the good one listed");
  expect(names()).toEqual(["router-0"]);
  writeFileSync(join(folder, "router-1.json"), text);
  await until(() => names().includes("router-1"), "the other is whole");
});

test("a folder that goes away and comes back is followed", async () => {
  await announcePeer(`folder:${folder}`, endpoint("router-0"));
  await until(() => names().length === 1, "listed");
  renameSync(folder, `${folder}.away`);
  renameSync(`${folder}.away`, folder);
  await announcePeer(`folder:${folder}`, endpoint("router-1"));
  await until(() => names().length === 2, "both listed");
});

test.each(["", "folder:", "dns:earshot"])("the setting %j names no folder", (setting) => {
  expect(() => watchPeers(setting, createLog("silent", {}))).toThrow(ConfigError);
});
