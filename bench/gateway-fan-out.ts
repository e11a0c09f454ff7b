// Owns: what a delivery costs a gateway: one topic, many WebSocket subscribers, real processes (operator, router, gateway),
// beside a plain broadcast loop of the ws library in the same run. Run it:
//   npx node bench/gateway-fan-out.ts [subscribers] [rounds] [seconds a round]
// Method: one more WebSocket says a burst (1 or 20 messages) and the next one when all have heard it, so that nothing piles
// up and nothing is joined but what a burst has in it. Both servers send frames of about the same size. Rounds take turns;
// CPU time is the server process's own (user and system), so that listeners on the other core do not count.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism, cpus, loadavg, release } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import { startFleet, type TestFleet } from "../test/harness/fleet.ts";
import { cpuSeconds } from "./cpu.ts";
import { Ears } from "./ears.ts";

const [subscribers = 1_000, rounds = 7, seconds = 2] = process.argv.slice(2).map(Number);

const BURSTS = [1, 20] as const;

/** Characters of a payload, as in the design's table; an envelope adds some 190. */
const PAYLOAD = "x".repeat(126);
const ENVELOPE = "x".repeat(126 + 190);

const TOPIC = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: demo}
spec: {permissions: Public, limits: {maxPublishesPerSecond: 0}}
`;

/** A server with its listeners and the one who speaks. */
interface Subject {
  readonly name: string;
  readonly pid: number;
  readonly ears: Ears;
  readonly speaker: WebSocket;
  readonly message: string;
}

async function open(name: string, pid: number, base: string, message: string): Promise<Subject> {
  const ears = new Ears();
  await ears.open(`${base}/ws/subscribe?topic_id=default.demo`, subscribers);
  const speaker = new WebSocket(`${base}/ws/subscribe`, { perMessageDeflate: false });
  await once(speaker, "open");
  speaker.on("message", () => undefined);
  return { name, pid, ears, speaker, message };
}

async function openOurs(fleet: TestFleet): Promise<Subject> {
  const message = JSON.stringify({ type: "publish", topic_id: "default.demo", payload: PAYLOAD });
  const subject = await open("earshot gateway", fleet.pid("gateway-0"), fleet.ws(), message);
  // Everybody's `welcome` and `subscribed`.
  await subject.ears.until(2 * subscribers);
  return subject;
}

async function openPlain(child: ChildProcess): Promise<Subject> {
  const [port] = (await once(child, "message")) as [number];
  return open("plain ws", child.pid ?? 0, `ws://127.0.0.1:${port}`, ENVELOPE);
}

interface Round {
  readonly perCpuSecond: number;
  readonly perSecond: number;
}

/** Speaks bursts for some seconds. */
async function measure({ pid, ears, speaker, message }: Subject, burst: number): Promise<Round> {
  const before = { heard: ears.heard, cpu: cpuSeconds(pid), atMs: performance.now() };
  while (performance.now() - before.atMs < seconds * 1_000) {
    const heard = ears.until(ears.heard + burst * subscribers);
    for (let index = 0; index < burst; index++) speaker.send(message);
    await heard;
  }
  const deliveries = ears.heard - before.heard;
  const tookS = (performance.now() - before.atMs) / 1_000;
  return { perCpuSecond: deliveries / (cpuSeconds(pid) - before.cpu), perSecond: deliveries / tookS };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function thousands(value: number): string {
  return `${(value / 1_000).toFixed(1)} k`;
}

function report(name: string, burst: number, results: readonly Round[]): void {
  const costs = results.map(({ perCpuSecond }) => perCpuSecond);
  const spread = `${thousands(Math.min(...costs))} to ${thousands(Math.max(...costs))}`;
  const rate = thousands(median(results.map(({ perSecond }) => perSecond)));
  const what = burst === 1 ? "single messages" : `bursts of ${burst}`;
  process.stdout.write(
    `${name.padEnd(16)} ${what.padEnd(16)} median ${thousands(median(costs)).padStart(9)} deliveries a CPU-second ` +
      `(${spread}), ${rate} deliveries/s\n`,
  );
}

const child = fork(join(import.meta.dirname, "ws-broadcast.ts"));
const fleet = await startFleet({
  routers: 1,
  gateways: 1,
  presence: false,
  topics: [TOPIC],
  env: {
    EARSHOT_CONTROL_MESSAGES_PER_SECOND: "1000000",
    EARSHOT_CONTROL_MESSAGES_BURST: "1000000",
    EARSHOT_LOG_LEVEL: "warn",
  },
});
try {
  const [{ model } = { model: "unknown" }] = cpus();
  process.stdout.write(
    `${model}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}, ` +
      `load before ${loadavg()[0]?.toFixed(1)}\n` +
      `1 topic x ${subscribers} WebSocket subscribers, 128-byte payloads, ${rounds} rounds of ${seconds} s by turns\n`,
  );
  const subjects = [await openOurs(fleet), await openPlain(child)];
  const results = new Map<string, Round[]>();
  for (let round = -1; round < rounds; round++) {
    for (const subject of subjects) {
      for (const burst of BURSTS) {
        const result = await measure(subject, burst);
        // The first round warms both up.
        if (round < 0) continue;
        const key = `${subject.name} ${burst}`;
        results.set(key, [...(results.get(key) ?? []), result]);
      }
    }
  }
  for (const burst of BURSTS) {
    for (const { name } of subjects) report(name, burst, results.get(`${name} ${burst}`) ?? []);
    const [ours = [], plain = []] = subjects.map(({ name }) => results.get(`${name} ${burst}`) ?? []);
    const ratios = ours.map((one, index) => one.perCpuSecond / (plain[index]?.perCpuSecond ?? Number.NaN));
    process.stdout.write(`${"ratio".padEnd(33)} median ${median(ratios).toFixed(2)}\n`);
  }
} finally {
  child.disconnect();
  await fleet.close();
}
process.exit(0);
