// Owns: the first start being as quick as the second. `npm ci` runs it (`prepare`): it loads every module of ours once,
// with Node's compile cache on, so that `npm start` need not strip types and compile. No module but a main does
// anything when it is loaded. Should it fail, the first start is slower, and installing goes on.

import { globSync } from "node:fs";
import { enableCompileCache, flushCompileCache } from "node:module";
import { join } from "node:path";
import { COMPILE_CACHE_FOLDER } from "../standalone/compile-cache.ts";

const ROOT = join(import.meta.dirname, "..");
const STARTS_SOMETHING = new Set(["main.ts", "token.ts"]);

enableCompileCache(COMPILE_CACHE_FOLDER);
try {
  for (const file of globSync("{core,operator,router,gateway,canary,standalone}/**/*.ts", { cwd: ROOT })) {
    if (!STARTS_SOMETHING.has(file.split(/[\\/]/).at(-1) ?? "")) await import(join(ROOT, file));
  }
  flushCompileCache();
} catch (error) {
  process.stderr.write(`the first start will take longer: ${String(error)}\n`);
}
