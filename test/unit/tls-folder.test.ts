import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigError } from "#core/runtime/config.ts";
import { createLog, type Log } from "#core/runtime/log.ts";
import type { TlsMaterial } from "#core/runtime/tls.ts";
import { TLS_LOOK_MS, TlsFolder } from "#core/runtime/tls-folder.ts";
import { TestAuthority, writeTlsFolder } from "../harness/certificates.ts";
import { HandClock } from "../harness/hand-clock.ts";

const NAME = "router.earshot.internal";
const authority = new TestAuthority();

let folder: string;
let clock: HandClock;
let warned: string[];
let log: Log;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "earshot-tls-"));
  clock = new HandClock();
  warned = [];
  log = createLog("silent", {});
  log.warn = (fields: { readonly reason?: string }) => void warned.push(fields.reason ?? "");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function open(path = folder, setting: "tlsFolder" | "publicTlsFolder" = "tlsFolder"): TlsFolder {
  return new TlsFolder({ setting, path, log, clock });
}

describe("a folder of certificates", () => {
  let first: TlsMaterial;
  let tls: TlsFolder;
  beforeEach(() => {
    first = authority.material([NAME]);
    writeTlsFolder(folder, first);
    tls = open();
  });
  afterEach(() => tls.close());

  test("is read at once, and again when it changed; listeners hear of changes alone", () => {
    expect(tls.material).toEqual(first);
    let changes = 0;
    tls.onChange(() => (changes += 1));
    clock.advance(3 * TLS_LOOK_MS);
    expect(changes).toBe(0);
    const next = authority.material([NAME]);
    writeTlsFolder(folder, next);
    clock.advance(TLS_LOOK_MS);
    expect([tls.material, changes]).toEqual([next, 1]);
  });

  test("keeps the last good one while files do not fit together, told once", () => {
    const next = authority.material([NAME]);
    writeFileSync(join(folder, "tls.crt"), next.certificate);
    clock.advance(5 * TLS_LOOK_MS);
    expect(tls.material).toEqual(first);
    expect(warned).toEqual(["the key does not belong to the certificate"]);
    writeFileSync(join(folder, "tls.key"), next.key.slice(0, 60));
    clock.advance(5 * TLS_LOOK_MS);
    expect(tls.material).toEqual(first);
    expect(warned).toHaveLength(2);
    writeFileSync(join(folder, "tls.key"), next.key);
    clock.advance(TLS_LOOK_MS);
    expect(tls.material).toEqual(next);
  });

  test("keeps it while files are gone, empty, or full of something else; no message holds the key", () => {
    rmSync(join(folder, "tls.key"));
    clock.advance(TLS_LOOK_MS);
    writeFileSync(join(folder, "tls.key"), "");
    clock.advance(TLS_LOOK_MS);
    writeFileSync(join(folder, "tls.key"), "x".repeat(2 * 1024 * 1024));
    clock.advance(TLS_LOOK_MS);
    writeFileSync(join(folder, "tls.key"), first.key);
    writeFileSync(join(folder, "ca.crt"), first.authorities.replace("MII", "AAA"));
    clock.advance(TLS_LOOK_MS);
    expect(tls.material).toEqual(first);
    expect(warned).toHaveLength(4);
    expect(warned.join()).not.toContain(first.key.split("\n")[1]);
  });

  test("is not looked at any more once it is closed", async () => {
    await tls.close();
    expect(clock.pending).toBe(0);
  });
});

test("a mounted Secret, swapped as a kubelet does it, is read again", async () => {
  const [first, next] = [authority.material([NAME]), authority.material([NAME])];
  writeTlsFolder(join(folder, "..2026_1"), first);
  symlinkSync("..2026_1", join(folder, "..data"));
  for (const file of ["tls.crt", "tls.key", "ca.crt"]) symlinkSync(join("..data", file), join(folder, file));
  const tls = open();
  expect(tls.material).toEqual(first);
  writeTlsFolder(join(folder, "..2026_2"), next);
  symlinkSync("..2026_2", join(folder, "..data_tmp"));
  renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
  clock.advance(TLS_LOOK_MS);
  expect(tls.material).toEqual(next);
  await tls.close();
});

test("a folder that cannot be used from the start is refused by the name of its setting", () => {
  expect(() => open()).toThrow(ConfigError);
  expect(() => open(join(folder, "nowhere"), "publicTlsFolder")).toThrow(/publicTlsFolder .*tls\.crt/);
  writeTlsFolder(folder, { ...authority.material([NAME]), key: authority.material([NAME]).key });
  expect(() => open()).toThrow("the key does not belong");
});

test("the public port's folder needs no authorities", async () => {
  const material = authority.material([NAME]);
  writeTlsFolder(folder, material);
  rmSync(join(folder, "ca.crt"));
  const tls = open(folder, "publicTlsFolder");
  expect(tls.material).toEqual({ ...material, authorities: "" });
  await tls.close();
  expect(() => open()).toThrow("ca.crt");
});
