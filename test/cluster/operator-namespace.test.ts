// A namespace with many Topics is deleted while an operator watches it: nothing of ours holds it back, and the operator does
// not fight for what goes. With Kubernetes' own namespace controller: of the programs in KUBEBUILDER_ASSETS where it is
// there, and of the cluster that KUBECONFIG names.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import type { KubeAccess } from "../harness/kube-access.ts";
import { fullCluster, HAS_PODS } from "../harness/kube-cluster.ts";
import { KubeFleet } from "../harness/kube-fleet.ts";
import { getTopic, makeTopic, topicPath } from "../harness/kube-topics.ts";
import { until } from "../harness/until.ts";

const TOPICS = 1_000;
const AT_A_TIME = 20;
const PATIENCE_MS = 240_000;
const HAS_CONTROLLERS = KUBE_ASSETS !== undefined && existsSync(join(KUBE_ASSETS, "kube-controller-manager"));
if (!HAS_CONTROLLERS && !HAS_PODS) {
  process.stderr.write(
    "operator-namespace is skipped: no kube-controller-manager in KUBEBUILDER_ASSETS, no KUBECONFIG\n",
  );
}

const names = Array.from({ length: TOPICS }, (_, index) => `topic-${index}`);

async function makeAll(api: KubeAccess, namespace: string): Promise<void> {
  await api.kubectl(["create", "namespace", namespace]);
  for (let done = 0; done < TOPICS; done += AT_A_TIME) {
    await Promise.all(names.slice(done, done + AT_A_TIME).map((name) => makeTopic(api, namespace, name)));
  }
}

async function isGone(api: KubeAccess, namespace: string): Promise<boolean> {
  return (await api.call("GET", `/api/v1/namespaces/${namespace}`)).status === 404;
}

describe.skipIf(!HAS_CONTROLLERS)("beside an operator of this test", { timeout: 600_000 }, () => {
  let kube: KubeFleet;

  beforeAll(async () => {
    kube = await KubeFleet.start({ gateways: 1, controllers: ["namespace-controller"] });
  });

  afterAll(() => kube?.close());

  test("a namespace with 1,000 Topics is gone, in the middle of their statuses being written", async () => {
    const { api } = kube;
    await makeAll(api, "doomed");
    const start = api.auditEnd();
    expect((await api.call("DELETE", "/api/v1/namespaces/doomed")).status).toBe(200);
    await until(() => isGone(api, "doomed"), "the namespace is gone", PATIENCE_MS);
    // The operator is well: it carries what comes next.
    await makeTopic(api, "default", "next");
    const isReady = async (): Promise<boolean> =>
      (await getTopic(api, "default", "next")).status.conditions.some(
        ({ type, status }) => type === "Ready" && status === "True",
      );
    await until(isReady, "a Topic made later is ready", PATIENCE_MS);
    const writes = kube.wrote(start).filter(({ objectRef }) => objectRef?.namespace === "doomed");
    process.stdout.write(`figures: ${writes.length} writes to 1,000 Topics whose namespace goes\n`);
    // At most what it had begun with, and no try again of what is not there any more.
    expect(writes.length).toBeLessThan(2 * TOPICS);
  });
});

describe.skipIf(!HAS_PODS)("in a cluster", { timeout: 600_000 }, () => {
  test("a namespace with 1,000 Topics is gone", async () => {
    const api = fullCluster();
    const namespace = `doomed-${Date.now()}`;
    await makeAll(api, namespace);
    expect((await api.call("GET", topicPath(namespace, "topic-0"))).status).toBe(200);
    expect((await api.call("DELETE", `/api/v1/namespaces/${namespace}`)).status).toBe(200);
    await until(() => isGone(api, namespace), "the namespace is gone", PATIENCE_MS);
  });
});
