// Holds charts/earshot/files/rules.yaml against Prometheus' own judge: it parses, each alert fires on what it is for and not
// just below, and each has its section in docs/operations.md. Skipped where promtool is missing.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { knownMetrics } from "../monitoring/known-metrics.ts";
import { ALERT_CASES, type SeriesValues, TIMED_CASES, WELL } from "../monitoring/alert-cases.ts";

const ROOT = join(import.meta.dirname, "../..");
const RULES = join(ROOT, "charts/earshot/files/rules.yaml");
const PROMTOOL = spawnSync("promtool", ["--version"]).status === 0;

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

const rules = (parse(readFileSync(RULES, "utf8")) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
);
const alerts = rules.filter((rule) => rule.alert !== undefined);

test("every alert has a severity, a summary, a description and a section in docs/operations.md", () => {
  const page = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
  for (const { alert = "", labels, annotations } of alerts) {
    expect({ alert, severity: labels?.["severity"] }).toEqual({
      alert,
      severity: expect.stringMatching(/^(critical|warning)$/) as string,
    });
    expect(Object.keys(annotations ?? {}).toSorted()).toEqual(["description", "runbook_url", "summary"]);
    expect(annotations?.["runbook_url"]).toBe(`docs/operations.md#${alert.toLowerCase()}`);
    expect(page).toContain(`\n### ${alert}\n`);
  }
});

test("every alert is tried, and what is tried is there", () => {
  const labelled = (rule: Rule): string => `${rule.alert} ${rule.labels?.["long_window"] ?? rule.labels?.["severity"]}`;
  const tried = ALERT_CASES.map(({ alert, labels }) => {
    const own = alerts.filter((rule) => rule.alert === alert);
    const value = /"(.*)"/.exec(labels ?? "")?.[1];
    const rule = own.length === 1 ? own[0] : own.find((one) => Object.values(one.labels ?? {}).includes(value ?? ""));
    return rule === undefined ? `${alert} ${labels} is not there` : labelled(rule);
  });
  expect([...new Set(tried)].toSorted()).toEqual(alerts.map(labelled).toSorted());
});

test("recorded series are named level:metric:operations", () => {
  const names = rules.flatMap(({ record }) => (record === undefined ? [] : [record]));
  expect(names.length).toBeGreaterThan(10);
  for (const name of names) expect(name).toMatch(/^namespace_release:earshot_[a-z_]+:[a-z]\w+$/);
});

test("every metric that a rule names is exposed or recorded", () => {
  const isThere = knownMetrics();
  const names = rules.flatMap(({ expr }) =>
    [...expr.matchAll(/(?:namespace_release:|earshot_|leader_|workqueue_)[\w:]+/g)].map(([name]) => name),
  );
  expect(names.length).toBeGreaterThan(50);
  expect([...new Set(names)].filter((name) => !isThere(name))).toEqual([]);
});

describe.skipIf(!PROMTOOL)("by promtool (skipped where promtool is not there)", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "earshot-rules-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  interface Asked {
    readonly series: SeriesValues;
    readonly atMinutes: number;
    /** Selector of alerts, and how many of them fire. */
    readonly counts: Readonly<Record<string, number>>;
  }

  function promtool(asked: readonly Asked[], evaluationMinutes = 1): string {
    const file = join(folder, "cases.yaml");
    const content = {
      rule_files: [RULES],
      evaluation_interval: `${evaluationMinutes}m`,
      tests: asked.map(({ series, atMinutes, counts }) => ({
        interval: "1m",
        input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
        promql_expr_test: Object.entries(counts).map(([selector, value]) => ({
          expr: `count(${selector}) or vector(0)`,
          eval_time: `${atMinutes}m`,
          exp_samples: [{ labels: "{}", value }],
        })),
      })),
    };
    writeFileSync(file, JSON.stringify(content));
    const { status, stdout, stderr } = spawnSync("promtool", ["test", "rules", file], { encoding: "utf8" });
    return status === 0 ? "" : `${stdout}${stderr}`;
  }

  const firing = (alert: string, labels = ""): string =>
    `ALERTS{alertstate="firing",alertname="${alert}"${labels === "" ? "" : `,${labels}`}}`;

  test("the rules are good", () => {
    const { status, stdout, stderr } = spawnSync("promtool", ["check", "rules", RULES], { encoding: "utf8" });
    expect({ status, said: `${stdout}${stderr}` }).toMatchObject({ status: 0 });
  });

  test.each(ALERT_CASES)("$alert fires at $fires, not at $silent ($of)", (one) => {
    const { alert, labels, series, fires, silent, atMinutes = 30, notYetMinutes } = one;
    const selector = firing(alert, labels);
    const asked: Asked[] = [
      { series: series(fires), atMinutes, counts: { [selector]: 1 } },
      { series: series(silent), atMinutes, counts: { [selector]: 0 } },
    ];
    if (notYetMinutes !== undefined) {
      asked.push({ series: series(fires), atMinutes: notYetMinutes, counts: { [selector]: 0 } });
    }
    expect(promtool(asked)).toBe("");
  });

  test.each(TIMED_CASES)("$what", ({ series, atMinutes, firing: names, among = "", evaluationMinutes }) => {
    const counts: Record<string, number> = { [`ALERTS{alertstate="firing",${among}}`]: names.length };
    for (const name of names) {
      const [alert = "", labels = ""] = name.split(/[{}]/);
      counts[firing(alert, labels)] = 1;
    }
    expect(promtool([{ series, atMinutes, counts }], evaluationMinutes)).toBe("");
  });

  test("what is well fires nothing", () => {
    const series: SeriesValues = Object.assign({}, ...ALERT_CASES.map((one) => one.series(one.silent)), WELL);
    expect(promtool([{ series, atMinutes: 300, counts: { 'ALERTS{alertstate="firing"}': 0 } }])).toBe("");
  });

  test("a case that is wrong is told", () => {
    const [one] = ALERT_CASES;
    const wrong = promtool([
      { series: one?.series(0) ?? {}, atMinutes: 30, counts: { [firing("EarshotNoLeader")]: 1 } },
    ]);
    expect(wrong).toContain("FAILED");
  });
});
