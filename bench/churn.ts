// Owns: what a long time of coming and going leaves behind in each process of `npm start`: the slopes of heap, resident
// memory, handles and files, with their 95 % intervals. Run it:
//   npm run bench -- churn [--minutes 10] [--warm-minutes 11] [--connections 1000] [--percent 10] [--sample-seconds 5]
// Method: a crowd (crowd.ts) of constant size, of which `percent` a minute are replaced by others with new names and
// channels; 100 publishes a second over HTTP (a fifth to channels that nobody hears), tokens renewed, Topics made and
// deleted over HTTP. Every `sample-seconds` each process collects its heap (heap-probe.ts) and says what is left. Before
// it counts, the same goes on for `warm-minutes`: what is remembered for ten minutes (proven tokens, member lists) comes
// to its level, and memories with a cap are filled to it. At the end all are gone, and counts must be 0 again.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { call } from "../test/harness/http.ts";
import { TEST_SECRET } from "../test/harness/fleet.ts";
import { metricIn, metricsAt } from "../test/harness/metrics.ts";
import { type Standalone, startStandalone } from "../test/harness/standalone.ts";
import { until } from "../test/harness/until.ts";
import { Crowd } from "./crowd.ts";
import { askHeap } from "./ask-heap.ts";
import { isFlat, type Sample, slopeOf } from "./slope.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    "warm-minutes": { type: "string", default: "11" },
    connections: { type: "string", default: "1000" },
    percent: { type: "string", default: "10" },
    "sample-seconds": { type: "string", default: "5" },
  },
});
const minutes = Number(values.minutes);
const warmMinutes = Number(values["warm-minutes"]);
const connections = Number(values.connections);
const percent = Number(values.percent);
const sampleSeconds = Number(values["sample-seconds"]);

const TOPIC = "default.demo";
const PUBLISHES_PER_SECOND = 100;
const RENEWALS_PER_SECOND = 2;
const TOPICS_PER_SECOND = 1;
/** Channels that nobody hears, spoken to once: more than all routers remember of what was dropped. */
const SILENT_CHANNELS = 25_000;
const ANSWER_MS = 30_000;

const KIB = 1024;
const MIB = 1024 * KIB;

type Quantity = "heap" | "code" | "rss" | "handles" | "files";
const QUANTITIES: readonly { name: Quantity; unit: string; scale: number; startUnit: string; startScale: number }[] = [
  { name: "heap", unit: "KiB", scale: KIB, startUnit: "MiB", startScale: MIB },
  { name: "code", unit: "KiB", scale: KIB, startUnit: "MiB", startScale: MIB },
  { name: "rss", unit: "KiB", scale: KIB, startUnit: "MiB", startScale: MIB },
  { name: "handles", unit: "", scale: 1, startUnit: "", startScale: 1 },
  { name: "files", unit: "", scale: 1, startUnit: "", startScale: 1 },
];

interface Watched {
  readonly name: string;
  readonly pid: number;
  readonly series: Record<Quantity, Sample[]>;
}

const counts = { published: 0, topicsMade: 0, topicsDeleted: 0 };
/** Publishes that were not taken, by code. */
const refused = new Map<string, number>();

/** Actions of one kind that may be under way: a machine that cannot keep up is not drowned. */
const UNDER_WAY_MAX = 200;

/** Runs an action `perSecond` times a second until the signal; late ones are made up for. */
async function steadily(perSecond: number, stopped: AbortSignal, action: () => Promise<unknown>): Promise<void> {
  const startMs = performance.now();
  const underWay = new Set<Promise<unknown>>();
  let done = 0;
  while (!stopped.aborted) {
    const due = ((performance.now() - startMs) / 1_000) * perSecond;
    for (; done < due && underWay.size < UNDER_WAY_MAX; done++) {
      const one: Promise<unknown> = action()
        .catch(() => undefined)
        .finally(() => underWay.delete(one));
      underWay.add(one);
    }
    await delay(20);
  }
  await Promise.all(underWay);
}

