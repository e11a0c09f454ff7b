// How each of our processes begins when it cannot: the same for all four, with a parent and without.

import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..");
const folder = mkdtempSync(join(tmpdir(), "earshot-start-"));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file in the place of the peers folder. */
const inTheWay = join(folder, "in-the-way");
writeFileSync(inTheWay, "");

const MAINS = {
  operator: "operator/main.ts",
  router: "router/main.ts",
  gateway: "gateway/main.ts",
  presence: "gateway/presence/main.ts",
};

/** Settings with which a process gets far: it has opened something before it meets what cannot be used. */
const env = {
  PATH: process.env["PATH"] ?? "",
  EARSHOT_PEERS: `folder:${inTheWay}`,
  EARSHOT_PEER_SECRET: "a test's peer secret",
  EARSHOT_SECRET: "a test's own secret, longer than 32 bytes",
  EARSHOT_TOPICS: folder,
  EARSHOT_STATE: folder,
};

describe.each(Object.entries(MAINS))("a %s that cannot start", (_role, main) => {
  it("says why in one sentence that names the setting, and ends with exit code 2", async () => {
    const child = spawn(process.execPath, [join(ROOT, main)], { env, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [code] = (await once(child, "exit")) as [number | null];
    expect(said.trim().split("\n")).toEqual([expect.stringContaining("EARSHOT_PEERS")]);
    expect(code).toBe(2);
  });

  it("tells its parent too, and ends with exit code 2 all the same", async () => {
    const child = fork(join(ROOT, main), { env, stdio: ["ignore", "ignore", "ignore", "ipc"] });
    const told: unknown[] = [];
    child.on("message", (message) => told.push(message));
    const [code] = (await once(child, "exit")) as [number | null];
    expect(told).toContainEqual({ type: "cannotStart", text: expect.stringContaining("EARSHOT_PEERS") });
    expect(code).toBe(2);
  });
});
