// A first installation as a newcomer makes it, in a real cluster under restricted Pod Security: helm install, helm test, a Topic
// by kubectl apply, a Job that speaks with nothing but its ServiceAccount token, clients that hear it through an Ingress
// and an HTTPRoute; then a second release beside it, an upgrade, and what an uninstall leaves.
// Elsewhere: the same under load (full-rolling.test.ts).

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { tellFigures } from "../harness/drill.ts";
import { fullCluster, makeNamespace } from "../harness/kube-cluster.ts";
import { nameEdge, urlOf } from "../harness/kube-edge.ts";
import { COMPONENTS, IMAGE, IMAGE_NEXT, KubeRelease, NO_RELEASE } from "../harness/kube-release.ts";
import { call, publish } from "../harness/http.ts";
import { openSse } from "../harness/sse.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 400_000, hookTimeout: 900_000 });

const EXAMPLES = join(import.meta.dirname, "../../examples/kubernetes");
const LATE_MS = 120_000;
/** What the Job says (examples/kubernetes/publisher.yaml). */
const SPOKEN = 10;
/** What helm and the operator make. */
const KINDS =
  "deployments,replicasets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings," +
  "networkpolicies,poddisruptionbudgets,ingresses,httproutes,leases,shardmaps,jobs";

describe.skipIf(NO_RELEASE !== undefined)("an installation", () => {
  const kube = NO_RELEASE === undefined ? fullCluster() : undefined;
  let release: KubeRelease;
  let namespace: string;

  beforeAll(async () => {
    nameEdge();
    if (kube === undefined) throw new Error("there is no cluster");
    namespace = await makeNamespace(kube, "install");
    const beganMs = performance.now();
    release = await install("first", namespace);
    tellFigures("cluster, helm install --wait", { seconds: Math.round((performance.now() - beganMs) / 1000) });
  });
  afterAll(() => release?.uninstall().catch(() => undefined));

  function install(name: string, where: string): Promise<KubeRelease> {
    if (kube === undefined) throw new Error("there is no cluster");
    // CRDs are there already, as where another release has brought them.
    const values = { crds: { enabled: false }, watch: { namespaces: [where] } };
    return KubeRelease.install(kube, { name, namespace: where, values });
  }

  async function topic(where: string, name: string): Promise<void> {
    const made = { apiVersion: "earshot.dev/v1alpha1", kind: "Topic", metadata: { namespace: where, name } };
    await kube?.kubectl(["apply", "-f", "-"], JSON.stringify({ ...made, spec: { permissions: "Public" } }));
    await kube?.kubectl(["wait", "-n", where, "--for=condition=Ready", `topic/${name}`, "--timeout=120s"]);
  }

  async function tokenOf(where: string, account: string): Promise<string> {
    return (await kube?.serviceAccountToken(where, account, "earshot")) ?? "";
  }

  test("a Topic that is applied becomes Ready, and names who has it", async () => {
    const beganMs = performance.now();
    await topic(namespace, "hello");
    tellFigures("cluster, kubectl apply of a Topic until kubectl wait says Ready", {
      milliseconds: Math.round(performance.now() - beganMs),
    });
    const path = "{.status.controllerName} {.status.topicId}";
    const status = await kube?.kubectl(["get", "topic", "hello", "-n", namespace, "-o", `jsonpath=${path}`]);
    expect(status).toBe(`${namespace}/${release.fullname} ${namespace}.hello`);
  });

  test("helm test speaks and hears one message", async () => {
    const told = await release.test();
    expect(told).toMatch(/Phase:\s+Succeeded/);
  });

  test("a Job speaks with its ServiceAccount token alone; clients hear it through the Ingress and the HTTPRoute", async () => {
    const built = (await kube?.kubectl(["kustomize", EXAMPLES])) ?? "";
    const objects = built
      .replaceAll(/\b(namespace: |name: )shop$/gm, `$1${namespace}`)
      .replaceAll("shop.orders", `${namespace}.orders`)
      .replaceAll(/earshot-(publish|gateway)\.earshot\.svc/g, `${release.fullname}-$1.${namespace}.svc`)
      .replaceAll(/image: earshot\S*/g, `image: ${IMAGE}`);
    const parts = objects.split(/^---$/m).filter((one) => !/^kind: Namespace$/m.test(one));
    const isJob = (one: string): boolean => /^kind: Job$/m.test(one);
    await kube?.kubectl(["apply", "-f", "-"], parts.filter((one) => !isJob(one)).join("---\n"));
    await kube?.kubectl(["wait", "-n", namespace, "--for=condition=Ready", "topic/orders", "--timeout=120s"]);
    await kube?.kubectl(["rollout", "status", "-n", namespace, "deployment/kitchen", "--timeout=120s"]);
    const token = await tokenOf(namespace, "kitchen");
    const topicId = `${namespace}.orders`;
    const ears = [
      await openWebSocket(urlOf(release.ingressHost).replace("http", "ws"), { topics: [topicId], token }),
      await openWebSocket(urlOf(release.routeHost).replace("http", "ws"), { topics: [topicId], token }),
      await openSse(urlOf(release.ingressHost), topicId, token),
      await openSse(urlOf(release.routeHost), topicId, token),
    ];
    await kube?.kubectl(["apply", "-f", "-"], parts.filter((one) => isJob(one)).join("---\n"));
    await kube?.kubectl(["wait", "-n", namespace, "--for=condition=Complete", "job/checkout", "--timeout=180s"]);
    for (const { frames } of ears) {
      await until(() => frames.of("message").length === SPOKEN, "the Job's messages are heard", LATE_MS);
    }
    await Promise.all(ears.map((ear) => ear.close()));
    const log = await kube?.kubectl(["logs", "-n", namespace, "job/checkout"]);
    expect(log).toContain(`${SPOKEN} spoken on ${topicId}`);
  });

  test("nobody comes in without a token, or with one for somebody else", async () => {
    const base = urlOf(release.ingressHost);
    const nobody = await publish(base, `${namespace}.hello`, "hi");
    expect(nobody.json["code"]).toBeOneOf(["unauthenticated", "topic_not_found"]);
    const other = await kube?.serviceAccountToken(namespace, "default");
    expect(await publish(base, `${namespace}.hello`, "hi", { token: other ?? "" })).toMatchObject({ status: 401 });
    const token = await tokenOf(namespace, "default");
    expect(await publish(base, `${namespace}.orders`, "hi", { token })).toMatchObject({ status: 404 });
    expect(await publish(base, `${namespace}.hello`, "hi", { token })).toMatchObject({ status: 200 });
  });

  test("a second release beside it has its own Topics, and neither touches the other's", async () => {
    if (kube === undefined) throw new Error("there is no cluster");
    const where = await makeNamespace(kube, "beside");
    const second = await install("second", where);
    try {
      await topic(where, "hello");
      const token = await tokenOf(namespace, "default");
      const at = ({ ingressHost }: KubeRelease, of: string) => publish(urlOf(ingressHost), `${of}.hello`, 1, { token });
      expect(await at(release, namespace)).toMatchObject({ status: 200 });
      expect(await at(second, where)).toMatchObject({ status: 200 });
      const strange = { status: expect.not.toSatisfy((status: number) => status === 200) as number };
      expect(await at(release, where)).toMatchObject(strange);
      expect(await at(second, namespace)).toMatchObject(strange);
    } finally {
      await second.uninstall();
    }
    const token = await tokenOf(namespace, "default");
    expect(await publish(urlOf(release.ingressHost), `${namespace}.hello`, 1, { token })).toMatchObject({
      status: 200,
    });
  });

  test.skipIf(IMAGE_NEXT === undefined)("an upgrade brings every pod to the new image", async () => {
    await release.upgrade(IMAGE_NEXT);
    for (const component of COMPONENTS) {
      expect(new Set(await release.images(component))).toEqual(new Set([IMAGE_NEXT]));
    }
    const token = await tokenOf(namespace, "default");
    const answer = await call(urlOf(release.routeHost), "GET", `/api/v1/topics/${namespace}.hello`, { token });
    expect(answer).toMatchObject({ status: 200 });
  });

  test("an uninstall leaves CRDs and Topics only", async () => {
    await release.uninstall();
    const left = async (): Promise<string> => {
      const names = (await kube?.kubectl(["get", KINDS, "-n", namespace, "-o", "name"])) ?? "";
      const own = names.split("\n").filter((name) => name.includes(release.name) && !name.includes("checkout"));
      return own.join(" ");
    };
    // The garbage collector takes what the operator made.
    await until(async () => (await left()) === "", "nothing of the release is left", LATE_MS).catch(() => undefined);
    expect(await left()).toBe("");
    const ofCluster = [
      "get",
      "clusterroles,clusterrolebindings",
      "-l",
      `app.kubernetes.io/instance=${release.fullname}`,
    ];
    expect(await kube?.kubectl([...ofCluster, "-o", "name"])).toBe("");
    expect(await kube?.kubectl(["get", "topics", "-n", namespace, "-o", "name"])).toContain("topic.earshot.dev/hello");
    expect(await kube?.kubectl(["get", "crd", "topics.earshot.dev", "shardmaps.earshot.dev", "-o", "name"])).not.toBe(
      "",
    );
  });
});
