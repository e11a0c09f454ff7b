// Routers die, freeze and leave while 200 messages a second come in over every door and are heard over every transport at
// both gateways; every message is counted. Nothing restarts what died here but the test.
// Elsewhere: gateways (failures-gateways), the operator (failures-operator), clients (failures-clients), the disk
// (failures-disk), the supervisor (failures-supervisor).

import { afterEach, expect, test, vi } from "vitest";
import { Drill, IN_FLIGHT_MAX, KILLED_SILENCE_MS, restart, tellFigures } from "../harness/drill.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import type { Heard } from "../harness/message-counter.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

/** Messages after an event. */
const SETTLED = 200;
/** What the design promises. */
const FROZEN_SILENCE_MS = 5_000;

let fleet: TestFleet | undefined;
let drill: Drill | undefined;
afterEach(async () => {
  await drill?.close();
  await fleet?.close();
  [drill, fleet] = [undefined, undefined];
});

async function begin(routers = 2): Promise<{ fleet: TestFleet; drill: Drill }> {
  fleet = await startFleet({ routers });
  drill = await Drill.start(fleet);
  return { fleet, drill };
}

function expectNothingLost(heard: readonly Heard[]): void {
  const nothing = { lost: [], doubled: [], disordered: [], overtaken: [], gapReasons: [] };
  for (const one of heard) expect(one).toMatchObject(nothing);
}

/** Nobody was told an error, nor that nobody listens. */
function expectAllTaken({ counter }: Drill): void {
  expect(counter.told()).toEqual({ taken: counter.published, unheard: 0, unknown: 0, refused: {}, broken: {} });
}

/** Whoever lost something was told. */
function expectTold(heard: readonly Heard[]): void {
  for (const { lost, gapReasons } of heard) {
    if (lost.length > 0) expect(gapReasons).toContain("router_failover");
  }
}

test("a router that is killed: the standby goes on at once, nothing is doubled, subscribers are told", async () => {
  const { fleet, drill } = await begin();
  const killedAtMs = performance.now();
  fleet.kill(drill.primary());
  await drill.flows(2 * SETTLED);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("router killed", { ...figures, nextMs: Math.max(...drill.nextDeliveries(killedAtMs)) });
  expect(figures).toMatchObject({
    doubled: 0,
    gaps: { router_failover: 1 },
    breaks: 0,
    told: { unheard: 0, refused: {} },
  });
  expect(figures.lost).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  expect(figures.longestSilenceMs).toBeLessThan(KILLED_SILENCE_MS);
  expect(figures.told.unknown).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  for (const heard of drill.heard()) expect(heard.gapReasons).toEqual(["router_failover"]);
});

test("a router that freezes: delivery goes on within 5 s, and its coming back doubles nothing", async () => {
  const { fleet, drill } = await begin();
  const victim = drill.primary();
  fleet.kill(victim, "SIGSTOP");
  await drill.flows(2 * SETTLED);
  fleet.kill(victim, "SIGCONT");
  await drill.flows(2 * SETTLED);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("router frozen", figures);
  expect(figures).toMatchObject({ doubled: 0, breaks: 0, told: { unheard: 0 } });
  expect(figures.longestSilenceMs).toBeLessThan(FROZEN_SILENCE_MS);
  for (const heard of drill.heard()) expect(heard.gapReasons).toContain("router_failover");
  expectTold(drill.heard());
});

test("a router that is asked to stop: nothing is lost, doubled, overtaken, refused or disconnected", async () => {
  const { fleet, drill } = await begin();
  const victim = drill.primary();
  fleet.kill(victim, "SIGTERM");
  expect(await fleet.ended(victim)).toBe(0);
  await drill.flows(SETTLED);
  await drill.stop();
  tellFigures("router asked to stop", drill.figures());
  expectNothingLost(drill.heard());
  expectAllTaken(drill);
  expect(drill.figures()).toMatchObject({ breaks: 0, moves: 0 });
});

test("two routers of three that are asked to stop at once: nothing is lost, doubled or disconnected", async () => {
  const { fleet, drill } = await begin(3);
  const first = drill.primary();
  const second = fleet.names("router").find((router) => router !== first) ?? "";
  fleet.kill(first, "SIGTERM");
  fleet.kill(second, "SIGTERM");
  expect(await Promise.all([fleet.ended(first), fleet.ended(second)])).toEqual([0, 0]);
  await drill.flows(SETTLED);
  await drill.stop();
  tellFigures("two routers asked to stop", drill.figures());
  for (const heard of drill.heard()) expect(heard).toMatchObject({ lost: [], doubled: [], gapReasons: [] });
  expectAllTaken(drill);
  expect(drill.figures()).toMatchObject({ breaks: 0, moves: 0 });
});

test("both routers killed one after the other: who was started again takes part, and the next death is borne too", async () => {
  const { fleet, drill } = await begin();
  const first = drill.primary();
  fleet.kill(first);
  await drill.flows(SETTLED);
  await restart(fleet, first);
  const second = drill.primary();
  expect(second).not.toBe(first);
  await drill.isMapped(first);
  await drill.flows(SETTLED);
  fleet.kill(second);
  await drill.flows(SETTLED);
  expect(drill.primary()).toBe(first);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("both routers killed in turn", figures);
  expect(figures).toMatchObject({ doubled: 0, breaks: 0, told: { unheard: 0, refused: {} } });
  expect(figures.lost).toBeLessThanOrEqual(2 * IN_FLIGHT_MAX);
  expect(figures.longestSilenceMs).toBeLessThan(KILLED_SILENCE_MS);
  expectTold(drill.heard());
});
