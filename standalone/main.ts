// Owns: the first lines of `npm start`. Everything else is loaded after the compile cache is on, so that it is cached.

import { enableCompileCache } from "node:module";
import { COMPILE_CACHE_FOLDER } from "./compile-cache.ts";

enableCompileCache(COMPILE_CACHE_FOLDER);
const { run } = await import("./run.ts");
await run(process.argv.slice(2), process.env);
