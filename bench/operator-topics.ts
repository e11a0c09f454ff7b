// Owns: what very many Topics cost an operator in Kubernetes. Real processes: etcd, kube-apiserver, one operator, two routers,
// one gateway. Run it: npm run bench -- operator-topics [--topics 10000] [--starts 3] [--applied 200]
// [--written].
// Method: the Topics are made, in ten namespaces, while no operator runs. It is started: the first time no Topic has a
// status, so that each is written one (with --written they have theirs); then again, some times, with nothing to write. Each start tells when it serves and
// is ready, when a process that asks then has every Topic, memory after a whole collection, and how late its event loop
// was, from its first call of the API on (before that, modules load). Then Topics are applied one after the other, each
// with a client that tries to subscribe, and then publishes: the time from the call to the message.
// Needs KUBEBUILDER_ASSETS (etcd, kube-apiserver, kubectl).

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { KubeFleet } from "../test/harness/kube-fleet.ts";
import { stored, topicOf, topicPath } from "../test/harness/kube-topics.ts";
import { metricIn } from "../test/harness/metrics.ts";
import { ScriptedMember } from "../test/harness/scripted-member.ts";
import { until } from "../test/harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../test/harness/websocket.ts";
import { askHeap } from "./ask-heap.ts";
import { AuditTail } from "./audit-tail.ts";
import { cpuSeconds } from "./cpu.ts";
import { makeManyTopics, takeTemplate } from "./many-topics.ts";
import { machine, median, percentile } from "./figures.ts";
import { readStalls } from "./stall-probe.ts";

const { values } = parseArgs({
  options: {
    topics: { type: "string", default: "10000" },
    starts: { type: "string", default: "3" },
    written: { type: "boolean", default: false },
    applied: { type: "string", default: "200" },
  },
});
const [topics, starts, applied] = [Number(values.topics), Number(values.starts), Number(values.applied)];

const NAMESPACES = Array.from({ length: 10 }, (_, index) => `bench-${index}`);

/** Milliseconds in which even the slowest start, write or message is over. */
const LATE_MS = 1_800_000;

/** Milliseconds without a write after which an operator has written all. */
const QUIET_MS = 5_000;

/** Milliseconds between tries of a client that waits for a Topic. */
const RETRY_MS = 5;

const probes = mkdtempSync(join(tmpdir(), "earshot-probe-"));
const imports = ["stall-probe.ts", "heap-probe.ts"].map((file) => `--import ${join(import.meta.dirname, file)}`);

interface Row {
  readonly start: string;
  readonly readyMs: number;
  readonly syncedMs: number;
  readonly writtenMs: number;
  readonly writes: number;
  readonly writtenTopics: number;
  readonly otherWrites: number;
  readonly rssMiB: number;
  readonly heapMiB: number;
  readonly stallMs: number;
  readonly stallCpuMs: number;
  readonly cpuS: number;
}

