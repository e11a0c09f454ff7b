// Who leads, with time in the hand and Leases in memory. At a real API server: test/cluster/kube-leader.test.ts.

import pino from "pino";
import { expect, test } from "vitest";
import { createRegistry } from "#core/runtime/metrics.ts";
import { LeaderElector } from "../../operator/kube/leader.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { LeaseServer, type WayFault } from "../harness/lease-server.ts";
import { metricIn } from "../harness/metrics.ts";
import { settled } from "../harness/settled.ts";

/** A wall clock that stands wrong by so much; what is monotonic is the hand's. */
class SkewedClock extends HandClock {
  skewMs = 0;

  override now(): number {
    return super.now() + this.skewMs;
  }
}

class Candidate {
  readonly clock: SkewedClock;
  readonly changes: boolean[] = [];
  readonly registry = createRegistry("operator");
  readonly elector: LeaderElector;
  fault: WayFault | undefined;

  constructor(server: LeaseServer, identity: string, clock = new SkewedClock()) {
    this.clock = clock;
    this.elector = new LeaderElector({
      api: server.api(clock, () => this.fault),
      namespace: "here",
      name: "earshot",
      identity,
      ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name: "earshot-operator", uid: "u" }],
      clock,
      log: pino({ level: "silent" }),
      registry: this.registry,
      onChange: (leading) => {
        expect(this.elector.leading).toBe(leading);
        this.changes.push(leading);
      },
    });
    this.elector.start();
  }
}

/** Time passes for all of them, with what it leads to. */
async function pass(ms: number, ...candidates: Candidate[]): Promise<void> {
  const clocks = new Set(candidates.map(({ clock }) => clock));
  for (let passed = 0; passed < ms; passed += 50) {
    await settled();
    for (const clock of clocks) clock.advance(Math.min(50, ms - passed));
    await settled();
  }
}

async function leader(server = new LeaseServer()): Promise<{ server: LeaseServer; first: Candidate }> {
  const first = new Candidate(server, "first");
  await pass(100, first);
  expect(first.elector.leading).toBe(true);
  return { server, first };
}

async function withFollower(): Promise<{ server: LeaseServer; first: Candidate; second: Candidate }> {
  const { server, first } = await leader();
  const second = new Candidate(server, "second");
  await pass(3_000, first, second);
  expect(second.elector.leading).toBe(false);
  return { server, first, second };
}

