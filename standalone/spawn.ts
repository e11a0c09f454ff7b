// Owns: how a process of ours is started by another one: its own process group (so that Ctrl-C reaches the one that
// started it, which ends the others in order), an IPC channel (by which it knows that its parent is gone), both outputs
// into a file, and of the environment only what its slot says plus what is no setting of ours.

import { type ChildProcess, spawn } from "node:child_process";
import { COMPILE_CACHE_FOLDER } from "./compile-cache.ts";
import type { Slot } from "./slots.ts";

/** `logDescriptor` is an open file, still the caller's. */
export function spawnSlot(slot: Slot, logDescriptor: number): ChildProcess {
  return spawn(process.execPath, [slot.entry], {
    stdio: ["ignore", logDescriptor, logDescriptor, "ipc"],
    env: { ...foreignEnvironment(), NODE_COMPILE_CACHE: COMPILE_CACHE_FOLDER, ...slot.environment },
    detached: process.platform !== "win32",
    windowsHide: true,
  });
}

function foreignEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("EARSHOT_")));
}
