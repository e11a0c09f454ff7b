// Owns: what a process is asked while churn.ts runs: loaded into each by `--import`, it collects the heap at SIGUSR2 and
// appends what is left to `<folder>/<pid>`. Not a part of Earshot: nothing in a process answers such a signal by itself.

import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export interface HeapReading {
  /** Bytes that are in use after a whole collection, without code, with the buffers that it keeps outside. */
  readonly heap: number;
  /** Bytes of code, compiled or to be interpreted: V8 makes more of it for as long as it finds something hot. */
  readonly code: number;
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
    const code = codeBytes();
    const handles = process.getActiveResourcesInfo().length;
    const reading: HeapReading = { heap: heapUsed + external - code, code, rss, handles };
    appendFileSync(join(folder, String(process.pid)), `${JSON.stringify(reading)}\n`);
  });
}

/** V8 keeps machine code in the code spaces, bytecode and what goes with either in the trusted ones. */
function codeBytes(): number {
  const spaces = getHeapSpaceStatistics().filter(({ space_name: name }) => /^(code|trusted)_/.test(name));
  return spaces.reduce((sum, space) => sum + space.space_used_size, 0);
}
