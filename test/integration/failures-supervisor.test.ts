// What the supervisor of `npm start` does with processes that die, while 200 messages a second come in over every door
// and are heard over every transport: it starts them again, later each time, and says once why one cannot be started.

import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Drill, IN_FLIGHT_MAX, tellFigures } from "../harness/drill.ts";
import { DrilledStandalone } from "../harness/drilled-standalone.ts";
import { TEST_SECRET } from "../harness/fleet.ts";
import { type Answer, call } from "../harness/http.ts";
import { type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const SETTLED = 200;
/** Ends of one slot that a test waits for: restarts are 0.5, 1, 2 and 4 s apart at most. */
const ENDS = 4;
const ENDS_WITHIN_MS = 60_000;

let standalone: Standalone;
let fleet: DrilledStandalone;
let drill: Drill<DrilledStandalone>;
beforeEach(async () => {
  standalone = await startStandalone({ env: { EARSHOT_SECRET: TEST_SECRET } });
  fleet = new DrilledStandalone(standalone);
  drill = await Drill.start(fleet);
});
afterEach(async () => {
  await drill.close();
  await standalone.close();
});

const make = (name: string): Promise<Answer> =>
  call(fleet.http(), "POST", "/api/v1/topics", { body: { name, permissions: "PUBLIC" } });

/** Ends of a slot's processes as the supervisor has logged them. */
function endsOf(name: string): { readonly wasReady: boolean; readonly restartInMs: number }[] {
  const lines = fleet
    .logs("supervisor")
    .split("\n")
    .filter((line) => line.includes('"process ended"'));
  const ends = lines.map((line) => JSON.parse(line) as { process: string; wasReady: boolean; restartInMs: number });
  return ends.filter(({ process }) => process === name);
}

/** Each wait is between half and all of 500 ms doubled with every end. */
function expectBackoff(name: string): void {
  for (const [index, { restartInMs }] of endsOf(name).entries()) {
    expect(restartInMs).toBeLessThanOrEqual(500 * 2 ** index);
    expect(restartInMs).toBeGreaterThanOrEqual(250 * 2 ** index);
  }
}

test("every process that is killed is there again, and messages go on", async () => {
  for (const name of [drill.primary(), "operator-0", "presence-0", "gateway-1"]) {
    const killed = fleet.kill(name);
    await drill.flows(SETTLED);
    await fleet.isBack(name, killed);
    if (name.startsWith("router")) await drill.isMapped(name);
  }
  await until(async () => (await make("later")).status === 201, "a Topic can be made");
  await drill.flows(SETTLED);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("each process killed in turn, under the supervisor", figures);
  expect(figures).toMatchObject({ doubled: 0, told: { unheard: 0 } });
  expect(figures.lost).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  expect(standalone.stderr).toBe("");
});

test("a process that cannot start says why once, is tried again later each time, and starts once it can", async () => {
  const folder = join(standalone.stateFolder, "http-topics");
  renameSync(folder, `${folder}.aside`);
  writeFileSync(folder, "not a folder");
  const killed = fleet.kill("operator-0");
  await until(() => endsOf("operator-0").length > ENDS, `it has ended ${ENDS} times more`, ENDS_WITHIN_MS);
  await drill.flows(SETTLED);
  expect((await make("later")).json).toMatchObject({ status: 503, code: "control_plane_unavailable" });
  expect(endsOf("operator-0").map(({ wasReady }) => wasReady)).toEqual([true, false, false, false, false]);
  expectBackoff("operator-0");
  expect(standalone.stderr).toMatch(
    /^state \(--state, EARSHOT_STATE\) must be a folder that can be written: EEXIST[^\n]*\n$/,
  );

  rmSync(folder);
  renameSync(`${folder}.aside`, folder);
  await fleet.isBack("operator-0", killed);
  await until(async () => (await make("later")).status === 201, "a Topic can be made again");
  await drill.flows(SETTLED);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("an operator that cannot start, under the supervisor", figures);
  expect(figures).toMatchObject({ lost: 0, doubled: 0, gaps: {}, breaks: 0 });
  expect(figures.told).toEqual({ taken: figures.published, unheard: 0, unknown: 0, refused: {}, broken: {} });
});

/** The process that is in a slot, ready or not; undefined between two. */
function pidOfSlot(name: string): number | undefined {
  const { pid = 0 } = standalone.child;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return children.map(Number).find((child) => {
    try {
      return readFileSync(`/proc/${child}/environ`, "utf8").split("\0").includes(`EARSHOT_NAME=${name}`);
    } catch {
      return false;
    }
  });
}

test.skipIf(process.platform !== "linux")(
  "a process that dies at once again and again is said once, and the others carry on (its ids are read from /proc: Linux)",
  async () => {
    const victim = drill.primary();
    const first = fleet.kill(victim);
    await until(
      () => {
        const pid = pidOfSlot(victim);
        if (pid !== undefined && pid !== first) process.kill(pid, "SIGKILL");
        return endsOf(victim).length > ENDS;
      },
      `it has ended ${ENDS} times more`,
      ENDS_WITHIN_MS,
    );
    await drill.flows(SETTLED);
    expectBackoff(victim);
    const why = `${victim} ended (SIGKILL) before it was ready; why is in ${join(standalone.stateFolder, "logs", `${victim}.log`)}\n`;
    expect(standalone.stderr).toBe(why);
    await fleet.isBack(victim, first);
    await drill.isMapped(victim);
    await drill.flows(SETTLED);
    await drill.stop();
    const figures = drill.figures();
    tellFigures("a router that dies at once again and again, under the supervisor", figures);
    expect(figures).toMatchObject({ doubled: 0, breaks: 0, told: { unheard: 0, refused: {} } });
    expect(figures.lost).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  },
);
