// Two electors at a real API server, each behind a proxy of its own that has faults. Watched all the time: never do both
// lead. Every turn of what can happen, with time in the hand: test/unit/kube-leader.test.ts, test/property/kube-leader.test.ts.

import { afterEach, beforeEach, expect, test } from "vitest";
import type { Clock } from "#core/runtime/clock.ts";
import { LeaderElector } from "../../operator/kube/leader.ts";
import type { Lease } from "../../operator/kube/lease.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { KubeRig } from "../harness/kube-rig.ts";
import { until } from "../harness/until.ts";

/** Shorter than in use, in the same proportion. */
const TIMES = { leaseMs: 6_000, renewMs: 4_000, retryMs: 800 };

/** Milliseconds that a change may take on a machine that is ten times slower. */
const LATE_MS = 60_000;

const access = apiServer();

class Candidate {
  readonly rig: KubeRig;
  readonly elector: LeaderElector;
  readonly changes: boolean[] = [];
  skewMs = 0;

  constructor(rig: KubeRig, namespace: string, identity: string) {
    this.rig = rig;
    const clock: Clock = { ...rig.clock, now: () => rig.clock.now() + this.skewMs };
    this.elector = new LeaderElector({
      api: rig.api,
      namespace,
      name: "earshot",
      identity,
      clock,
      log: rig.log,
      registry: rig.registry,
      times: TIMES,
      onChange: (leading) => this.changes.push(leading),
    });
  }

  get leading(): boolean {
    return this.elector.leading;
  }

  async close(): Promise<void> {
    this.rig.proxy.thaw();
    await this.elector.close();
    await this.rig.close();
  }
}

let namespace: string;
let first: Candidate;
let second: Candidate;
let watching: NodeJS.Timeout;
let together: number;

beforeEach(async () => {
  namespace = await makeNamespace(access, "leader");
  first = new Candidate(await KubeRig.make(access, namespace), namespace, "first");
  second = new Candidate(await KubeRig.make(access, namespace), namespace, "second");
  together = 0;
  watching = setInterval(() => (together += first.leading && second.leading ? 1 : 0), 5);
  first.elector.start();
  await until(() => first.leading, "the first leads", LATE_MS);
  second.elector.start();
  await until(() => second.rig.proxy.requests.length >= 2, "the second has looked twice", LATE_MS);
  expect(second.leading).toBe(false);
});

afterEach(async () => {
  clearInterval(watching);
  await Promise.all([first.close(), second.close()]);
  expect(together).toBe(0);
});

function leasePath(): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/earshot`;
}

async function lease(): Promise<Lease["spec"]> {
  return ((await access.call("GET", leasePath())).body as Lease).spec;
}

async function renewals(candidate: Candidate, count: number): Promise<void> {
  const { requests } = candidate.rig.proxy;
  const before = requests.length;
  await until(
    () => requests.slice(before).filter(({ method }) => method === "PUT").length >= count,
    "renewed",
    LATE_MS,
  );
}

test("a frozen connection ends leading, the other takes over, and the first does not come back by itself", async () => {
  first.rig.proxy.freeze();
  await until(() => !first.leading, "the first stops", LATE_MS);
  await until(() => second.leading, "the second takes over", LATE_MS);
  first.rig.proxy.thaw();
  await renewals(second, 3);
  expect(first.leading).toBe(false);
  expect(await lease()).toMatchObject({ holderIdentity: "second", leaseTransitions: 1 });
});

test("resets, refusals and a wait that is asked for cost nothing", async () => {
  const { proxy } = first.rig;
  proxy.reset();
  await renewals(first, 1);
  for (const refusal of [{ status: 500 }, { status: 429, retryAfterSeconds: 30 }, { status: 503 }]) {
    const before = proxy.requests.length;
    proxy.refuse((request) => (proxy.requests.indexOf(request) === before ? refusal : undefined));
    await renewals(first, 2);
  }
  expect(first.changes).toEqual([true]);
  expect(second.changes).toEqual([]);
});

test("a storm of refusals ends leading in time, and is not answered by a storm of tries", async () => {
  const before = first.rig.proxy.requests.length;
  const stormAtMs = performance.now();
  first.rig.proxy.refuse(() => ({ status: 500 }));
  await until(() => second.leading, "the second takes over", LATE_MS);
  expect(first.leading).toBe(false);
  const tries = first.rig.proxy.requests.length - before;
  expect(tries).toBeLessThanOrEqual((performance.now() - stormAtMs) / TIMES.retryMs + 2);
});

test("a Lease that is deleted is made anew by who leads", async () => {
  await access.call("DELETE", leasePath());
  await until(async () => (await access.call("GET", leasePath())).status === 200, "it is there again", LATE_MS);
  await renewals(first, 2);
  expect(await lease()).toMatchObject({ holderIdentity: "first" });
  expect(first.changes).toEqual([true]);
});

test("a Lease that somebody else has taken ends leading", async () => {
  const taken = { spec: { holderIdentity: "somebody" } };
  await access.call("PATCH", leasePath(), taken, { "content-type": "application/merge-patch+json" });
  await until(() => !first.leading, "the first stops", LATE_MS);
  // Nobody renews it: one of the two takes it over.
  await until(() => first.leading || second.leading, "somebody leads again", LATE_MS);
});

test("clocks that stand wrong by hours change nothing", async () => {
  second.skewMs = 5 * 3_600_000;
  await renewals(first, 3);
  second.skewMs = -5 * 3_600_000;
  first.skewMs = -7_200_000;
  await renewals(first, 3);
  expect([first.changes, second.changes]).toEqual([[true], []]);
});

test("who is closed gives the Lease back, and the other need not wait for its end", async () => {
  await first.elector.close();
  expect(await lease()).toMatchObject({ holderIdentity: "", leaseDurationSeconds: 1 });
  const before = second.rig.proxy.requests.length;
  await until(() => second.leading, "the second takes over", LATE_MS);
  // A look, and a write.
  expect(second.rig.proxy.requests.length - before).toBeLessThanOrEqual(3);
});

test("a token that is refused is loaded anew", async () => {
  const { proxy } = first.rig;
  process.env["KUBECONFIG"] = proxy.kubeconfig;
  proxy.accept("second token");
  proxy.giveToken("second token");
  await renewals(first, 2);
  expect(first.changes).toEqual([true]);
});
