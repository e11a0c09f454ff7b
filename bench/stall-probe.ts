// Owns: what a process tells of its event loop while a bench measures it: loaded by `--import`, it writes a line to
// `<folder>/<pid>.stalls` for each time that the loop was late. The time of its thread's CPU beside it tells a loop that
// worked from one that waited for a core. Not a part of Earshot.

import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Stall {
  /** When it ended, since the epoch. */
  readonly atMs: number;
  /** How late the timer was. */
  readonly lateMs: number;
  /** CPU time that the thread took meanwhile: what an idle machine would have been late at most. */
  readonly cpuMs: number;
}

/** Milliseconds between looks; what is shorter than some of these is no stall. */
const LOOK_MS = 4;
const STALL_MS = 12;

const folder = process.env["STALL_PROBE_FOLDER"];
if (folder !== undefined) {
  let atMs = performance.now();
  let cpuMs = threadCpuMs();
  setInterval(() => {
    const [nowMs, nowCpuMs] = [performance.now(), threadCpuMs()];
    const lateMs = nowMs - atMs - LOOK_MS;
    if (lateMs >= STALL_MS) {
      const stall: Stall = { atMs: performance.timeOrigin + nowMs, lateMs, cpuMs: nowCpuMs - cpuMs };
      appendFileSync(join(folder, `${process.pid}.stalls`), `${JSON.stringify(stall)}\n`);
    }
    atMs = performance.now();
    cpuMs = threadCpuMs();
  }, LOOK_MS).unref();
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** What a process told from a moment on. */
export function readStalls(from: string, pid: number, sinceMs: number): readonly Stall[] {
  try {
    const lines = readFileSync(join(from, `${pid}.stalls`), "utf8")
      .trim()
      .split("\n");
    return lines.map((line) => JSON.parse(line) as Stall).filter(({ atMs }) => atMs >= sinceMs);
  } catch {
    // It was never late.
    return [];
  }
}