async function makeTopics(fleet: KubeFleet): Promise<void> {
  for (const namespace of NAMESPACES) await fleet.api.kubectl(["create", "namespace", namespace]);
  const template = await takeTemplate(fleet, NAMESPACES[0] ?? "", values.written);
  await endOperator(fleet);
  const startedMs = performance.now();
  await makeManyTopics(fleet, template, NAMESPACES, topics);
  print(`${topics} Topics are there, after ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
}

/** Ends the operator in order: it gives its Lease back, so that the next one leads at once. */
async function endOperator({ processes }: KubeFleet): Promise<void> {
  processes.kill("operator-0", "SIGTERM");
  await processes.ended("operator-0");
}

async function measureStart(fleet: KubeFleet, start: string): Promise<Row> {
  const { processes } = fleet;
  const audit = new AuditTail(fleet);
  const startedAtMs = Date.now();
  processes.launch("operator-0");
  announce(fleet);
  const isReady = async (): Promise<boolean> => {
    const reasons = await processes.notReady("operator-0").catch(() => ["no answer"]);
    return reasons.length === 0;
  };
  await until(isReady, "the operator is ready", LATE_MS);
  const readyMs = Date.now() - startedAtMs;
  const syncedMs = await syncMs(fleet);
  const written = await quiet(fleet, audit);
  const pid = processes.pid("operator-0");
  const stalls = readStalls(probes, pid, audit.firstMs ?? startedAtMs);
  const cpuS = cpuSeconds(pid);
  const rssMiB = rssOf(pid);
  const { heap } = await askHeap(probes, pid);
  return {
    start,
    readyMs,
    syncedMs,
    writtenMs: written === undefined ? 0 : written - startedAtMs,
    writes: audit.statusWrites,
    writtenTopics: audit.writtenTopics,
    otherWrites: audit.otherWrites,
    rssMiB,
    heapMiB: heap / 2 ** 20,
    stallMs: Math.max(0, ...stalls.map(({ lateMs }) => lateMs)),
    stallCpuMs: Math.max(0, ...stalls.map(({ cpuMs }) => cpuMs)),
    cpuS,
  };
}

/** As its Service does at once: the others find the new process where the old one was. */
function announce({ processes }: KubeFleet): void {
  const path = join(processes.peersFolder, "operator-0.json");
  const endpoint = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...endpoint, pid: processes.pid("operator-0") }));
}

function rssOf(pid: number): number {
  const [, kib = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) / 1_024;
}

/** Milliseconds until a process that connects has every Topic. */
async function syncMs({ processes: { peersFolder } }: KubeFleet): Promise<number> {
  const member = new ScriptedMember({ role: "gateway", name: "asks-for-all", peersFolder });
  const startedMs = performance.now();
  await member.connect();
  await until(() => member.topicsComplete, "a process has every Topic", LATE_MS);
  const ms = performance.now() - startedMs;
  if (member.topics.size < topics) throw new Error(`only ${member.topics.size} Topics were told`);
  member.disconnect();
  return ms;
}

/** Waits until nothing is written any more; when the last status was, if one was. */
async function quiet({ processes }: KubeFleet, audit: AuditTail): Promise<number | undefined> {
  const quietSince = (): number => Math.max(audit.lastWriteMs ?? 0, startedMs);
  const startedMs = Date.now();
  await until(
    async () => {
      audit.read();
      if (Date.now() - quietSince() < QUIET_MS) return false;
      const metrics = await processes.metrics("operator-0");
      if (metricIn(metrics, "leader_election_master_status") !== 1) return false;
      return metricIn(metrics, "earshot_operator_undecided_topics") === 0;
    },
    "every status is written",
    LATE_MS,
  );
  return audit.lastWriteMs;
}

/** Milliseconds from the apply of each of some new Topics to a message that its subscriber hears. */
async function measureApplied(fleet: KubeFleet): Promise<number[]> {
  const client = await openWebSocket(fleet.processes.ws());
  const took: number[] = [];
  for (let index = 0; index < applied; index++) took.push(await appliedMs(fleet, client, index));
  await client.close();
  return took;
}

async function appliedMs({ api, processes }: KubeFleet, client: WebSocketClient, index: number): Promise<number> {
  const namespace = NAMESPACES[0] ?? "";
  const name = `applied-${index}`;
  const topicId = `${namespace}.${name}`;
  const manifest = topicOf(name, { permissions: "Public" });
  const heard = Promise.withResolvers<void>();
  const subscribed = Promise.withResolvers<void>();
  client.frames.on((frame) => {
    if (frame["topic_id"] !== topicId) return;
    if (frame.type === "subscribed") subscribed.resolve();
    if (frame.type === "message") heard.resolve();
  });
  const startedMs = performance.now();
  const path = `${topicPath(namespace, name)}?fieldManager=kubectl`;
  const applying = api.call("PATCH", path, manifest, { "content-type": "application/apply-patch+yaml" });
  const subscribing = setInterval(() => client.send({ type: "subscribe", topic_id: topicId }), RETRY_MS);
  await subscribed.promise;
  clearInterval(subscribing);
  await until(async () => (await publish(processes.http(), topicId)) === 200, `${topicId} takes a message`, LATE_MS);
  await heard.promise;
  const ms = performance.now() - startedMs;
  stored(await applying);
  return ms;
}

async function publish(base: string, topicId: string): Promise<number> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${base}/api/v1/topics/${topicId}/publish`, {
    method: "POST",
    headers,
    body: '{"payload":1}',
  });
  await answer.text();
  return answer.status;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function printRow(row: Row): void {
  const {
    start,
    readyMs,
    syncedMs,
    writtenMs,
    writes,
    writtenTopics,
    otherWrites,
    rssMiB,
    heapMiB,
    stallMs,
    stallCpuMs,
    cpuS,
  } = row;
  print(
    `| ${start} | ${readyMs} | ${syncedMs.toFixed(0)} | ${writes} (${writtenTopics}) | ${otherWrites} | ${(writtenMs / 1_000).toFixed(1)} | ` +
      `${rssMiB.toFixed(0)} | ${heapMiB.toFixed(0)} | ${stallMs.toFixed(0)} | ${stallCpuMs.toFixed(0)} | ${cpuS.toFixed(1)} |`,
  );
}

print(machine());
const fleet = await KubeFleet.start({
  routers: 2,
  gateways: 1,
  env: { EARSHOT_LOG_LEVEL: "info" },
  operatorEnv: { STALL_PROBE_FOLDER: probes, CHURN_PROBE_FOLDER: probes, NODE_OPTIONS: imports.join(" ") },
});
try {
  await makeTopics(fleet);
  print(
    "| start | ready ms | then all Topics to one process ms | status writes (Topics) | other writes | last write s | RSS MiB | heap MiB | stall ms | its CPU ms | CPU s |",
  );
  print("|---|---|---|---|---|---|---|---|---|---|---|");
  const rows = [await measureStart(fleet, values.written ? "first" : "no status yet")];
  printRow(rows[0] as Row);
  for (let index = 1; index <= starts; index++) {
    await endOperator(fleet);
    const row = await measureStart(fleet, `again, ${index}`);
    rows.push(row);
    printRow(row);
  }
  const again = rows.slice(1);
  print(
    `again, median of ${again.length}: ready after ${median(again.map(({ readyMs }) => readyMs))} ms, ` +
      `RSS ${median(again.map(({ rssMiB }) => rssMiB)).toFixed(0)} MiB, ` +
      `longest stall ${median(again.map(({ stallMs }) => stallMs)).toFixed(0)} ms, worst ${Math.max(...again.map(({ stallMs }) => stallMs)).toFixed(0)} ms`,
  );
  const took = await measureApplied(fleet);
  print(
    `from apply to heard, ${applied} Topics: p50 ${percentile(took, 50).toFixed(0)} ms, p99 ${percentile(took, 99).toFixed(0)} ms, ` +
      `worst ${Math.max(...took).toFixed(0)} ms`,
  );
  print(machine());
} finally {
  await fleet.close();
  rmSync(probes, { recursive: true, force: true });
}
