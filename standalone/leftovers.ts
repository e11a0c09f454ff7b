// Owns: waiting for the processes of a supervisor that was killed: they end by themselves, and until they have, they
// hold the ports and would meet their successors.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseEndpoint } from "#core/fleet/peer-endpoint.ts";

/** Milliseconds to wait at most: afterwards a process of that id is likely not ours, or frozen. */
const WAIT_MS = 6_000;
const LOOK_MS = 50;

export async function waitForPredecessors(peersFolder: string): Promise<void> {
  const pids = pidsIn(peersFolder);
  const endsAt = performance.now() + WAIT_MS;
  while (pids.some(isAlive) && performance.now() < endsAt) await delay(LOOK_MS);
}

function pidsIn(folder: string): readonly number[] {
  try {
    return readdirSync(folder)
      .filter((file) => file.endsWith(".json"))
      .map((file) => parseEndpoint(JSON.parse(readFileSync(join(folder, file), "utf8")))?.pid)
      .filter((pid) => pid !== undefined);
  } catch {
    // No folder, or a file that went meanwhile: there is nobody to wait for by name.
    return [];
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
