// What becomes of log lines that cannot be written: to a device that is always full, and to a pipe that nobody reads for
// a while.

import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { createLog } from "#core/runtime/log.ts";
import { LogOutput } from "#core/runtime/log-output.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).toReversed()) close();
});

interface Line {
  readonly n?: number;
  readonly lost?: number;
  readonly message?: string;
  readonly role?: string;
}

/** A pipe with both ends, neither of which waits. */
function pipe(): { readonly descriptor: number; readonly read: () => string } {
  const folder = mkdtempSync(join(tmpdir(), "earshot-log-"));
  const path = join(folder, "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  closers.push(
    () => rmSync(folder, { recursive: true }),
    () => closeSync(reader),
    () => closeSync(descriptor),
  );
  const chunk = Buffer.alloc(64 * 1024);
  const read = (): string => {
    let text = "";
    for (;;) {
      try {
        const length = readSync(reader, chunk);
        if (length === 0) return text;
        text += chunk.toString("utf8", 0, length);
      } catch {
        return text;
      }
    }
  };
  return { descriptor, read };
}

const parsed = (text: string): Line[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line);

test.skipIf(process.platform !== "linux")(
  "a log on a full disk costs its lines, and nobody waits (/dev/full: Linux)",
  () => {
    const log = createLog("info", { role: "router" }, "/dev/full");
    for (let n = 0; n < 1_000; n++) log.info({ n }, "line");
    log.fatal("the last one");
  },
);

test.skipIf(process.platform === "win32")(
  "lines that a full pipe did not take are told once it does, and no line is torn",
  () => {
    const { descriptor, read } = pipe();
    const output = new LogOutput(descriptor, { role: "router" });
    const line = (n: number): string => `${JSON.stringify({ n, padding: "x".repeat(997) })}\n`;
    for (let n = 0; n < 500; n++) output.write(line(n));
    const first = read();
    output.write(line(500));
    output.write(line(501));
    const lines = parsed(first + read());
    const numbers = lines.flatMap(({ n }) => n ?? []);
    const taken = numbers.filter((n) => n < 500);
    expect(taken.length).toBeGreaterThan(10);
    expect(taken.length).toBeLessThan(500);
    expect(taken).toEqual(taken.map((_, index) => index));
    expect(numbers.slice(taken.length)).toEqual([500, 501]);
    expect(lines.filter(({ lost }) => lost !== undefined)).toMatchObject([
      { role: "router", lost: 500 - taken.length, message: "log lines lost, they could not be written" },
    ]);
  },
);
