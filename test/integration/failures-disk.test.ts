// The disk under the state folder is full while 200 messages a second come in over every door and are heard over every
// transport: what is kept there cannot change, the rest goes on, and all of it heals by itself once there is room.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Drill, DRILL_TOPIC, type DrilledFleet, IN_FLIGHT_MAX, tellFigures } from "../harness/drill.ts";
import { DrilledStandalone } from "../harness/drilled-standalone.ts";
import { startFleet, TEST_SECRET } from "../harness/fleet.ts";
import { type Answer, call } from "../harness/http.ts";
import { fillDisk, freeDisk, noSmallDisk, ON_FULL_DISK, ON_SMALL_DISK } from "../harness/small-disk.ts";
import { startStandalone } from "../harness/standalone.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const SETTLED = 200;
/** Milliseconds for what waits for a restart: the supervisor's longest backoff is 30 s. */
const HEALED_MS = 90_000;
/** Changes that are refused: each would be a line of the log, if it were said each time. */
const REFUSED = 30;

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

const make = (fleet: DrilledFleet, name: string): Promise<Answer> =>
  call(fleet.http(), "POST", "/api/v1/topics", { body: { name, permissions: "PUBLIC" } });

async function epochOf(fleet: DrilledFleet): Promise<unknown> {
  const token = signToken({ sub: "root", earshot: { manage: ["*"] } });
  return (await call(fleet.http(), "GET", `/api/v1/topics/${DRILL_TOPIC}/route`, { token })).json["epoch"];
}

/** Every change is refused, by the cause that the disk gives. */
async function expectRefused(fleet: DrilledFleet, cause: string): Promise<void> {
  for (let index = 0; index < REFUSED; index++) {
    const { json } = await make(fleet, "later");
    expect(json).toMatchObject({ status: 503, code: "control_plane_unavailable", retryable: true });
    expect(json["detail"]).toContain(`the Topic cannot be stored (${cause}`);
  }
}

function expectBorne(drill: Drill<DrilledFleet>, event: string): void {
  const figures = drill.figures();
  tellFigures(event, figures);
  expect(figures).toMatchObject({ doubled: 0, breaks: 0, told: { unheard: 0, refused: {} } });
  expect(figures.lost).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  for (const { lost, gapReasons } of drill.heard())
    if (lost.length > 0) expect(gapReasons).toContain("router_failover");
}

const linesWith = (text: string, part: string): number => text.split("\n").filter((line) => line.includes(part)).length;

