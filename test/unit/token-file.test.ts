import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "#core/runtime/config.ts";
import { createLog, type Log } from "#core/runtime/log.ts";
import { TOKEN_REREAD_MS, TokenFile } from "#core/runtime/token-file.ts";
import { HandClock } from "../harness/hand-clock.ts";

let folder: string;
let path: string;
let clock: HandClock;
let warned: string[];
let log: Log;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "earshot-token-"));
  path = join(folder, "token");
  clock = new HandClock();
  warned = [];
  log = createLog("silent", {});
  log.warn = (fields: { readonly reason?: string }) => void warned.push(fields.reason ?? "");
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = (): TokenFile => new TokenFile({ setting: "peerTokenFile", path, clock, log });

test("a token is read again once it has counted for a while, and not before", () => {
  writeFileSync(path, "first\n");
  const file = open();
  writeFileSync(path, "second\n");
  clock.advance(TOKEN_REREAD_MS - 1);
  expect(file.token).toBe("first");
  clock.advance(1);
  expect(file.token).toBe("second");
});

test("while it cannot be read the last one counts, which is told once; then the next one does", () => {
  writeFileSync(path, "first");
  const file = open();
  for (const broken of ["", "two words", "x".repeat(20_000)]) {
    writeFileSync(path, broken);
    clock.advance(TOKEN_REREAD_MS);
    expect(file.token).toBe("first");
  }
  expect(warned).toEqual([`${path} holds no token`]);
  writeFileSync(path, "next");
  clock.advance(TOKEN_REREAD_MS);
  expect(file.token).toBe("next");
  rmSync(path);
  clock.advance(TOKEN_REREAD_MS);
  expect(file.token).toBe("next");
  expect(warned).toHaveLength(2);
  writeFileSync(path, "");
});

test("a file without a token is refused by the name of its setting", () => {
  expect(open).toThrow(ConfigError);
  expect(open).toThrow(/^peerTokenFile: .*ENOENT/);
  writeFileSync(path, "a secret\tof two lines\n");
  expect(open).toThrow(`${path} holds no token`);
});
