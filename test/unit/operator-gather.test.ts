import { create } from "@bufbuild/protobuf";
import { beforeEach, expect, test } from "vitest";
import { EMPTY_SHARD_MAP } from "#core/domain/shard-map.ts";
import type { PeerDirectory, PeerEndpoint, PeerRole } from "#core/fleet/peers.ts";
import { HelloSchema, ReportSchema, Role } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { Processes } from "../../operator/control-plane/processes.ts";
import { Gatherer } from "../../operator/reconcile/gather.ts";
import { endpointsOf } from "../../operator/platform/standalone.ts";
import { adopt } from "../../operator/reconcile/plan.ts";
import { HandClock } from "../harness/hand-clock.ts";

const listed = new Map<string, PeerRole>();

const PEERS: PeerDirectory = {
  list: (role) =>
    [...listed].flatMap(([incarnation, one]): PeerEndpoint[] =>
      one === role
        ? [{ name: incarnation, role, incarnation, pid: 1, grpc: "h:1", probes: "h:2", node: "", zone: "" }]
        : [],
    ),
  onChange: () => () => undefined,
  close: () => Promise.resolve(),
};

let clock: HandClock;
let processes: Processes;
let gatherer: Gatherer;
let gaveUp: string[];

beforeEach(() => {
  listed.clear();
  gaveUp = [];
  clock = new HandClock();
  processes = new Processes(clock);
  gatherer = new Gatherer({
    clock,
    processes,
    endpoints: endpointsOf(PEERS),
    gaveUp: (incarnation) => gaveUp.push(incarnation),
  });
});

function connect(role: "router" | "gateway", incarnation: string, epoch = 0n): void {
  const value = create(HelloSchema, { incarnation, name: incarnation, address: "h:1", ready: true, epoch });
  processes.opened(value, role);
  listed.set(incarnation, role);
}

function reportLink(gateway: string, routerIncarnation: string, alive: boolean): void {
  processes.reported(gateway, create(ReportSchema, { ready: true, links: [{ routerIncarnation, alive }] }));
}

test("the acked epoch is the lowest of all connected gateways, and unbounded without any", () => {
  expect(gatherer.gather(undefined).ackedEpoch).toBe(Number.POSITIVE_INFINITY);
  connect("gateway", "g1");
  connect("gateway", "g2");
  processes.acked("g1", 7n);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(0);
  processes.acked("g2", 5n);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(5);
  // A lower ack never counts.
  processes.acked("g2", 3n);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(5);
});

test("a gateway that does not ack is given up on 5 s after the map was told, once for each map", () => {
  connect("gateway", "g1");
  gatherer.published(10);
  clock.advance(4_999);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(0);
  clock.advance(1);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(10);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(10);
  expect(gaveUp).toEqual(["g1"]);
});

test("a gateway that has just connected has its own 5 s", () => {
  gatherer.published(10);
  clock.advance(60_000);
  connect("gateway", "g1");
  expect(gatherer.gather(undefined).ackedEpoch).toBe(0);
  clock.advance(5_000);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(10);
});

test("a gateway that lives and is not connected counts for 5 s: a new operator waits for it to come back", () => {
  listed.set("g1", "gateway");
  gatherer.published(10);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(0);
  clock.advance(5_000);
  expect(gatherer.gather(undefined).ackedEpoch).toBe(Number.POSITIVE_INFINITY);
});

test("a link counts as dead when most gateways have seen it dead for 3 s", () => {
  for (const gateway of ["g1", "g2", "g3"]) connect("gateway", gateway);
  connect("router", "r1");
  const cutOff = (): boolean | undefined => gatherer.gather(undefined).routers[0]?.cutOff;
  reportLink("g1", "r1", false);
  clock.advance(3_000);
  expect(cutOff()).toBe(false);
  reportLink("g2", "r1", false);
  clock.advance(2_999);
  expect(cutOff()).toBe(false);
  clock.advance(1);
  expect(cutOff()).toBe(true);
  // Said again, it is no newer; seen alive in between, it is.
  reportLink("g2", "r1", false);
  expect(cutOff()).toBe(true);
  reportLink("g2", "r1", true);
  expect(cutOff()).toBe(false);
});

test("gateways that live and say nothing are no vote against a router, however few are left to speak", () => {
  for (const gateway of ["g1", "g2", "g3"]) connect("gateway", gateway);
  connect("router", "r1");
  for (const gateway of ["g2", "g3"]) reportLink(gateway, "r1", true);
  reportLink("g1", "r1", false);
  clock.advance(3_000);
  for (const gateway of ["g2", "g3"]) processes.closed(gateway);
  const cutOff = (): boolean | undefined => gatherer.gather(undefined).routers[0]?.cutOff;
  expect(cutOff()).toBe(false);
  clock.advance(60_000);
  expect(cutOff()).toBe(false);
  for (const gateway of ["g2", "g3"]) listed.delete(gateway);
  expect(cutOff()).toBe(true);
});

