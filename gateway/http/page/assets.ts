// Owns: the files of the page at `/`, as they go over the wire. The client is TypeScript whose types are stripped (by Node's
// own stripper, on a thread of its own, so nothing is built and nobody waits); it keeps its `.ts` names, which its imports
// use. Read when somebody first asks: most gateways are never asked, and none starts later for it.
// Invariant: what the browser imports of ours is what stands here: the client's folder, and `CORE_FILES` of core/.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";

export interface Asset {
  readonly type: string;
  readonly body: string;
  readonly etag: string;
}

const FOLDER = import.meta.dirname;
const CORE = join(FOLDER, "..", "..", "..", "core");

/** Pure tables that the client reads as the servers do (the page's import map leads `#core/` here). */
const CORE_FILES = ["domain/closes.ts"];

const JAVASCRIPT = "text/javascript; charset=utf-8";

/** Every file below `/page/`, by its path there. */
export async function readAssets(): Promise<ReadonlyMap<string, Asset>> {
  const client = readdirSync(join(FOLDER, "client")).filter((name) => name.endsWith(".ts"));
  const sources = new Map<string, string>([
    ...client.map((name) => [name, read(join("client", name))] as const),
    ...CORE_FILES.map((name) => [`core/${name}`, readFileSync(join(CORE, name), "utf8")] as const),
  ]);
  const scripts = await strip([...sources.values()]);
  return new Map<string, Asset>([
    ["style.css", assetOf("text/css; charset=utf-8", read("style.css"))],
    ["icon.svg", assetOf("image/svg+xml", read("icon.svg"))],
    ...[...sources.keys()].map((path, index) => [path, assetOf(JAVASCRIPT, scripts[index] ?? "")] as const),
  ]);
}

export interface Html {
  /** The document, for whoever may kill a router (their nonce) or may not (undefined). */
  documentFor(nonce: string | undefined): Asset;
  /** CSP source of its one inline script, the import map: it cannot stand in a file of its own. */
  readonly importMapHash: string;
}

/** Where the nonce goes; the document as it is has none. */
const NONCE_PLACE = '<meta name="earshot-kill" content="" />';

export function readHtml(): Html {
  const html = read("index.html");
  const importMap = /<script type="importmap">([\s\S]*?)<\/script>/.exec(html)?.[1];
  if (importMap === undefined || !html.includes(NONCE_PLACE)) throw new Error("index.html misses one of its places");
  return {
    documentFor: (nonce) =>
      assetOf("text/html; charset=utf-8", html.replace(NONCE_PLACE, NONCE_PLACE.replace('""', `"${nonce ?? ""}"`))),
    importMapHash: `'sha256-${createHash("sha256").update(importMap).digest("base64")}'`,
  };
}

function read(path: string): string {
  return readFileSync(join(FOLDER, path), "utf8");
}

function strip(sources: readonly string[]): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./strip-worker.ts", import.meta.url), {
      workerData: sources,
      // Node 24 calls its stripper experimental, once a process; our log is JSON lines.
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

function assetOf(type: string, body: string): Asset {
  return { type, body, etag: `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"` };
}
