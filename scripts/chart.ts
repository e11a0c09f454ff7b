// Owns: `npm run chart`: what in charts/earshot is made from elsewhere: the CRDs of crds/ as templates, values.schema.json,
// docs/chart.md; and its renders in test/golden, where helm is there. Tests check that they are fresh.

import { globSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { chartPage } from "./chart-page.ts";
import { golden, goldenPath, HAS_HELM, SHAPES } from "./chart-renders.ts";
import { type Schema, valuesSchema } from "./chart-schema.ts";
import { type ChartValue, readChartValues } from "./chart-values.ts";

const ROOT = join(import.meta.dirname, "..");

/** Every generated file of the chart by its path from the root. */
export function chartFiles(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const path of globSync("crds/*.yaml", { cwd: ROOT }).toSorted()) {
    files[`charts/earshot/templates/crds/${basename(path)}`] = crdTemplate(readFileSync(join(ROOT, path), "utf8"));
  }
  const values = readChartValues(readFileSync(join(ROOT, "charts/earshot/values.yaml"), "utf8"));
  files["charts/earshot/values.schema.json"] = schemaFile(values);
  files["docs/chart.md"] = chartPage(values);
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

function schemaFile(values: readonly ChartValue[]): string {
  const descriptions = new Map(values.map(({ path, description }) => [path, description]));
  const schema = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    ...described(valuesSchema(), descriptions),
  };
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

/** The schema with the descriptions of values.yaml in it. */
function described(schema: Schema, descriptions: ReadonlyMap<string, string>, path = ""): Schema {
  const description = descriptions.get(path) ?? schema.description;
  const properties = Object.entries(schema.properties ?? {}).map(([name, inner]): [string, Schema] => [
    name,
    described(inner, descriptions, path === "" ? name : `${path}.${name}`),
  ]);
  return {
    ...(description === undefined ? {} : { description }),
    ...schema,
    ...(properties.length === 0 ? {} : { properties: Object.fromEntries(properties) }),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [path, text] of Object.entries(chartFiles())) writeFileSync(join(ROOT, path), text);
  if (HAS_HELM) for (const shape of SHAPES) writeFileSync(join(ROOT, goldenPath(shape)), golden(shape));
  else
    process.stdout.write("test/golden/chart stays as it is: there is no helm on the PATH or in KUBEBUILDER_ASSETS\n");
}
