// The audit log as the oracle: what operators write over the life of Topics, while nothing changes, when routers come and go,
// and that nothing of it is outside their role.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import type { AuditEntry } from "../harness/kube-access.ts";
import { INSTALLED_IN, KubeFleet, OPERATOR_USER, RELEASE } from "../harness/kube-fleet.ts";
import { getTopic, makeTopic, patchTopic, stored, topicPath } from "../harness/kube-topics.ts";
import { until } from "../harness/until.ts";

const NAMESPACE = "shop";
const TOPICS = 50;
/** Renewals of the Lease that are awaited while nothing changes: 2 s apart, so half a minute. */
const QUIET_RENEWALS = 15;
const PATIENCE_MS = 120_000;

let kube: KubeFleet;

/** `update leases/live-earshot` */
function deed({ verb, objectRef }: AuditEntry): string {
  const { resource, subresource, name } = objectRef ?? {};
  return `${verb} ${[resource, subresource, name].filter((part) => part !== undefined).join("/")}`;
}

/** How often each thing was done. */
function counted(entries: readonly AuditEntry[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const entry of entries) counts[deed(entry)] = (counts[deed(entry)] ?? 0) + 1;
  return counts;
}

const isLease = ({ objectRef }: AuditEntry): boolean => objectRef?.resource === "leases";
const isTopic = ({ objectRef }: AuditEntry): boolean => objectRef?.resource === "topics";

async function untilReady(name: string, generation: number): Promise<void> {
  const isReady = async (): Promise<boolean> => {
    const { status } = await getTopic(kube.api, NAMESPACE, name);
    return status.conditions.some(
      (one) => one.type === "Ready" && one.status === "True" && one.observedGeneration === generation,
    );
  };
  await until(isReady, `${name} is ready in generation ${generation}`, PATIENCE_MS);
}

async function untilRenewed(count: number, start: number): Promise<void> {
  const renewals = (): number => kube.wrote(start).filter(isLease).length;
  await until(() => renewals() >= count, `the Lease was renewed ${count} times`, PATIENCE_MS);
}

async function epoch(): Promise<number> {
  const path = `/apis/earshot.dev/v1alpha1/namespaces/${INSTALLED_IN}/shardmaps/${RELEASE}`;
  return ((await kube.api.call("GET", path)).body as { epoch: number }).epoch;
}

const names = Array.from({ length: TOPICS }, (_, index) => `topic-${index}`);

describe.skipIf(KUBE_ASSETS === undefined)("operators", () => {
  beforeAll(async () => {
    kube = await KubeFleet.start({ operators: 2, gateways: 2 });
    await kube.api.kubectl(["create", "namespace", NAMESPACE]);
  });

  afterAll(() => kube?.close());

  test("write a Topic's status once for each generation, and nothing when it is deleted", async () => {
    const start = kube.api.auditEnd();
    await Promise.all(names.map((name) => makeTopic(kube.api, NAMESPACE, name)));
    for (const name of names) await untilReady(name, 1);
    for (const name of names) {
      stored(await patchTopic(kube.api, [NAMESPACE, name], { spec: { permissions: "Public" } }));
    }
    for (const name of names) await untilReady(name, 2);
    // Labels are no news.
    stored(await patchTopic(kube.api, [NAMESPACE, "topic-0"], { metadata: { labels: { team: "a" } } }));
    await kube.api.call("DELETE", topicPath(NAMESPACE, "topic-1"));
    await untilRenewed(2, kube.api.auditEnd());
    const writes = counted(kube.wrote(start).filter(isTopic));
    // A process that is slow to answer costs one more: that it is waited for.
    for (const name of names) {
      const times = writes[`patch topics/status/${name}`];
      expect(times, name).toBeGreaterThanOrEqual(2);
      expect(times, name).toBeLessThanOrEqual(4);
    }
    const total = Object.values(writes).reduce((sum, times) => sum + times, 0);
    process.stdout.write(`figures: ${TOPICS} Topics in two generations: ${total} writes\n`);
    expect(Object.keys(writes).toSorted()).toEqual(names.map((name) => `patch topics/status/${name}`).toSorted());
  });

  test("write nothing but the Lease while nothing changes", async () => {
    await untilRenewed(2, kube.api.auditEnd());
    const start = kube.api.auditEnd();
    await untilRenewed(QUIET_RENEWALS, start);
    expect(Object.keys(counted(kube.wrote(start)))).toEqual([`update leases/${RELEASE}`]);
    // Nor do they read, but for the Lease, and watches that are opened again.
    const read = kube.asked(start).filter((entry) => !["update", "watch"].includes(entry.verb));
    expect([...new Set(read.map(deed))].filter((done) => done !== `get leases/${RELEASE}`)).toEqual([]);
  });

  test("touch no Topic when routers and gateways come and go", async () => {
    const start = kube.api.auditEnd();
    let last = await epoch();
    const mapped = async (what: string): Promise<void> => {
      const before = last;
      last = await until(async () => ((await epoch()) > before ? epoch() : 0), `a new map: ${what}`, PATIENCE_MS);
    };
    await kube.add("router");
    await mapped("a router came");
    await kube.kill("router-0");
    await mapped("a router died");
    await kube.start("router-0");
    await mapped("it is back");
    await kube.remove("router-2");
    await mapped("a router went");
    await kube.kill("gateway-1");
    await kube.start("gateway-1");
    await untilRenewed(2, kube.api.auditEnd());
    const wrote = counted(kube.wrote(start));
    expect(Object.keys(wrote).filter((done) => !/leases/.test(done))).toEqual([`update shardmaps/${RELEASE}`]);
    process.stdout.write(`figures: 5 events of routers: ${wrote[`update shardmaps/${RELEASE}`]} maps written\n`);
  });

  test("write no Topic anew when they start anew", async () => {
    const start = kube.api.auditEnd();
    for (const name of ["operator-0", "operator-1"]) {
      await kube.kill(name);
      await kube.start(name);
    }
    await untilRenewed(4, start);
    await makeTopic(kube.api, NAMESPACE, "after");
    await untilReady("after", 1);
    const topics = counted(kube.wrote(start).filter(isTopic));
    expect(Object.keys(topics)).toEqual(["patch topics/status/after"]);
  });

  test("ask for nothing that their role does not allow, and nobody else asks at all", () => {
    const refused = kube.asked().filter(({ responseStatus }) => [401, 403].includes(responseStatus?.code ?? 0));
    expect(refused.map(deed)).toEqual([]);
    const users = new Set(kube.api.audit().map(({ user }) => user.username));
    // The test itself, Kubernetes itself, and operators: no router, no gateway.
    expect(
      [...users].filter((user) => !["admin", OPERATOR_USER, "system:apiserver", "system:anonymous"].includes(user)),
    ).toEqual([]);
  });
});