const without = noSmallDisk();
describe.skipIf(without !== undefined)(`a full disk${without === undefined ? "" : ` (skipped: ${without})`}`, () => {
  test("delivery goes on, also when a router dies then; each trouble is said once; with room again all of it heals", async () => {
    const standalone = await startStandalone({ through: ON_SMALL_DISK, env: { EARSHOT_SECRET: TEST_SECRET } });
    closers.push(() => standalone.close());
    const fleet = new DrilledStandalone(standalone);
    const drill = await Drill.start(fleet);
    closers.push(() => drill.close());
    expect((await make(fleet, "early")).status).toBe(201);
    const pids = (): number[] => standalone.peers().map(({ pid }) => pid);
    const before = new Set(pids());

    fillDisk(standalone.stateFolder);
    await expectRefused(fleet, "ENOSPC");
    const epoch = await epochOf(fleet);
    const victim = drill.primary();
    const killed = fleet.kill(victim);
    await drill.flows(SETTLED);
    // Logs are full too: what is said a hundred times costs nobody his life.
    await expectRefused(fleet, "ENOSPC");
    await until(
      () => standalone.stderr.includes("shard map cannot be kept"),
      "the shard map's trouble is told",
      20_000,
    );
    await until(() => standalone.stderr.includes("the peers folder"), "why the router cannot start is told", 20_000);
    await drill.flows(SETTLED);
    expect(await epochOf(fleet)).toBe(epoch);

    freeDisk(standalone.stateFolder);
    await until(async () => (await make(fleet, "later")).status === 201, "a Topic can be made again");
    await fleet.isBack(victim, killed);
    await until(() => standalone.stderr.includes("the shard map can be kept again"), "it is told", HEALED_MS);
    await drill.isMapped(victim);
    await drill.flows(SETTLED);
    await drill.stop();
    expectBorne(drill, "full disk, router killed meanwhile");
    const drafts = readdirSync(join(standalone.stateFolder, "run")).filter((name) => name.endsWith(".tmp"));
    expect(drafts).toEqual([]);
    // Nobody else ended.
    expect(pids().filter((pid) => !before.has(pid))).toEqual([fleet.peer(victim).pid]);
    const { stderr } = standalone;
    for (const once of [
      "http-topics cannot be written (ENOSPC",
      "the shard map cannot be kept",
      "shard-map.json cannot be written: ENOSPC",
      "run (--peers, EARSHOT_PEERS) cannot be written: ENOSPC",
      "the shard map can be kept again",
    ]) {
      expect([once, linesWith(stderr, once)]).toEqual([once, 1]);
    }
    expect(linesWith(fleet.logs("operator-0"), '"topic made over HTTP cannot be stored"')).toBeLessThanOrEqual(1);
  });

  test("a start on one says so in one sentence, and ends with code 1", async () => {
    const failing = startStandalone({ through: ON_FULL_DISK });
    const sentence = "the state folder \\S+ \\(--state, EARSHOT_STATE\\) cannot be written: ENOSPC[^\n]*\n";
    await expect(failing).rejects.toThrow(new RegExp(`^standalone ended with 1: ${sentence}$`));
  });
});

/** Lets an operator write no file of more than so many bytes; only the soft limit, which may be raised again. */
function limitFiles(pid: number, bytes: number | "unlimited"): void {
  const { status, stderr } = spawnSync("prlimit", [`--pid=${pid}`, `--fsize=${bytes}:unlimited`]);
  if (status !== 0) throw new Error(`prlimit: ${stderr.toString()}`);
}

const hasPrlimit = spawnSync("prlimit", ["--version"]).status === 0;

test.skipIf(!hasPrlimit)(
  "an operator that cannot write: no map is published that is not kept, and no Topic is made; then both are (skipped where prlimit is not there)",
  async () => {
    const fleet = await startFleet();
    closers.push(() => fleet.close());
    const drill = await Drill.start(fleet);
    closers.push(() => drill.close());
    const epoch = await epochOf(fleet);
    limitFiles(fleet.pid("operator-0"), 0);
    await expectRefused(fleet, "EFBIG");
    const victim = drill.primary();
    fleet.kill(victim);
    await fleet.ended(victim);
    await drill.flows(SETTLED);
    fleet.launch(victim);
    await until(() => fleet.peer(victim).pid === fleet.pid(victim), "it has announced itself", 30_000);
    const isFailing = async (): Promise<boolean> =>
      /^earshot_operator_events_total\{[^}]*event="shard_map_not_stored"[^}]*\} [2-9]/m.test(
        await fleet.metrics("operator-0"),
      );
    await until(isFailing, "the map was tried to be kept, and again", 30_000);
    await drill.flows(SETTLED);
    expect(await epochOf(fleet)).toBe(epoch);
    expect(await fleet.notReady(victim)).toEqual(["no shard map names this router yet"]);

    limitFiles(fleet.pid("operator-0"), "unlimited");
    await until(async () => (await make(fleet, "later")).status === 201, "a Topic can be made again");
    await drill.isMapped(victim);
    await drill.flows(SETTLED);
    await drill.stop();
    expectBorne(drill, "operator that cannot write, router killed meanwhile");
    const said = (part: string): number => fleet.notices.filter((text) => text.includes(part)).length;
    expect([said("the shard map cannot be kept"), said("http-topics cannot be written (EFBIG")]).toEqual([1, 1]);
    expect(fleet.logs("operator-0")).toMatch(/"lost":\d+,"cause":"EFBIG/);
  },
);
