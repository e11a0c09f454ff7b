// Owns: a slow disk under one folder, for processes that are started with `--import` of this file: what node:fs/promises
// asks of SLOW_FOLDER takes as many milliseconds more as stand in the file SLOW_FOLDER_FILE; `never` there: it does not
// come back until something else stands there, as with a share whose server is gone; `broken`: it fails with EIO.

import { readFileSync } from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { setTimeout as delay } from "node:timers/promises";

const LOOK_MS = 20;
const CALLS = ["readFile", "readdir", "stat", "open"] as const;

const folder = process.env["SLOW_FOLDER"];
const told = process.env["SLOW_FOLDER_FILE"] ?? "";

function wish(): string {
  try {
    return readFileSync(told, "utf8").trim();
  } catch {
    return "0";
  }
}

async function hold(): Promise<void> {
  while (wish() === "never") await delay(LOOK_MS);
  if (wish() === "broken") throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
  await delay(Number(wish()));
}

if (folder !== undefined) {
  const all = promises as unknown as Record<string, (...parts: unknown[]) => Promise<unknown>>;
  for (const name of CALLS) {
    const real = all[name];
    if (real === undefined) continue;
    all[name] = async (...parts) => {
      if (String(parts[0]).startsWith(folder)) await hold();
      return real.apply(promises, parts);
    };
  }
  syncBuiltinESMExports();
}
