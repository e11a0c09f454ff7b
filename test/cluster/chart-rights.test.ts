// What the chart lets each component do, asked of a real API server: the operator what it needs and nothing near it, routers
// and gateways nothing at all.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { HAS_HELM, render } from "../../scripts/chart-renders.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";

/** `verb group/resource[/subresource] [namespace/]name`; a star is any. */
type Deed = readonly [verb: string, resource: string, where: string];

const api = apiServer();
let home = "";

interface Rendered {
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

/** What outlives its namespace. */
const clusterWide: string[] = [];

async function install(shape: string): Promise<string> {
  const namespace = await makeNamespace(api, "rights");
  const rights = parseAllDocuments(render(shape, "live", namespace))
    .flatMap((document) => (document.toJS() as Rendered | null) ?? [])
    .filter(({ kind }) => /Role|ServiceAccount/.test(kind));
  for (const { kind, metadata } of rights) if (kind.startsWith("Cluster")) clusterWide.push(`${kind}/${metadata.name}`);
  const list = { apiVersion: "v1", kind: "List", items: rights };
  await api.kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"], JSON.stringify(list));
  return namespace;
}

async function may(component: string, [verb, what, where]: Deed): Promise<boolean> {
  const [group = "", resource = "", subresource] = what.split("/");
  const [namespace = "", name = ""] = where.replace("home", home).split("/");
  const { body } = await api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
    spec: {
      user: `system:serviceaccount:${home}:live-earshot-${component}`,
      groups: ["system:serviceaccounts", `system:serviceaccounts:${home}`, "system:authenticated"],
      resourceAttributes: { verb, group, resource, subresource, namespace: namespace === "*" ? "" : namespace, name },
    },
  });
  return (body as { status: { allowed: boolean } }).status.allowed;
}

async function judged(component: string, deeds: readonly Deed[]): Promise<Record<string, boolean>> {
  const entries = deeds.map(async (deed) => [deed.join(" "), await may(component, deed)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

function all(deeds: readonly Deed[], allowed: boolean): Record<string, boolean> {
  return Object.fromEntries(deeds.map((deed) => [deed.join(" "), allowed]));
}

const AT_HOME: readonly Deed[] = [
  ["watch", "discovery.k8s.io/endpointslices", "home/"],
  ["create", "coordination.k8s.io/leases", "home/"],
  ["update", "coordination.k8s.io/leases", "home/live-earshot"],
  ["create", "earshot.dev/shardmaps", "home/"],
  ["update", "earshot.dev/shardmaps", "home/live-earshot"],
  ["watch", "earshot.dev/shardmaps", "home/live-earshot"],
  ["create", "/secrets", "home/"],
  ["get", "/secrets", "home/live-earshot-ca"],
  ["update", "/secrets", "home/live-earshot-router-tls"],
  ["get", "apps/deployments", "home/live-earshot-operator"],
  ["create", "events.k8s.io/events", "home/"],
];

const NEAR_IT: readonly Deed[] = [
  ["get", "/secrets", "home/somebody-elses"],
  ["list", "/secrets", "home/"],
  ["get", "/secrets", "kube-system/live-earshot-ca"],
  ["delete", "/secrets", "home/live-earshot-ca"],
  ["update", "coordination.k8s.io/leases", "home/another"],
  ["update", "earshot.dev/shardmaps", "home/another"],
  ["list", "earshot.dev/shardmaps", "home/"],
  ["delete", "earshot.dev/shardmaps", "home/live-earshot"],
  ["patch", "apps/deployments", "home/live-earshot-operator"],
  ["list", "/pods", "home/"],
  ["list", "/configmaps", "home/"],
  ["list", "/namespaces", "*/"],
  ["watch", "discovery.k8s.io/endpointslices", "kube-system/"],
  ["create", "authentication.k8s.io/tokenreviews", "*/"],
];

const TOPICS_ANYWHERE: readonly Deed[] = [
  ["list", "earshot.dev/topics", "*/"],
  ["watch", "earshot.dev/topics", "*/"],
  ["patch", "earshot.dev/topics/status", "shop/orders"],
  ["create", "events.k8s.io/events", "shop/"],
];

const WRITES_TO_TOPICS: readonly Deed[] = [
  ["create", "earshot.dev/topics", "shop/"],
  ["patch", "earshot.dev/topics", "shop/orders"],
  ["delete", "earshot.dev/topics", "shop/orders"],
  ["deletecollection", "earshot.dev/topics", "shop/"],
];

describe.skipIf(!HAS_HELM)("rights", () => {
  afterAll(async () => {
    await api.tryKubectl(["delete", ...clusterWide]);
  });

  describe("as it comes", () => {
    beforeAll(async () => {
      home = await install("default");
    });

    test("the operator may do what it needs", async () => {
      const deeds = [...AT_HOME, ...TOPICS_ANYWHERE];
      expect(await judged("operator", deeds)).toEqual(all(deeds, true));
    });

    test("the operator may do nothing near that, and writes no Topic", async () => {
      const deeds = [...NEAR_IT, ...WRITES_TO_TOPICS];
      expect(await judged("operator", deeds)).toEqual(all(deeds, false));
    });

    test.each(["router", "gateway"])("a %s may do nothing at all", async (component) => {
      const deeds = [...AT_HOME, ...TOPICS_ANYWHERE, ...NEAR_IT, ...WRITES_TO_TOPICS];
      expect(await judged(component, deeds)).toEqual(all(deeds, false));
    });
  });

  describe("with certificates of somebody else", () => {
    beforeAll(async () => {
      home = await install("existing-secrets");
    });

    test("the operator may read no Secret", async () => {
      const deeds = AT_HOME.filter(([, resource]) => resource === "/secrets");
      expect(deeds.length).toBeGreaterThan(2);
      expect(await judged("operator", deeds)).toEqual(all(deeds, false));
    });
  });

  describe("in two namespaces, one of them for Topics that are made over HTTP", () => {
    beforeAll(async () => {
      for (const name of ["shop", "chat"]) await api.tryKubectl(["create", "namespace", name]);
      home = await install("namespaced");
    });

    test("the operator sees Topics there and nowhere else", async () => {
      const here: readonly Deed[] = [
        ["list", "earshot.dev/topics", "shop/"],
        ["watch", "earshot.dev/topics", "chat/"],
        ["patch", "earshot.dev/topics/status", "shop/orders"],
        ["create", "events.k8s.io/events", "chat/"],
      ];
      const elsewhere: readonly Deed[] = [
        ["list", "earshot.dev/topics", "*/"],
        ["list", "earshot.dev/topics", "default/"],
        ["patch", "earshot.dev/topics/status", "default/orders"],
      ];
      expect(await judged("operator", here)).toEqual(all(here, true));
      expect(await judged("operator", elsewhere)).toEqual(all(elsewhere, false));
    });

    test("the operator writes Topics in that one alone", async () => {
      const there: readonly Deed[] = [
        ["create", "earshot.dev/topics", "chat/"],
        ["patch", "earshot.dev/topics", "chat/room"],
        ["delete", "earshot.dev/topics", "chat/room"],
      ];
      expect(await judged("operator", there)).toEqual(all(there, true));
      expect(await judged("operator", WRITES_TO_TOPICS)).toEqual(all(WRITES_TO_TOPICS, false));
    });
  });
});
