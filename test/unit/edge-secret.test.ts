import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "#core/runtime/config.ts";
import { loadOrCreateSecret, SECRET_BYTES_MIN } from "#core/runtime/secret.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "earshot-secret-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("a secret is made once, long enough, for its owner's eyes, and read ever after", () => {
  const state = join(folder, "deep", "state");
  const secret = loadOrCreateSecret(state);
  expect(Buffer.byteLength(secret)).toBeGreaterThanOrEqual(SECRET_BYTES_MIN);
  expect(loadOrCreateSecret(state)).toBe(secret);
  expect(statSync(join(state, "secret")).mode & 0o777).toBe(0o600);
  expect(readdirSync(state)).toEqual(["secret"]);
  expect(loadOrCreateSecret(join(folder, "other"))).not.toBe(secret);
});

test("a secret that is there is taken without the line end behind it, and never written", () => {
  writeFileSync(join(folder, "secret"), `${"s".repeat(SECRET_BYTES_MIN)}\n`);
  expect(loadOrCreateSecret(folder)).toBe("s".repeat(SECRET_BYTES_MIN));
  expect(readFileSync(join(folder, "secret"), "utf8")).toBe(`${"s".repeat(SECRET_BYTES_MIN)}\n`);
});

test("a secret one byte too short, or none that can be read, is a sentence that names the file", () => {
  writeFileSync(join(folder, "secret"), "s".repeat(SECRET_BYTES_MIN - 1));
  expect(() => loadOrCreateSecret(folder)).toThrow(ConfigError);
  expect(() => loadOrCreateSecret(folder)).toThrow(join(folder, "secret"));
  mkdirSync(join(folder, "a", "secret"), { recursive: true });
  expect(() => loadOrCreateSecret(join(folder, "a"))).toThrow(/cannot be read or made/);
  writeFileSync(join(folder, "file"), "");
  chmodSync(join(folder, "file"), 0o600);
  expect(() => loadOrCreateSecret(join(folder, "file"))).toThrow(/cannot be read or made/);
});
