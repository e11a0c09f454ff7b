// Owns: `npm run drills`: everything of an installation in a real cluster is rolled under load, several times, with the
// chart's own drain times; each row of the table that is printed is one drill over all its runs, worst run in brackets.
// It needs what test/cluster/full-*.test.ts need (docs/operations.md tells). Elsewhere: the drills (test/harness/kube-drills.ts).

import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { KubeAccess } from "../test/harness/kube-access.ts";
import { drill, type Drilled, KUBE_DRILLS, type KubeDrill, openDrilled } from "../test/harness/kube-drills.ts";
import { nameEdge } from "../test/harness/kube-edge.ts";
import type { LoadFigures } from "../test/harness/kube-load.ts";
import { NO_RELEASE } from "../test/harness/kube-release.ts";

const CLIENTS_OF_A_CHANNEL = 4;

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    only: { type: "string", multiple: true },
    "per-second": { type: "string", default: "500" },
    clients: { type: "string", default: "200" },
    "short-drains": { type: "boolean", default: false },
  },
});

const SIZE = {
  channels: Math.ceil(Number(values.clients) / CLIENTS_OF_A_CHANNEL),
  perSecond: Number(values["per-second"]),
};

const HEAD = [
  "drill",
  "runs",
  "messages",
  "lost",
  "doubled",
  "disconnected",
  "moved",
  "missed between",
  "unknown",
  "refused",
  "longest silence",
];

/** Mean of a run, and the worst run where they are not the same. */
function cell(runs: readonly LoadFigures[], of: (figures: LoadFigures) => number): string {
  const all = runs.map(of);
  const mean = all.reduce((sum, one) => sum + one, 0) / all.length;
  const worst = Math.max(...all);
  return worst === mean ? String(worst) : `${mean.toFixed(1)} (${worst})`;
}

function row({ what }: KubeDrill, runs: readonly LoadFigures[]): readonly string[] {
  const refused = (one: LoadFigures): number => Object.values(one.refused).reduce((sum, count) => sum + count, 0);
  return [
    what,
    String(runs.length),
    String(runs.reduce((sum, { published }) => sum + published, 0)),
    cell(runs, ({ lost }) => lost),
    cell(runs, ({ doubled }) => doubled),
    cell(runs, ({ disconnected }) => disconnected),
    cell(runs, ({ moved }) => moved),
    cell(runs, ({ missedBetween }) => missedBetween),
    cell(runs, ({ unknown }) => unknown),
    cell(runs, refused),
    `${Math.max(...runs.map(({ longestSilenceMs }) => longestSilenceMs))} ms`,
  ];
}

function say(cells: readonly string[]): void {
  process.stdout.write(`| ${cells.join(" | ")} |\n`);
}

async function repeat(drilled: Drilled, one: KubeDrill): Promise<readonly LoadFigures[]> {
  const runs: LoadFigures[] = [];
  while (runs.length < Number(values.runs)) {
    const figures = await drill(drilled, one, SIZE);
    process.stderr.write(`${one.name}: ${JSON.stringify(figures)}\n`);
    runs.push(figures);
  }
  return runs;
}

async function main(): Promise<void> {
  if (NO_RELEASE !== undefined) throw new Error(NO_RELEASE);
  nameEdge();
  const kubeconfig = process.env["KUBECONFIG"] ?? "";
  const kube = new KubeAccess({ kubeconfig, kubectl: "kubectl", auditLog: undefined });
  const namespace = `drills-${randomBytes(4).toString("hex")}`;
  await kube.kubectl(["create", "namespace", namespace]);
  const drilled = await openDrilled(kube, { name: "drilled", namespace, realDrains: !values["short-drains"] });
  try {
    say(HEAD);
    say(HEAD.map(() => "---"));
    for (const one of KUBE_DRILLS) {
      if (values.only !== undefined && !values.only.includes(one.name)) continue;
      const skipped = one.skipped?.(drilled);
      if (skipped === undefined) say(row(one, await repeat(drilled, one)));
      else process.stderr.write(`${one.name} is skipped: ${skipped}\n`);
    }
  } finally {
    await drilled.close();
    await kube.kubectl(["delete", "namespace", namespace, "--wait=false"]);
    await kube.close();
  }
}

await main();
