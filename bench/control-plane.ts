// Owns: how long a new shard map takes to be in force everywhere. Real processes: etcd, kube-apiserver, one operator that keeps
// its map there, and as many routers and gateways as are asked for, each linked to each. Run it:
// npm run bench -- control-plane [--gateways 50] [--scripted 0] [--routers 20] [--rounds 5].
// Method: a router is asked to stop (SIGTERM), and when it has, another takes its place; some times. Each makes a series of
// maps. When a map was published stands in the operator's log; when the last process had acked it is read from its metrics
// (earshot_operator_processes_behind), every 10 ms. A gateway acks a map when every router in it has confirmed its interest.
// Where a machine cannot carry that many, `scripted` gateways speak Sync with the operator as real ones do, and ack at once.
// Needs KUBEBUILDER_ASSETS (etcd, kube-apiserver, kubectl).

import { parseArgs } from "node:util";
import { KubeFleet } from "../test/harness/kube-fleet.ts";
import { metricIn } from "../test/harness/metrics.ts";
import { ScriptedMember } from "../test/harness/scripted-member.ts";
import { until } from "../test/harness/until.ts";
import { cpuSeconds } from "./cpu.ts";
import { machine, median, percentile } from "./figures.ts";

const { values } = parseArgs({
  options: {
    gateways: { type: "string", default: "50" },
    scripted: { type: "string", default: "0" },
    routers: { type: "string", default: "20" },
    rounds: { type: "string", default: "5" },
  },
});
const [gateways, scripted] = [Number(values.gateways), Number(values.scripted)];
const [routers, rounds] = [Number(values.routers), Number(values.rounds)];

/** Milliseconds between looks at who has acked. */
const LOOK_MS = 10;

/** Processes that start at a time. */
const STARTED_AT_A_TIME = 4;

/** Milliseconds without a new map after which the last one is where it was going. */
const QUIET_MS = 3_000;

const LATE_MS = 600_000;

/** Milliseconds between reports: a stream that says nothing is ended. */
const REPORT_MS = 5_000;

const members: ScriptedMember[] = [];
const reporting: NodeJS.Timeout[] = [];

interface Published {
  readonly epoch: number;
  readonly atMs: number;
}

interface Change {
  readonly what: string;
  readonly maps: number;
  /** Of each map: milliseconds from its publishing to the last ack. */
  readonly ackMs: readonly number[];
  /** Maps of which another took the place before all had acked. */
  readonly superseded: number;
  /** Milliseconds from the event to the last ack of the last map. */
  readonly wholeMs: number;
}

/** When each epoch was seen to be acked by all. */
class Acks {
  readonly at = new Map<number, number>();
  readonly #fleet: KubeFleet;
  #closed = false;
  #running: Promise<void>;

