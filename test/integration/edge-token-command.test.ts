import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Principal } from "#core/domain/principal.ts";
import { Tokens } from "#core/edge/tokens.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { loadOrCreateSecret } from "#core/runtime/secret.ts";

const ROOT = join(import.meta.dirname, "..", "..");
let state: string;
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "earshot-token-"));
});
afterEach(() => rmSync(state, { recursive: true }));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const settings = { PATH: process.env["PATH"], EARSHOT_STATE: state, ...env };
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ["standalone/token.ts", ...args],
      { cwd: ROOT, env: settings },
      (error, stdout, stderr) => resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr }),
    );
  });
}

async function prove(token: string, secret: string, audience = "earshot"): Promise<Principal> {
  const config = { secret, issuers: [], audience, shutOut: [] };
  const tokens = new Tokens({ config, clock: SYSTEM_CLOCK, log: createLog("silent", {}), registry: new Registry() });
  return await tokens.prove(token, undefined);
}

test("a token comes out alone on its line, and every edge with the same state folder takes it for what was asked", async () => {
  const flags = [
    "--group",
    "staff",
    "--group=ops",
    "--subscribe",
    "shop.*",
    "--subscribe",
    "*",
    "--publish=shop.chat",
    "--manage",
    "shop.*",
  ];
  const { code, stdout, stderr } = await run(["alice", ...flags, "--ttl", "10m"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  const before = Date.now();
  const principal = await prove(stdout.trim(), loadOrCreateSecret(state));
  expect(principal).toMatchObject({
    kind: "user",
    userId: "alice",
    groups: ["staff", "ops"],
    capabilities: { subscribe: ["shop.*", "*"], publish: ["shop.chat"], manage: ["shop.*"] },
  });
  const expiresAtMs = principal.kind === "user" ? principal.expiresAtMs : 0;
  expect(Math.abs(expiresAtMs - before - 600_000)).toBeLessThan(30_000);
});

test("a secret and an audience of one's own are used where they are set", async () => {
  const secret = "a secret of my own, which is long enough";
  const { stdout } = await run(["bob"], { EARSHOT_SECRET: secret, EARSHOT_AUDIENCE: "web" });
  expect(await prove(stdout.trim(), secret, "web")).toMatchObject({ userId: "bob", groups: [] });
  await expect(prove(stdout.trim(), secret)).rejects.toMatchObject({ code: "unauthenticated" });
});

test.each([
  [[], "whose token?"],
  [["alice", "bob"], "one user at a time, not alice and bob"],
  [["alice", "--admin"], "--admin is not known"],
  [["alice", "--group"], "--group needs a value"],
  [["alice", "--ttl", "forever"], "--ttl must be a duration from 1s to"],
  [["alice", "--ttl", "0"], "--ttl must be a duration from 1s to"],
  [["alice", "--subscribe", "*a"], "--subscribe must be a topic id, the beginning of one with * behind, or *, not *a"],
  [["system:admin"], "system:admin must not begin with system: or anonymous:"],
  [["alice", "--group", "system:masters"], "system:masters must not begin with"],
] as const)("%j is refused in one sentence, with exit code 2 and no token", async (args, sentence) => {
  const { code, stdout, stderr } = await run(args);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toContain(sentence);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});

test("a secret that is too short is refused, and not shown", async () => {
  const { code, stderr } = await run(["alice"], { EARSHOT_SECRET: "short-secret" });
  expect(code).toBe(2);
  expect(stderr).toMatch(/^EARSHOT_SECRET must .*32 bytes.*\n$/);
  expect(stderr).not.toContain("short-secret");
});
