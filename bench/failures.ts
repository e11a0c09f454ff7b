// Owns: what a death costs, over many of them: 200 messages a second flow over every door of both gateways (HTTP, batch,
// WebSocket, gRPC, gRPC stream) and are heard over WebSocket, SSE and gRPC at both, while one process is killed, frozen or
// asked to stop; again and again, in one installation of real processes. Run it:
//   npm run bench -- failures [--runs 20] [--only router-killed]
// Method: each run has ears, doors and counts of its own, and begins when everything is whole: every ear hears, and the
// topic's list has two routers. `lost` are messages that were accepted and never came, at the worst ear; `next` is, for
// every door and every ear, the time from the first publish after the event to the first that is heard, of those after
// it: refused, lost and late ones make it longer. The clients share a machine, and one process, with the rest: `usual` is
// the time from a publish to its hearing before the event, in the same runs, so that a busy machine is seen as one.

import { availableParallelism, cpus, loadavg, release } from "node:os";
import { parseArgs } from "node:util";
import { Drill, type Figures } from "../test/harness/drill.ts";
import { startFleet, type TestFleet } from "../test/harness/fleet.ts";
import { DRILLS, type DrillKind, type DrillRow } from "./failure-drills.ts";

const { values } = parseArgs({ options: { runs: { type: "string", default: "20" }, only: { type: "string" } } });
const runs = Number(values.runs);

interface Run {
  readonly figures: Figures;
  readonly nextMs: readonly number[];
  readonly usualMs: readonly number[];
}

/** One run; the figures by row of the table. */
async function runOnce(fleet: TestFleet, kind: DrillKind): Promise<readonly Run[]> {
  const drill = await Drill.start(fleet);
  try {
    const atMs = await kind.event(drill);
    await drill.stop();
    return rowsOf(kind).map(({ gateway }) => ({
      figures: drill.figures(gateway),
      nextMs: atMs.flatMap((eventMs) => drill.nextDeliveries(eventMs, gateway)),
      usualMs: drill.counter.deliveries(atMs[0] ?? 0),
    }));
  } finally {
    await drill.close();
  }
}

function rowsOf({ name, rows }: DrillKind): readonly DrillRow[] {
  return rows ?? [{ label: name }];
}

function percentile(sorted: readonly number[], part: number): string {
  const value = sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
  return value.toFixed(value < 10 ? 1 : 0);
}

/** Mean of a run, and the worst one. */
function perRun(counts: readonly number[]): string {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return `${Number.isInteger(mean) ? mean : mean.toFixed(1)} (${Math.max(...counts)})`;
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

const COLUMNS = [
  "event",
  "runs",
  "lost",
  "doubled",
  "gap notices",
  "publish_unknown",
  "refused",
  "next p50",
  "p99",
  "worst ms",
  "usual p50",
  "p99",
  "worst ms",
];
const WIDTHS = [29, 5, 11, 9, 12, 16, 11, 9, 6, 9, 10, 6, 9];

function print(cells: readonly string[]): void {
  process.stdout.write(
    `${cells
      .map((cell, index) => cell.padEnd(WIDTHS[index] ?? 10))
      .join(" ")
      .trimEnd()}\n`,
  );
}

function report(name: string, all: readonly Run[]): void {
  if (all.length === 0) return;
  const next = all.flatMap(({ nextMs }) => nextMs).toSorted((a, b) => a - b);
  const usual = all.flatMap(({ usualMs }) => usualMs).toSorted((a, b) => a - b);
  const of = (count: (figures: Figures) => number): string => perRun(all.map(({ figures }) => count(figures)));
  print([
    name,
    String(all.length),
    of(({ lost }) => lost),
    of(({ doubled }) => doubled),
    of(({ gaps }) => sum(gaps)),
    of(({ told }) => told.unknown),
    of(({ told }) => sum(told.refused)),
    percentile(next, 0.5),
    percentile(next, 0.99),
    percentile(next, 1),
    percentile(usual, 0.5),
    percentile(usual, 0.99),
    percentile(usual, 1),
  ]);
}

async function measure(kind: DrillKind): Promise<void> {
  if (kind.skipped !== undefined) {
    print([kind.name, `skipped: ${kind.skipped}`]);
    return;
  }
  const { env, ...options } = (await kind.open?.()) ?? {};
  const fleet = await startFleet({ ...options, env: { EARSHOT_LOG_LEVEL: "warn", ...env } });
  const all: (readonly Run[])[] = [];
  try {
    for (let run = 0; run < (kind.once === true ? 1 : runs); run++) all.push(await runOnce(fleet, kind));
  } finally {
    await fleet.close();
    await kind.close?.();
    for (const [index, { label }] of rowsOf(kind).entries())
      report(
        label,
        all.flatMap((rows) => rows[index] ?? []),
      );
  }
}

const chosen = DRILLS.filter(({ name }) => values.only === undefined || values.only === name);
if (chosen.length === 0 || !Number.isInteger(runs) || runs < 1) {
  const names = DRILLS.map(({ name, what }) => `  ${name.padEnd(18)}${what}`).join("\n");
  process.stderr.write(`npm run bench -- failures [--runs 20] [--only <event>]; events:\n${names}\n`);
  process.exit(2);
}
const [{ model } = { model: "unknown" }] = cpus();
process.stdout.write(
  `${model}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}, ` +
    `load before ${loadavg()[0]?.toFixed(1)}\n` +
    "200 messages/s over 10 doors, 6 ears, 2 routers, 2 gateways, operator, presence; all on this machine\n" +
    "counts: mean of a run (worst run), of the worst ear; next: from a publish after the event to what is heard\n",
);
print(COLUMNS);
for (const kind of chosen) await measure(kind);
process.exit(0);
