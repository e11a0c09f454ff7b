// What is decided stays in force while nobody decides: 200 messages a second over every door, heard over every transport,
// while all operators are gone, and while the API server is frozen and then dead. A router is killed meanwhile, and
// processes start anew. Then all is back, and everybody agrees again, without a burst of errors.
// Each absence lasts ABSENT_SECONDS (default 15; the two minutes of the design are tried by hand).

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import { Drill, IN_FLIGHT_MAX, tellFigures } from "../harness/drill.ts";
import type { AuditEntry } from "../harness/kube-access.ts";
import { INSTALLED_IN, KubeFleet, RELEASE } from "../harness/kube-fleet.ts";
import { getTopic, makeTopic } from "../harness/kube-topics.ts";
import { until } from "../harness/until.ts";

vi.setConfig({ testTimeout: 900_000, hookTimeout: 300_000 });

const ABSENT_SECONDS = Number(process.env["ABSENT_SECONDS"] ?? 15);
const PER_SECOND = 200;
const PATIENCE_MS = 120_000;

/** Calls of two operators to the API server in the first seconds in which it is back: lists, watches, Lease, map, statuses. */
const CALLS_MAX = 100;

let kube: KubeFleet;
let drill: Drill;

async function untilReady(name: string): Promise<void> {
  const isReady = async (): Promise<boolean> =>
    (await getTopic(kube.api, "default", name)).status.conditions.some(
      ({ type, status }) => type === "Ready" && status === "True",
    );
  await until(isReady, `${name} is ready`, PATIENCE_MS);
}

/** Messages go on at every ear for a while. */
async function goesOn(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 5) await drill.flows(5 * PER_SECOND);
}

async function epoch(): Promise<number> {
  const path = `/apis/earshot.dev/v1alpha1/namespaces/${INSTALLED_IN}/shardmaps/${RELEASE}`;
  return ((await kube.api.call("GET", path)).body as { epoch: number }).epoch;
}

/** Nothing was lost but what sat in the router that was killed, nothing came twice, and nobody's connection broke. */
async function judge(event: string): Promise<void> {
  await drill.stop();
  const figures = drill.figures();
  tellFigures(event, figures);
  expect(figures).toMatchObject({ doubled: 0, disordered: 0, overtaken: 0, breaks: 0 });
  expect(figures.lost).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  expect(figures.told.taken + figures.told.unknown).toBeGreaterThanOrEqual(figures.published - IN_FLIGHT_MAX);
}

/** Starts a router that no map can name now: it has the map and the Topics from the others, and waits for its part. */
async function startRouter(name: string): Promise<void> {
  kube.processes.launch(name);
  const pid = kube.processes.pid(name);
  await until(
    async () => {
      if (kube.processes.peer(name).pid !== pid) return false;
      return !(await kube.processes.notReady(name)).includes("no topics or no shard map yet");
    },
    `${name} has the map and the Topics`,
    PATIENCE_MS,
  );
}

function errorsOf(name: string): readonly string[] {
  return kube.processes
    .logs(name)
    .split("\n")
    .filter((line) => /"level":"(error|fatal)"/.test(line));
}

const failed = ({ responseStatus }: AuditEntry): boolean => (responseStatus?.code ?? 0) >= 400;

describe.skipIf(KUBE_ASSETS === undefined)("messages go on", () => {
  beforeEach(async () => {
    kube = await KubeFleet.start({ operators: 2, routers: 3, gateways: 2 });
    await makeTopic(kube.api, "default", "demo", { permissions: "Public", channels: "Dynamic" });
    await untilReady("demo");
    drill = await Drill.start(kube.processes);
    // One without ears, which may die without breaking a connection.
    await kube.add("gateway");
  });

  afterEach(async () => {
    await drill?.close();
    await kube?.close();
  });

  test("while there is no operator, a router dies, and processes start anew", async () => {
    for (const name of ["operator-0", "operator-1"]) await kube.kill(name);
    const before = await epoch();
    await goesOn(ABSENT_SECONDS / 3);
    const primary = drill.primary();
    await kube.kill(primary);
    await goesOn(ABSENT_SECONDS / 3);
    // They have the map and the Topics from the routers that are left.
    await startRouter(primary);
    await kube.kill("gateway-2");
    await kube.start("gateway-2");
    await goesOn(ABSENT_SECONDS / 3);
    expect(await epoch()).toBe(before);
    await makeTopic(kube.api, "default", "meanwhile");
    const start = kube.api.auditEnd();
    for (const name of ["operator-0", "operator-1"]) await kube.start(name);
    await drill.isMapped(primary);
    await kube.tellEndpoints();
    await untilReady("meanwhile");
    await goesOn(5);
    expect(await epoch()).toBeGreaterThan(before);
    expect(
      kube
        .asked(start)
        .filter(failed)
        .map(({ requestURI }) => requestURI),
    ).toEqual([]);
    await judge("no operator, a router killed meanwhile");
  });

  test("while the API server is frozen, then dead, a router dies, and processes start anew", async () => {
    const before = await epoch();
    kube.server.signal("SIGSTOP");
    await goesOn(ABSENT_SECONDS / 3);
    await kube.server.kill();
    await goesOn(ABSENT_SECONDS / 3);
    const primary = drill.primary();
    await kube.killUnseen(primary);
    await goesOn(ABSENT_SECONDS / 3);
    await startRouter(primary);
    await kube.killUnseen("gateway-2");
    await kube.processes.start("gateway-2");
    await goesOn(5);
    const start = kube.api.auditEnd();
    await kube.server.start();
    await kube.tellEndpoints();
    await makeTopic(kube.api, "default", "after");
    await untilReady("after");
    await drill.isMapped(primary);
    await goesOn(5);
    expect(await epoch()).toBeGreaterThan(before);
    const asked = kube.asked(start);
    tellFigures("API server back", { calls: asked.length, failed: asked.filter(failed).length });
    expect(asked.length).toBeLessThan(CALLS_MAX);
    for (const name of ["operator-0", "operator-1"]) expect(errorsOf(name)).toEqual([]);
    await judge("no API server, a router killed meanwhile");
  });
});
