// Owns: what helm makes of the chart in its main shapes: the values of each are test/golden/chart/values/<shape>.yaml, its
// render test/golden/chart/<shape>.yaml. `npm run chart` writes the renders where helm is there (on the PATH, or among
// KUBEBUILDER_ASSETS). Those have no CRDs in them, and name
// the files of the chart that stand in a render.

import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parse } from "yaml";

const ROOT = join(import.meta.dirname, "..");
const CHART = join(ROOT, "charts/earshot");
const GOLDEN = "test/golden/chart";
const DEFAULT = "default";

const ASSETS = process.env["KUBEBUILDER_ASSETS"] ?? "";
const BESIDE_ASSETS = join(ASSETS, "helm");
const PROGRAM = ASSETS !== "" && existsSync(BESIDE_ASSETS) ? BESIDE_ASSETS : "helm";

export const HAS_HELM = spawnSync(PROGRAM, ["version"]).status === 0;

/** Names of the shapes. */
export const SHAPES: readonly string[] = globSync(`${GOLDEN}/values/*.yaml`, { cwd: ROOT })
  .map((path) => basename(path, ".yaml"))
  .toSorted();

export function helm(args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(PROGRAM, args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
}

/** Path of a shape's kept render, from the root. */
export function goldenPath(shape: string): string {
  return `${GOLDEN}/${shape}.yaml`;
}

/** Everything that a shape installs, as helm says it; throws what helm says against it. */
export function render(shape: string, release = "live", namespace = "earshot"): string {
  const values = join(ROOT, GOLDEN, "values", `${shape}.yaml`);
  const { status, stdout, stderr } = helm(["template", release, CHART, "--namespace", namespace, "--values", values]);
  if (status !== 0) throw new Error(`${shape}: ${stderr}`);
  return stdout;
}

/** A render as it is kept: of shapes other than the default only the objects that are not as there. */
export function golden(shape: string): string {
  const own = objectsOf(render(shape));
  if (shape === DEFAULT) return [...own.values()].join("");
  const usual = objectsOf(render(DEFAULT));
  const other = [...own].filter(([id, text]) => usual.get(id) !== text).map(([, text]) => text);
  const gone = [...usual.keys()].filter((id) => !own.has(id)).map((id) => `# not there: ${id}\n`);
  return [`# What is not as in ${DEFAULT}.yaml.\n`, ...gone, ...other].join("");
}

/** Objects by `kind namespace/name`, without CRDs. */
function objectsOf(text: string): Map<string, string> {
  const objects = new Map<string, string>();
  for (const part of withoutFiles(text).split(/^(?=---\n)/m)) {
    const { kind, metadata } = (parse(part) ?? {}) as {
      readonly kind?: string;
      readonly metadata?: { readonly namespace?: string; readonly name: string };
    };
    if (kind === undefined || kind === "CustomResourceDefinition") continue;
    objects.set(`${kind} ${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`, `${part.trimEnd()}\n`);
  }
  return objects;
}

/** Files of the chart stand in a render as they are: their names are enough. */
function withoutFiles(render: string): string {
  let text = render;
  for (const path of globSync("files/*", { cwd: CHART })) {
    const lines = readFileSync(join(CHART, path), "utf8").split("\n");
    for (const indent of ["  ", "    "]) {
      // `nindent` indents empty lines too.
      const there = lines.map((line) => indent + line).join("\n");
      text = text.replace(there, () => `${indent}<${path}>\n`);
    }
  }
  return text;
}
