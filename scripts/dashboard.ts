// Owns: charts/earshot/files/dashboard.json: a Grafana dashboard (11 and later, no plugins) of one installation, made from the
// rows of dashboard/. `npm run docs` writes it; test/contract/dashboard.test.ts checks every expression and unit.

import { CONNECTIONS, DROPS, LATENCY, MESSAGES, OBJECTIVES } from "./dashboard/message-rows.ts";
import type { Panel, Row } from "./dashboard/panel.ts";
import { CONTROL, KUBERNETES, PRESENCE, PROCESSES } from "./dashboard/process-rows.ts";

const SELECTOR = 'namespace=~"$namespace",release=~"$release"';

/** Rows of a panel. */
const HEIGHT = 8;
const STAT_HEIGHT = 5;

/** Columns of a dashboard. */
const COLUMNS = 24;

/** Grafana 11.0's; later ones read it. */
const SCHEMA_VERSION = 39;

const ROWS: readonly Row[] = [
  OBJECTIVES,
  MESSAGES,
  LATENCY,
  CONNECTIONS,
  CONTROL,
  KUBERNETES,
  DROPS,
  PROCESSES,
  PRESENCE,
];

/** The dashboard as Grafana imports it. */
export function dashboardJson(): string {
  const panels: object[] = [];
  let y = 0;
  for (const row of ROWS) {
    panels.push({
      id: panels.length + 1,
      type: "row",
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    let height = 0;
    for (const panel of row.panels) {
      const w = panel.width ?? 8;
      const h = panel.stat === true ? STAT_HEIGHT : HEIGHT;
      if (x + w > COLUMNS) {
        x = 0;
        y += height;
        height = 0;
      }
      panels.push(panelOf(panel, panels.length + 1, { x, y, w, h }));
      x += w;
      height = Math.max(height, h);
    }
    y += height;
  }
  return `${JSON.stringify(
    {
      uid: "earshot",
      title: "Earshot",
      tags: ["earshot"],
      schemaVersion: SCHEMA_VERSION,
      editable: true,
      graphTooltip: 1,
      refresh: "30s",
      time: { from: "now-3h", to: "now" },
      timezone: "browser",
      annotations: { list: [] },
      links: [],
      templating: { list: variables() },
      panels,
    },
    undefined,
    2,
  )}\n`;
}

function panelOf(panel: Panel, id: number, gridPos: object): object {
  const { title, unit, description = "", stat } = panel;
  return {
    id,
    type: stat === true ? "stat" : "timeseries",
    title,
    description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: { defaults: { unit, ...thresholdsOf(panel) }, overrides: [] },
    options:
      stat === true
        ? { reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false }, colorMode: "value", textMode: "auto" }
        : {
            legend: { displayMode: "list", placement: "bottom", showLegend: true },
            tooltip: { mode: "multi", sort: "desc" },
          },
    targets: panel.queries.map(([expression, legendFormat], index) => ({
      refId: "ABCDEFGH"[index],
      datasource: DATASOURCE,
      expr: expression.replaceAll("@", SELECTOR),
      legendFormat,
    })),
  };
}

function thresholdsOf({ badFrom, badBelow, stat }: Panel): object {
  if (badFrom === undefined && badBelow === undefined) return {};
  const steps =
    badFrom === undefined
      ? [
          { color: "red", value: null },
          { color: "green", value: badBelow },
        ]
      : [
          { color: "green", value: null },
          { color: "red", value: badFrom },
        ];
  const line = stat === true ? {} : { custom: { thresholdsStyle: { mode: "dashed" } } };
  return { thresholds: { mode: "absolute", steps }, ...line };
}

const DATASOURCE = { type: "prometheus", uid: "${datasource}" };

function variables(): readonly object[] {
  const ofLabel = (name: string, query: string): object => ({
    name,
    type: "query",
    datasource: DATASOURCE,
    query: { query, refId: name },
    definition: query,
    refresh: 2,
    includeAll: true,
    // Also where nobody sets the label.
    allValue: ".*",
    multi: true,
    sort: 1,
    current: { selected: true, text: ["All"], value: ["$__all"] },
  });
  return [
    {
      name: "datasource",
      label: "Prometheus",
      type: "datasource",
      query: "prometheus",
      refresh: 1,
      current: {},
      regex: "",
    },
    ofLabel("namespace", "label_values(earshot_build_info, namespace)"),
    ofLabel("release", 'label_values(earshot_build_info{namespace=~"$namespace"}, release)'),
  ];
}
