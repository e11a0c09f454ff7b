// Owns: starting processes with something loaded before their own first line (test/harness/preloads). Only NODE_OPTIONS
// reaches the processes that a supervisor starts.

import { join } from "node:path";

/** The value of NODE_OPTIONS that loads a file of the preloads folder. */
export function nodeOptionsWith(name: "shifted-clock" | "slow-folder"): string {
  const own = `--import=${join(import.meta.dirname, "preloads", `${name}.ts`)}`;
  return `${process.env["NODE_OPTIONS"] ?? ""} ${own}`.trim();
}

/** Runs `start` with variables of the environment that what it starts inherits. */
export async function withEnvironment<T>(variables: Record<string, string>, start: () => Promise<T>): Promise<T> {
  const before = Object.fromEntries(Object.keys(variables).map((name) => [name, process.env[name]]));
  Object.assign(process.env, variables);
  try {
    return await start();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
