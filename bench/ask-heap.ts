// Owns: asking a process that has heap-probe.ts in it what it holds after a collection.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../test/harness/until.ts";
import type { HeapReading } from "./heap-probe.ts";

/** Milliseconds in which a process that is busy, and has a large heap, answers. */
const ANSWER_MS = 120_000;

/** `folder` is where its probe writes. */
export async function askHeap(folder: string, pid: number): Promise<HeapReading> {
  const before = linesOf(folder, pid).length;
  process.kill(pid, "SIGUSR2");
  const lines = await until(
    () => {
      const now = linesOf(folder, pid);
      return now.length > before && now;
    },
    `process ${pid} tells its heap`,
    ANSWER_MS,
  );
  return JSON.parse(lines.at(-1) ?? "") as HeapReading;
}

function linesOf(folder: string, pid: number): readonly string[] {
  try {
    const text = readFileSync(join(folder, String(pid)), "utf8");
    return text
      .slice(0, text.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line !== "");
  } catch {
    return [];
  }
}
