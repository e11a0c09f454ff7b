// Owns: where Node keeps the compiled form of our TypeScript, so that the second start does not strip and compile it
// again. Beside the code, not in the state folder: it belongs to a checkout. Where it cannot be written Node goes on
// without it. Node keeps one file a source file and Node version there, so it does not grow.

import { join } from "node:path";

export const COMPILE_CACHE_FOLDER = join(import.meta.dirname, "..", "node_modules", ".cache", "earshot");
