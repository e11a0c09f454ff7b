// Owns: `npm run chart`: what in charts/earshot is made from elsewhere. The CRDs of crds/ become templates of the chart.
// test/contract/chart.test.ts checks that all of it is fresh.

import { globSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

const ROOT = join(import.meta.dirname, "..");

/** Every generated file of the chart by its path from the root. */
export function chartFiles(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const path of globSync("crds/*.yaml", { cwd: ROOT }).toSorted()) {
    files[`charts/earshot/templates/crds/${basename(path)}`] = crdTemplate(readFileSync(join(ROOT, path), "utf8"));
  }
  return files;
}

/** A CRD behind `crds.enabled`, which stays after an uninstall where `crds.keep` says so. */
function crdTemplate(crd: string): string {
  if (crd.includes("{{")) throw new Error("a CRD with {{ in it would be read as a template");
  const kept = crd.replace(
    /^metadata:\n/m,
    "metadata:\n  {{- if .Values.crds.keep }}\n  annotations: {helm.sh/resource-policy: keep}\n  {{- end }}\n",
  );
  return `{{- if .Values.crds.enabled }}\n{{- /* Made from crds/ by npm run chart. */}}\n${kept}{{- end }}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [path, text] of Object.entries(chartFiles())) writeFileSync(join(ROOT, path), text);
}