test("the first to come makes the Lease and leads", async () => {
  const { server, first } = await leader();
  expect(first.changes).toEqual([true]);
  expect(server.lease?.metadata).toMatchObject({ name: "earshot", namespace: "here", ownerReferences: [{ uid: "u" }] });
  expect(server.lease?.spec).toMatchObject({ holderIdentity: "first", leaseDurationSeconds: 15, leaseTransitions: 0 });
  expect(server.lease?.spec?.renewTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  expect(metricIn(await first.registry.metrics(), "leader_election_master_status", 'name="earshot"')).toBe(1);
});

test("who leads renews with one call each two seconds, and leads on", async () => {
  const { server, first } = await leader();
  server.arrived.length = 0;
  await pass(60_000, first);
  expect(first.changes).toEqual([true]);
  expect(new Set(server.arrived)).toEqual(new Set(["PUT"]));
  // 2 to 2.4 s apart.
  expect(server.arrived.length).toBeGreaterThanOrEqual(24);
  expect(server.arrived.length).toBeLessThanOrEqual(31);
});

test("another one takes over when the Lease has not changed for its duration, and not before", async () => {
  const { server, first, second } = await withFollower();
  first.fault = { kind: "request lost" };
  await pass(10_000, first, second);
  expect(first.elector.leading).toBe(false);
  expect(second.elector.leading).toBe(false);
  await pass(10_000, first, second);
  expect(second.elector.leading).toBe(true);
  expect(server.lease?.spec).toMatchObject({ holderIdentity: "second", leaseTransitions: 1 });
  first.fault = undefined;
  await pass(5_000, first, second);
  expect([first.changes, second.changes]).toEqual([[true, false], [true]]);
});

test("an API server that is frozen ends leading before anybody else may begin", async () => {
  const { first } = await leader();
  first.fault = { kind: "request lost" };
  await pass(7_000, first);
  expect(first.changes).toEqual([true]);
  await pass(3_300, first);
  expect(first.changes).toEqual([true, false]);
});

test.for<WayFault>([
  { kind: "refused", status: 500 },
  { kind: "refused", status: 429, retryAfterMs: 60_000 },
  { kind: "request lost" },
  { kind: "answer lost" },
])("a renewal that fails ($kind) and then works costs nothing", async (fault) => {
  const { first, second } = await withFollower();
  for (let round = 0; round < 3; round++) {
    first.fault = fault;
    await pass(3_000, first, second);
    first.fault = undefined;
    await pass(7_000, first, second);
  }
  expect([first.changes, second.changes]).toEqual([[true], []]);
});

test("who gives the Lease back is followed at once", async () => {
  const { server, first, second } = await withFollower();
  await first.elector.close();
  expect(first.changes).toEqual([true, false]);
  expect(server.lease?.spec).toMatchObject({ holderIdentity: "", leaseDurationSeconds: 1 });
  await pass(2_500, second);
  expect(second.changes).toEqual([true]);
  expect(server.lease?.spec?.leaseTransitions).toBe(1);
});

test("closing ends everything, also while a call hangs, and twice", async () => {
  const { first } = await leader();
  first.fault = { kind: "request lost" };
  await pass(2_500, first);
  const closed = Promise.all([first.elector.close(), first.elector.close()]);
  await pass(1_000, first);
  await closed;
  expect(first.clock.pending).toBe(0);
  expect(first.elector.leading).toBe(false);
});

test("closing a follower writes nothing", async () => {
  const { server, second } = await withFollower();
  const before = server.lease;
  await second.elector.close();
  expect(server.lease).toBe(before);
});

test("a process that was asleep for longer knows it before it does anything", async () => {
  const { first, second } = await withFollower();
  await pass(20_000, second);
  expect(second.elector.leading).toBe(true);
  let ledAtWaking: boolean | undefined;
  first.clock.after(1, () => (ledAtWaking ??= first.elector.leading));
  first.clock.freeze(20_000);
  expect(ledAtWaking).toBe(false);
  await pass(3_000, first, second);
  expect([first.changes, second.changes]).toEqual([[true, false], [true]]);
});

test("so does one whose monotonic clock stood still meanwhile, as a sleeping machine's does", async () => {
  const { first } = await leader();
  first.clock.skewMs += 20_000;
  expect(first.elector.leading).toBe(false);
  await pass(3_000, first);
  expect(first.changes).toEqual([true, false, true]);
});

test("wall clocks that stand wrong, and jump, change nothing of who may take over", async () => {
  const { first, second } = await withFollower();
  for (const skewMs of [3_600_000, -86_400_000, 0]) {
    second.clock.skewMs = skewMs;
    await pass(10_000, first, second);
  }
  first.clock.skewMs = -3_600_000;
  await pass(30_000, first, second);
  expect([first.changes, second.changes]).toEqual([[true], []]);
});

test("a Lease that somebody deletes is made anew by who leads, and nobody else takes it", async () => {
  const { server, first, second } = await withFollower();
  server.remove();
  await pass(5_000, first, second);
  expect(server.lease?.spec?.holderIdentity).toBe("first");
  expect([first.changes, second.changes]).toEqual([[true], []]);
});

test("where its holder is gone too, another takes a deleted Lease after its duration", async () => {
  const { server, first, second } = await withFollower();
  first.fault = { kind: "request lost" };
  server.remove();
  await pass(12_000, first, second);
  expect(second.changes).toEqual([]);
  await pass(8_000, first, second);
  expect(second.changes).toEqual([true]);
});

test("who finds the Lease taken away stops leading", async () => {
  const { server, first } = await leader();
  const { lease } = server;
  if (lease === undefined) throw new Error("no Lease");
  server.lease = {
    ...lease,
    metadata: { ...lease.metadata, resourceVersion: "other" },
    spec: { ...lease.spec, holderIdentity: "somebody" },
  };
  await pass(4_000, first);
  expect(first.changes).toEqual([true, false]);
});

test("a Lease whose duration somebody made endless is taken after a minute", async () => {
  const server = new LeaseServer();
  server.lease = {
    metadata: { name: "earshot", resourceVersion: "0" },
    spec: { holderIdentity: "gone", leaseDurationSeconds: 1e9 },
  };
  const second = new Candidate(server, "second");
  await pass(55_000, second);
  expect(second.changes).toEqual([]);
  await pass(10_000, second);
  expect(second.changes).toEqual([true]);
});

test("what others keep in the Lease stays", async () => {
  const server = new LeaseServer();
  server.lease = {
    metadata: { name: "earshot", resourceVersion: "0", labels: { kept: "yes" } },
    spec: { holderIdentity: "", leaseTransitions: 7 },
  };
  const { first } = await leader(server);
  await pass(5_000, first);
  expect(server.lease?.metadata.labels).toEqual({ kept: "yes" });
  expect(server.lease?.spec?.leaseTransitions).toBe(8);
});
