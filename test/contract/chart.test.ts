// Holds the chart against what it is made from, as far as that can be seen without helm: test/cluster/chart-*.test.ts has
// what helm and a real API server make of it.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { SETTINGS } from "#core/runtime/settings.ts";
import { chartFiles } from "../../scripts/chart.ts";
import { configurable, type Schema, valuesSchema } from "../../scripts/chart-schema.ts";
import { readChartValues } from "../../scripts/chart-values.ts";

const ROOT = join(import.meta.dirname, "../..");
const CHART = join(ROOT, "charts/earshot");
const VALUES = readChartValues(readFileSync(join(CHART, "values.yaml"), "utf8"));
const TEMPLATES = globSync("templates/**/*.{yaml,tpl,txt}", { cwd: CHART })
  .map((path) => readFileSync(join(CHART, path), "utf8"))
  .join("\n");

test.each(Object.entries(chartFiles()))("%s is what `npm run chart` writes", (path, text) => {
  expect(readFileSync(join(ROOT, path), "utf8")).toBe(text);
});

/** Paths of the schema that are no branches of closed objects. */
function* leavesOf(schema: Schema, path = ""): Generator<string> {
  const closed = schema.additionalProperties === false && !/(^|\.)(config|resources)$/.test(path);
  if (!closed) {
    yield path;
    return;
  }
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    yield* leavesOf(inner, path === "" ? name : `${path}.${name}`);
  }
}

test("values.yaml has every value that the schema knows, and no other", () => {
  const known = [...leavesOf(valuesSchema())].filter((path) => path !== "global");
  expect(VALUES.map(({ path }) => path).toSorted()).toEqual(known.toSorted());
});

test("every value is read by a template", () => {
  const unread = VALUES.map(({ path }) => path).filter(
    (path) => !new RegExp(`\\.${path.split(".").at(-1)}\\b`).test(TEMPLATES),
  );
  expect(unread).toEqual([]);
});

test("a value without a comment is told", () => {
  expect(() => readChartValues("a:\n  # Said.\n  b: 1\n  c: 2\n")).toThrow("a.c has no description");
});

test("config holds settings of operators, routers and gateways, and no secret", () => {
  const names = configurable().map(([name]) => name);
  expect(names).toEqual(expect.arrayContaining(["logLevel", "connectionMaxAge", "connectionsMax", "trustedProxies"]));
  expect(configurable().filter(([, { secret }]) => secret === true)).toEqual([]);
  for (const name of ["host", "routers", "secret", "peers", "tlsFolder", "redisUrl"]) expect(names).not.toContain(name);
});

test("every setting that the templates write is one", () => {
  const written = [...TEMPLATES.matchAll(/EARSHOT_([A-Z_]+)/g)].map(([, name = ""]) =>
    name.toLowerCase().replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  );
  const file = readFileSync(join(CHART, "templates/_settings.tpl"), "utf8");
  const inFile = [...file.matchAll(/(?:^ {2}|set \$settings )"(\w+)" /gm)].map(([, name = ""]) => name);
  expect(inFile).toEqual(expect.arrayContaining(["peers", "presenceStore", "issuers", "redisPrefix"]));
  const known = new Set([...Object.keys(SETTINGS), "config"]);
  expect([...written, ...inFile].filter((name) => !known.has(name))).toEqual([]);
});

test("nothing of a render depends on the cluster, on time or on chance", () => {
  expect(TEMPLATES).not.toMatch(/\blookup\b|\brand[A-Z]|\bnow\b|\bgenCA|\bgenSelfSigned|\buuidv4\b|\.Capabilities/);
});

test("the chart has the version of the package", () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  const chart = parse(readFileSync(join(CHART, "Chart.yaml"), "utf8")) as { version: string; appVersion: string };
  expect(chart).toMatchObject({ version, appVersion: version });
});