test("without any gateway no link is dead", () => {
  connect("router", "r1");
  expect(gatherer.gather(undefined).routers[0]?.cutOff).toBe(false);
});

test("a router that was shut out is not ready for a while, longer each time", () => {
  connect("router", "r1");
  const ready = (): boolean | undefined => gatherer.gather(undefined).routers[0]?.ready;
  for (const waitMs of [10_000, 20_000, 40_000]) {
    expect(ready()).toBe(true);
    gatherer.shutOut("r1");
    clock.advance(waitMs - 1);
    expect(ready()).toBe(false);
    clock.advance(1);
  }
  expect(ready()).toBe(true);
});

test("routers of the map are seen though they never connected, and the highest epoch of anybody counts", () => {
  const router = { incarnation: "r1", name: "r1", address: "h:1", node: "", zone: "" };
  const planned = adopt({ epoch: 5, routers: [router], shards: EMPTY_SHARD_MAP.shards });
  expect(gatherer.gather(planned).routers).toMatchObject([{ router, connected: false, endpoint: "gone" }]);
  listed.set("r1", "router");
  expect(gatherer.gather(planned).routers).toMatchObject([{ endpoint: "ready" }]);
  connect("gateway", "g1", 77n);
  // Nothing that could be counted on from.
  connect("gateway", "g2", 2n ** 63n);
  expect(gatherer.gather(planned).reportedEpoch).toBe(77);
});

test("a leader may remove whom it cannot see after 30 s", () => {
  expect(gatherer.gather(undefined).mayRemove).toBe(false);
  clock.advance(29_999);
  expect(gatherer.gather(undefined).mayRemove).toBe(false);
  clock.advance(1);
  expect(gatherer.gather(undefined).mayRemove).toBe(true);
});

test("everybody has acked when every connected process has, the one that asks left out", () => {
  connect("gateway", "g1");
  connect("router", "r1");
  connect("router", "r2");
  gatherer.published(10);
  expect(gatherer.ackedByAll(10, "r2")).toBe(false);
  processes.acked("g1", 10n);
  processes.acked("r1", 11n);
  expect(gatherer.ackedByAll(10, "r2")).toBe(true);
  expect(gatherer.ackedByAll(10, "r1")).toBe(false);
  // A presence process has no maps.
  processes.opened(create(HelloSchema, { incarnation: "p1", name: "p1", role: Role.PRESENCE }), "presence");
  expect(gatherer.ackedByAll(10, "r2")).toBe(true);
  clock.advance(5_000);
  expect(gatherer.ackedByAll(10, "r1")).toBe(true);
});

test("a gateway that lives and has not come to a new operator yet has not acked, for 5 s", () => {
  connect("router", "r1");
  listed.set("g1", "gateway");
  gatherer.gather(undefined);
  gatherer.published(10);
  expect(gatherer.ackedByAll(10, "r1")).toBe(false);
  clock.advance(5_000);
  expect(gatherer.ackedByAll(10, "r1")).toBe(true);
  connect("gateway", "g1");
  expect(gatherer.ackedByAll(10, "r1")).toBe(false);
  processes.acked("g1", 10n);
  expect(gatherer.ackedByAll(10, "r1")).toBe(true);
});

test("a report that says nothing new is no reason to plan, one that does is", () => {
  connect("gateway", "g1");
  let told = 0;
  processes.onChange(() => {
    told += 1;
  });
  reportLink("g1", "r1", true);
  expect(told).toBe(1);
  reportLink("g1", "r1", true);
  expect(told).toBe(1);
  reportLink("g1", "r1", false);
  processes.reported("g1", create(ReportSchema, { ready: true, draining: true }));
  expect(told).toBe(3);
  // Nobody who drains comes back.
  processes.reported("g1", create(ReportSchema, { ready: true }));
  expect(told).toBe(3);
  expect(processes.get("g1")?.draining).toBe(true);
});

test("a process is connected as long as one of its streams is, and forgotten a minute after the last", () => {
  connect("gateway", "g1");
  connect("gateway", "g1");
  processes.closed("g1");
  expect(processes.get("g1")?.connected).toBe(true);
  processes.closed("g1");
  expect(processes.get("g1")?.connected).toBe(false);
  clock.advance(60_000);
  processes.prune();
  expect(processes.get("g1")).toBeDefined();
  clock.advance(1);
  processes.prune();
  expect(processes.get("g1")).toBeUndefined();
});
