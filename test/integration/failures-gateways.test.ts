// Gateways die and leave while 200 messages a second come in over every door and are heard over every transport at both
// gateways. Their clients do as docs/protocol.md says: they come back elsewhere, or move when they are told.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Drill, IN_FLIGHT_MAX, restart, tellFigures } from "../harness/drill.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const SETTLED = 200;
/** Of a drain: its last clients then have 3 s to open their new connections, which a busy machine needs. */
const DRAIN = "20s";

let fleet: TestFleet;
let drill: Drill;
beforeEach(async () => {
  fleet = await startFleet({ env: { EARSHOT_DRAIN: DRAIN } });
  drill = await Drill.start(fleet);
});
afterEach(async () => {
  await drill.close();
  await fleet.close();
});

const nothing = { lost: 0, doubled: 0, disordered: 0, gaps: {} };

test("a gateway that is killed: who is elsewhere notices nothing; its clients hear and speak on at the other", async () => {
  const killedAtMs = performance.now();
  fleet.kill("gateway-0");
  await drill.flows(SETTLED);
  await drill.stop();
  const [others, own] = [drill.figures("gateway-1"), drill.figures("gateway-0")];
  const nextMs = Math.max(...drill.nextDeliveries(killedAtMs, "gateway-0"));
  tellFigures("gateway killed, who is elsewhere", others);
  tellFigures("gateway killed, its own clients", { ...own, nextMs });
  expect(others).toMatchObject({ ...nothing, breaks: 0, told: { unheard: 0, unknown: 0, refused: {}, broken: {} } });
  expect(own).toMatchObject({ ...nothing, breaks: 3, told: { unheard: 0 } });
  expect(own.told.unknown).toBeLessThanOrEqual(IN_FLIGHT_MAX);
});

test("a gateway that is asked to stop: clients that move as told lose nothing, and no publish is refused", async () => {
  fleet.kill("gateway-0", "SIGTERM");
  expect(await fleet.ended("gateway-0")).toBe(0);
  await drill.flows(SETTLED);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("gateway asked to stop", figures);
  expect(figures).toMatchObject({ ...nothing, overtaken: 0, breaks: 0, moves: 3 });
  expect(figures.told).toMatchObject({ unheard: 0, refused: {} });
  // A client that stands still for half a second may write into a connection that was just ended: that none fails on a
  // machine of its own is tried by contract-http-drain.
  expect(figures.told.unknown).toBeLessThanOrEqual(IN_FLIGHT_MAX);
});

test("a gateway that was killed and is started again serves as before", async () => {
  fleet.kill("gateway-0");
  await drill.flows(SETTLED);
  await restart(fleet, "gateway-0");
  await drill.close();
  drill = await Drill.start(fleet);
  await drill.stop();
  tellFigures("gateway back", drill.figures());
  expect(drill.figures()).toMatchObject({
    ...nothing,
    breaks: 0,
    told: { unheard: 0, unknown: 0, refused: {}, broken: {} },
  });
});
