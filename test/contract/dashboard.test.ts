// Holds the chart's dashboard against what there is: every metric that a panel names is exposed or recorded, every expression
// is one to Prometheus, and Grafana finds in it what it needs. That it is fresh is checked in docs.test.ts.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { knownMetrics } from "../monitoring/known-metrics.ts";

const ROOT = join(import.meta.dirname, "../..");
const PROMTOOL = spawnSync("promtool", ["--version"]).status === 0;

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr: string; readonly refId: string; readonly legendFormat: string }[];
}

const dashboard = JSON.parse(readFileSync(join(ROOT, "charts/earshot/files/dashboard.json"), "utf8")) as {
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string }[] };
};
const graphs = dashboard.panels.filter(({ type }) => type !== "row");
const expressions = graphs.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));

/** Units of Grafana (packages/grafana-data/src/valueFormats/categories.ts) that are used here. */
const UNITS = ["short", "none", "s", "ops", "bytes", "Bps", "percentunit"];

test("it has panels in rows, each with an id of its own, a title, a unit and a place that nobody else has", () => {
  expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(39);
  expect(dashboard.panels.length - graphs.length).toBe(9);
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  expect(new Set(graphs.map(({ title }) => title)).size).toBe(graphs.length);
  const taken = new Set<string>();
  for (const { title, type, datasource, fieldConfig, gridPos } of graphs) {
    expect({ title, type, unit: fieldConfig?.defaults.unit }).toEqual({
      title: expect.stringMatching(/./) as string,
      type: expect.stringMatching(/^(timeseries|stat)$/) as string,
      unit: expect.stringMatching(new RegExp(`^(${UNITS.join("|")})$`)) as string,
    });
    expect(datasource).toEqual({ type: "prometheus", uid: "${datasource}" });
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect({ title, x, fits: x < 24, free: !taken.has(`${x},${y}`) }).toEqual({ title, x, fits: true, free: true });
        taken.add(`${x},${y}`);
      }
    }
  }
});

test("one chooses the Prometheus, the namespace and the installation, and every expression follows", () => {
  expect(dashboard.templating.list.map(({ name }) => name)).toEqual(["datasource", "namespace", "release"]);
  for (const { title, expr } of expressions) {
    expect({ title, expr: expr.replaceAll(/\{namespace=~"\$namespace",release=~"\$release"[^{}]*\}/g, "") }).toEqual({
      title,
      expr: expect.not.stringContaining("{") as string,
    });
  }
});

test("every metric that it names is exposed or recorded", () => {
  const isThere = knownMetrics();
  const missing = expressions.flatMap(({ title, expr }) =>
    [...expr.matchAll(/([a-z_]+(?::[\w:]+)?)\{/g)].flatMap(([, name = ""]) =>
      isThere(name) ? [] : [`${title}: ${name}`],
    ),
  );
  expect(missing).toEqual([]);
});

test.skipIf(!PROMTOOL)("every expression is one to Prometheus (skipped where promtool is not there)", () => {
  const rules = expressions.map(({ expr }, index) => ({
    record: `panel:expression:${index}`,
    expr: expr.replaceAll("$__rate_interval", "5m"),
  }));
  const folder = mkdtempSync(join(tmpdir(), "earshot-dashboard-"));
  const check = (group: object): { status: number | null; said: string } => {
    const file = join(folder, "rules.yaml");
    writeFileSync(file, JSON.stringify({ groups: [group] }));
    const { status, stdout, stderr } = spawnSync("promtool", ["check", "rules", file], { encoding: "utf8" });
    return { status, said: `${stdout}${stderr}` };
  };
  expect(check({ name: "panels", rules })).toMatchObject({ status: 0 });
  expect(check({ name: "panels", rules: [{ record: "x", expr: "sum(rate(x{@}[5m]))" }] }).status).toBe(1);
  rmSync(folder, { recursive: true });
});