async function publishOne(http: string, crowd: Crowd): Promise<void> {
  const chance = Math.random();
  const topicId = chance < 0.2 ? `${TOPIC}:nobody-${counts.published}` : chance < 0.25 ? TOPIC : crowd.channel;
  counts.published += 1;
  const path = `/api/v1/topics/${topicId}/publish`;
  const why = await call(http, "POST", path, { body: { payload: { n: 1 } } }).then(
    ({ status, json }) => (status === 200 ? undefined : String(json["code"])),
    (error: unknown) => String(error),
  );
  if (why !== undefined) refused.set(why, (refused.get(why) ?? 0) + 1);
}

/** Fills what routers remember of drops. */
async function fillDrops(http: string): Promise<void> {
  for (let first = 0; first < SILENT_CHANNELS; first += 100) {
    const messages = Array.from({ length: 100 }, (_, index) => ({
      topic_id: `${TOPIC}:silent-${first + index}`,
      payload: 1,
    }));
    // What is not taken now is one channel less to remember.
    await call(http, "POST", "/api/v1/publish", { body: { messages } }).catch(() => undefined);
  }
}

/** A Topic that lives for some seconds, with somebody's hand on it. */
async function makeTopic(http: string): Promise<void> {
  const name = `short-${counts.topicsMade}`;
  counts.topicsMade += 1;
  const made = await call(http, "POST", "/api/v1/topics", {
    body: { name, permissions: "PUBLIC", channels: "Dynamic" },
  });
  if (made.status !== 201) throw new Error(made.text);
  await delay(5_000);
  await call(http, "POST", `/api/v1/topics/default.${name}/publish`, { body: { payload: 1 } });
  if ((await call(http, "DELETE", `/api/v1/topics/default.${name}`)).status === 204) counts.topicsDeleted += 1;
}

/** Asks every process for what it holds after a collection. */
async function sampleAll(watched: readonly Watched[], folder: string, minute: number): Promise<void> {
  for (const { pid, series } of watched) {
    const reading = await askHeap(folder, pid);
    series.heap.push({ minute, value: reading.heap });
    series.code.push({ minute, value: reading.code });
    series.rss.push({ minute, value: reading.rss });
    series.handles.push({ minute, value: reading.handles });
    series.files.push({ minute, value: readdirSync(`/proc/${pid}/fd`).length });
  }
}

function watch(standalone: Standalone): readonly Watched[] {
  const empty = (): Watched["series"] => ({ heap: [], code: [], rss: [], handles: [], files: [] });
  const peers = standalone.peers().map(({ name, pid }) => ({ name, pid, series: empty() }));
  return [...peers, { name: "supervisor", pid: standalone.child.pid ?? 0, series: empty() }];
}

/** Both gateways as one: which of the two a connection meets is chance, and how many each has wanders. */
function gatewaysTogether(watched: readonly Watched[]): Watched {
  const gateways = watched.filter(({ name }) => name.startsWith("gateway"));
  const sumOf = (quantity: Quantity): Sample[] =>
    (gateways[0]?.series[quantity] ?? []).map(({ minute }, index) => ({
      minute,
      value: gateways.reduce((total, { series }) => total + (series[quantity][index]?.value ?? 0), 0),
    }));
  const series = {
    heap: sumOf("heap"),
    code: sumOf("code"),
    rss: sumOf("rss"),
    handles: sumOf("handles"),
    files: sumOf("files"),
  };
  return { name: "gateways", pid: 0, series };
}

function report(watched: readonly Watched[]): void {
  process.stdout.write(
    `${"process".padEnd(12)} ${"what".padEnd(8)} ${"at first".padStart(12)}   slope a minute (95 %)\n`,
  );
  for (const { name, series } of [...watched, gatewaysTogether(watched)]) {
    for (const { name: quantity, unit, scale, startUnit, startScale } of QUANTITIES) {
      const counted = series[quantity].filter(({ minute }) => minute >= 0);
      const slope = slopeOf(counted);
      const start = `${(slope.start / startScale).toFixed(1)} ${startUnit}`.trim();
      const figures =
        `${(slope.perMinute / scale).toFixed(1)} ± ${(slope.uncertainty / scale).toFixed(1)} ${unit}`.trim();
      const verdict = isFlat(slope) ? "flat" : slope.perMinute > 0 ? "GROWS" : "shrinks";
      process.stdout.write(
        `${name.padEnd(12)} ${quantity.padEnd(8)} ${start.padStart(12)}   ${figures.padEnd(28)} ${verdict}\n`,
      );
    }
  }
}

