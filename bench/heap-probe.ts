// Owns: what a process is asked while churn.ts runs: loaded into each by `--import`, it collects the heap at SIGUSR2 and
// appends what is left to `<folder>/<pid>`. Not a part of Earshot: nothing in a process answers such a signal by itself.

import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export interface HeapReading {
  /** Bytes that are in use after a whole collection. */
  readonly heapUsed: number;
  /** Bytes of buffers and other things outside the heap that it keeps. */
  readonly external: number;
  readonly rss: number;
  /** What keeps or would keep the event loop going: sockets, timers, watches. */
  readonly handles: number;
}

const folder = process.env["CHURN_PROBE_FOLDER"];
if (folder !== undefined) {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  process.on("SIGUSR2", () => {
    // What the first finds dead may be all that kept something else.
    collect();
    collect();
    const { heapUsed, external, rss } = process.memoryUsage();
    const reading: HeapReading = { heapUsed, external, rss, handles: process.getActiveResourcesInfo().length };
    appendFileSync(join(folder, String(process.pid)), `${JSON.stringify(reading)}\n`);
  });
}