  constructor(fleet: KubeFleet) {
    this.#fleet = fleet;
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      const text = await this.#fleet.processes.metrics("operator-0");
      const epoch = metricIn(text, "earshot_operator_epoch");
      if (metricIn(text, "earshot_operator_processes_behind") === 0 && !this.at.has(epoch)) {
        this.at.set(epoch, Date.now());
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

/** Maps that the operator has published, by its log. */
function published(fleet: KubeFleet): readonly Published[] {
  return fleet.processes
    .logs("operator-0")
    .split("\n")
    .filter((line) => line.includes('"shard map published"'))
    .map((line) => {
      const { epoch, time } = JSON.parse(line) as { epoch: number; time: string | number };
      return { epoch, atMs: new Date(time).getTime() };
    });
}

/** Resolves when a map that came after `epoch` is acked, and none came after it. */
async function settled(fleet: KubeFleet, acks: Acks, epoch: number): Promise<readonly Published[]> {
  return until(
    () => {
      const maps = published(fleet).filter((map) => map.epoch > epoch);
      const last = maps.at(-1);
      if (last === undefined || Date.now() - last.atMs < QUIET_MS) return undefined;
      return acks.at.has(last.epoch) ? maps : undefined;
    },
    "the maps have come to rest",
    LATE_MS,
  );
}

async function measure(fleet: KubeFleet, what: string, event: () => Promise<void>): Promise<Change> {
  const before = published(fleet).at(-1)?.epoch ?? 0;
  const acks = new Acks(fleet);
  const startedAtMs = Date.now();
  await event();
  const maps = await settled(fleet, acks, before);
  await acks.close();
  const ackMs = maps.flatMap(({ epoch, atMs }) => {
    const ackedAtMs = acks.at.get(epoch);
    return ackedAtMs === undefined ? [] : [ackedAtMs - atMs];
  });
  const last = maps.at(-1);
  const wholeMs = (acks.at.get(last?.epoch ?? 0) ?? Number.NaN) - startedAtMs;
  return { what, maps: maps.length, ackMs, superseded: maps.length - ackMs.length, wholeMs };
}

/** Ends a router in order; Kubernetes is told when it has ended. */
async function leave(fleet: KubeFleet, name: string): Promise<void> {
  fleet.processes.kill(name, "SIGTERM");
  await fleet.processes.ended(name);
  await fleet.kill(name);
}

async function startAll(fleet: KubeFleet): Promise<void> {
  const due = [
    ...Array.from({ length: routers - 1 }, () => "router" as const),
    ...Array.from({ length: gateways - 1 }, () => "gateway" as const),
  ];
  const startOnes = async (): Promise<void> => {
    for (let role = due.shift(); role !== undefined; role = due.shift()) await fleet.add(role);
  };
  await Promise.all(Array.from({ length: STARTED_AT_A_TIME }, startOnes));
}

async function connectScripted({ processes: { peersFolder } }: KubeFleet): Promise<void> {
  for (let index = 0; index < scripted; index++) {
    const member = new ScriptedMember({ role: "gateway", name: `scripted-${index}`, peersFolder });
    await member.connect();
    members.push(member);
    // As a process does, every 5 s.
    reporting.push(setInterval(() => member.report({}), REPORT_MS));
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function printChange({ what, maps, ackMs, superseded, wholeMs }: Change): void {
  const worst = Math.max(...ackMs);
  print(`| ${what} | ${maps} (${superseded}) | ${median(ackMs)} | ${worst} | ${wholeMs} |`);
}

function printSummary(changes: readonly Change[], what: string): void {
  const of = changes.filter((change) => change.what.startsWith(what));
  const ackMs = of.flatMap((change) => change.ackMs);
  print(
    `${what}, ${of.length} times: a map is acked by all after ${median(ackMs)} ms (median), ${percentile(ackMs, 99)} ms (p99), ` +
      `${Math.max(...ackMs)} ms (worst); ${median(of.map(({ maps }) => maps))} maps and ${median(of.map(({ wholeMs }) => wholeMs))} ms in all (median)`,
  );
}

print(`${gateways} gateways and ${scripted} scripted ones, ${routers} routers; ${machine()}`);
const fleet = await KubeFleet.start({ routers: 1, gateways: 1, env: { EARSHOT_LOG_LEVEL: "info" } });
try {
  await startAll(fleet);
  await connectScripted(fleet);
  const acks = new Acks(fleet);
  await settled(fleet, acks, 0);
  await acks.close();
  print(`all are there; ${machine()}`);
  const cpuBefore = cpuSeconds(fleet.processes.pid("operator-0"));
  print("| event | maps (superseded) | acked by all, median ms | worst ms | event to last ack of the last map ms |");
  print("|---|---|---|---|---|");
  const changes: Change[] = [];
  for (let round = 0; round < rounds; round++) {
    const name = `router-${round % routers}`;
    changes.push(await measure(fleet, "a router leaves", () => leave(fleet, name)));
    printChange(changes.at(-1) as Change);
    changes.push(await measure(fleet, "a router joins", () => fleet.start(name)));
    printChange(changes.at(-1) as Change);
  }
  for (const what of ["a router leaves", "a router joins"]) printSummary(changes, what);
  print(
    `operator: ${(cpuSeconds(fleet.processes.pid("operator-0")) - cpuBefore).toFixed(1)} s of CPU for ${rounds} rounds`,
  );
  print(machine());
} finally {
  for (const timer of reporting) clearInterval(timer);
  for (const member of members) member.disconnect();
  await fleet.close();
}