function listed(counted: ReadonlyMap<string, number>): string {
  return counted.size === 0 ? "none" : [...counted].map(([why, count]) => `${count} ${why}`).join(", ");
}

/** Sum of a metric over the processes of a role. */
async function total(standalone: Standalone, role: string, metric: string): Promise<number> {
  const peers = standalone.peers().filter((peer) => peer.role === role);
  const texts = await Promise.all(peers.map(({ probes }) => metricsAt(probes)));
  return texts.reduce((sum, text) => sum + metricIn(text, metric), 0);
}

const LEFT_OVER = [
  ["gateway", "earshot_gateway_connections"],
  ["gateway", "earshot_gateway_subscriptions"],
  ["gateway", "earshot_gateway_topics"],
  ["router", "earshot_router_subscriptions"],
  ["router", "earshot_router_interests"],
] as const;

/** Everybody goes at once; resolves with how long it took until no process counted anybody. */
async function emptied(standalone: Standalone, crowd: Crowd): Promise<number> {
  const startMs = performance.now();
  await crowd.scatter();
  for (const [role, metric] of LEFT_OVER) {
    await until(async () => (await total(standalone, role, metric)) === 0, `${metric} is 0 again`, ANSWER_MS);
  }
  return performance.now() - startMs;
}

const folder = mkdtempSync(join(tmpdir(), "earshot-churn-"));
const probe = `--import=${join(import.meta.dirname, "heap-probe.ts")}`;
const standalone = await startStandalone({
  env: {
    NODE_OPTIONS: `${process.env["NODE_OPTIONS"] ?? ""} ${probe}`.trim(),
    CHURN_PROBE_FOLDER: folder,
    EARSHOT_SECRET: TEST_SECRET,
    EARSHOT_LOG_LEVEL: "warn",
  },
});
try {
  const { http } = standalone;
  const crowd = new Crowd({ http: new URL(http).host, grpc: standalone.grpc, secret: TEST_SECRET, topicId: TOPIC });
  const watched = watch(standalone);
  const [{ model } = { model: "unknown" }] = cpus();
  process.stdout.write(
    `${model}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}, load before ${loadavg()[0]?.toFixed(1)}\n` +
      `${connections} connections (70 % WebSocket, 25 % SSE, 5 % gRPC), ${percent} % of them replaced a minute, ` +
      `${PUBLISHES_PER_SECOND} publishes/s over HTTP, ${minutes} min after ${warmMinutes} min of the same\n` +
      `heap: after a full collection, without code, with buffers; slope of 10 block means, Student's interval\n`,
  );
  await crowd.come(connections);
  const stop = new AbortController();
  const work = [
    steadily(PUBLISHES_PER_SECOND, stop.signal, () => publishOne(http, crowd)),
    steadily((connections * percent) / 100 / 60, stop.signal, () => crowd.replaceOne()),
    steadily(TOPICS_PER_SECOND, stop.signal, () => makeTopic(http)),
    steadily(RENEWALS_PER_SECOND, stop.signal, async () => crowd.renewOne()),
  ];
  if (warmMinutes > 0) await fillDrops(http);
  const startMs = performance.now();
  const minute = (): number => (performance.now() - startMs) / 60_000 - warmMinutes;
  for (let sample = 0; minute() < minutes; sample++) {
    await sampleAll(watched, folder, minute());
    await delay(Math.max(0, startMs + (sample + 1) * sampleSeconds * 1_000 - performance.now()));
  }
  stop.abort();
  await Promise.all(work);
  report(watched);
  process.stdout.write(
    `came ${crowd.came}, left ${crowd.left}, heard ${crowd.heard}, tokens renewed ${crowd.renewed}, ` +
      `published ${counts.published}, Topics made ${counts.topicsMade}, deleted ${counts.topicsDeleted}\n` +
      `let go without leaving: ${listed(crowd.failed)}; publishes not taken: ${listed(refused)}\n`,
  );
  const tookMs = await emptied(standalone, crowd);
  process.stdout.write(`all left at once: nobody was counted any more after ${Math.round(tookMs)} ms\n`);
  if (standalone.stderr !== "") process.stdout.write(`said meanwhile: ${standalone.stderr}\n`);
} finally {
  await standalone.close();
  rmSync(folder, { recursive: true });
}
process.exit(0);
