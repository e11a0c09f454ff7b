// Owns: a thread that strips the types of the page's client and ends: Node's stripper takes some 150 ms to load, in which a
// gateway's own thread would serve nobody. Started by assets.ts, which gives it sources and gets scripts.

import { stripTypeScriptTypes } from "node:module";
import { parentPort, workerData } from "node:worker_threads";

// Loaded as any module it does nothing.
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port, not a window
parentPort?.postMessage((workerData as readonly string[]).map((source) => stripTypeScriptTypes(source)));
