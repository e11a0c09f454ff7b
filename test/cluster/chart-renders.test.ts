// What helm makes of the chart: the same twice, as it was looked at last time, with clear words where values are wrong, and
// good in the eyes of a real API server, also where the restricted Pod Security Standard is enforced.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { golden, goldenPath, HAS_HELM, helm, render, SHAPES } from "../../scripts/chart-renders.ts";
import { readChartValues } from "../../scripts/chart-values.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";

const ROOT = join(import.meta.dirname, "../..");
const CHART = join(ROOT, "charts/earshot");

if (!HAS_HELM)
  process.stdout.write("the chart is not rendered: there is no helm on the PATH or in KUBEBUILDER_ASSETS\n");

interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: { readonly template?: { readonly metadata: object; readonly spec: object } };
}

function objectsOf(text: string): Rendered[] {
  return parseAllDocuments(text).flatMap((document) => (document.toJS() as Rendered | null) ?? []);
}

function template(...set: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return helm(["template", "live", CHART, "--namespace", "earshot", ...set.flatMap((value) => ["--set", value])]);
}

describe.skipIf(!HAS_HELM)("helm", () => {
  test.each(SHAPES)("renders %s as test/golden/chart has it (npm run chart writes it)", (shape) => {
    expect(golden(shape)).toBe(readFileSync(join(ROOT, goldenPath(shape)), "utf8"));
  });

  test("renders everything twice alike", () => {
    expect(renderAll({})).toBe(renderAll({}));
  });

  test.each(SHAPES)("has nothing to say against %s (lint --strict)", (shape) => {
    const values = join(ROOT, "test/golden/chart/values", `${shape}.yaml`);
    const { status, stdout, stderr } = helm(["lint", "--strict", CHART, "--values", values]);
    expect(`${stdout}${stderr}`).toContain("0 chart(s) failed");
    expect(status).toBe(0);
  });

  test.each([
    ["router.replica=3", "at '/router': additional properties 'replica' not allowed"],
    ["gateway.service.type=Public", "value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"],
    ["config.unsentByte=3", "at '/config': additional properties 'unsentByte' not allowed"],
    ["config.connectionsMax=0", "at '/config/connectionsMax': minimum: got 0, want 1"],
    ["auth.issuers[0].issuer=a", "at '/auth/issuers/0': missing property 'jwksUri'"],
    ["fullnameOverride=Live", "at '/fullnameOverride': 'Live' does not match pattern"],
    ["tls.existingSecrets.router=a", "tls.existingSecrets must name all three Secrets, or none"],
    ["redis.url=redis://user:word@host", "redis.url must hold no user and no password"],
    ["redis.passwordKey=password", "redis.existingSecret must name the Secret"],
    ["redis.mode=Sentinel", "redis.sentinelMaster must be set with redis.mode Sentinel"],
    ["router.drainSeconds=100", "router.terminationGracePeriodSeconds is 90: it must be more than"],
    ["canary.enabled=true", "canary.topicId must name a Topic"],
    ["gateway.httpRoute.enabled=true", "gateway.httpRoute.parentRefs must name the Gateway"],
  ])("says what is wrong with %s", (value, words) => {
    const { status, stderr } = template(value);
    expect(stderr).toContain(words);
    expect(status).not.toBe(0);
  });

  test("says that Topics over HTTP need a namespace that is watched", () => {
    const { stderr } = template("watch.namespaces={shop}", "httpTopics.namespace=chat");
    expect(stderr).toContain("httpTopics.namespace is chat, which watch.namespaces does not name");
  });

  test("says that an autoscaler needs a range and something to decide by", () => {
    const range = template("router.autoscaling.enabled=true", "router.autoscaling.maxReplicas=1");
    expect(range.stderr).toContain("router.autoscaling.minReplicas is 2: it must not be more than maxReplicas");
    const nothing = template("router.autoscaling.enabled=true", "router.autoscaling.targetCPU=");
    expect(nothing.stderr).toContain("router.autoscaling needs targetCPU or metrics");
  });

  test("takes the chart as a part of another one, whose global values it is given", () => {
    expect(template("global.region=north").status).toBe(0);
  });

  test("shortens no name to one that Kubernetes would refuse", () => {
    const release = "a-release-whose-name-is-as-long-as-helm-lets-it-be-00";
    expect(release).toHaveLength(53);
    const { stdout } = helm(["template", release, CHART, "--namespace", "n".repeat(63)]);
    for (const { kind, metadata } of objectsOf(stdout)) {
      if (kind !== "CustomResourceDefinition" && !kind.startsWith("Cluster")) {
        expect(metadata.name, kind).toMatch(/^[a-z0-9-]{1,63}$/);
      }
    }
    expect(stdout).toMatch(/redisPrefix|presenceStore: None/);
  });

  test("a secret stands in no object that everybody reads", () => {
    const text = SHAPES.map((shape) => render(shape)).join("\n");
    expect(objectsOf(text).filter(({ kind }) => kind === "Secret")).toEqual([]);
  });

  test("what every value says can be seen in what is installed", { timeout: 300_000 }, () => {
    const unseen = readChartValues(readFileSync(join(CHART, "values.yaml"), "utf8"))
      .filter(({ path, default: value }) => {
        const beside = BESIDE[path] ?? {};
        return renderAll({ ...beside, [path]: OTHERS[path] ?? otherThan(path, value) }) === renderAll(beside);
      })
      .map(({ path }) => path);
    expect(unseen).toEqual([]);
  });
});

type Values = Readonly<Record<string, unknown>>;

/** All of the chart, so that a value of any part is seen. */
const EVERYTHING: Values = {
  "gateway.ingress.enabled": true,
  "gateway.httpRoute.enabled": true,
  "gateway.httpRoute.parentRefs": [{ name: "public" }],
  "gateway.service.type": "LoadBalancer",
  "gateway.autoscaling.enabled": true,
  "router.autoscaling.enabled": true,
  "auth.secret.existingSecret": "key",
  "redis.existingSecret": "redis",
  "redis.inChart.enabled": true,
  "redis.ca.existingSecret": "ca",
  "canary.enabled": true,
  "canary.topicId": "earshot.canary",
  "monitoring.serviceMonitor.enabled": true,
  "monitoring.prometheusRule.enabled": true,
  "monitoring.dashboard.enabled": true,
};

/** What a value needs beside it to be seen. */
const BESIDE: Readonly<Record<string, Values>> = {
  "gateway.replicas": { "gateway.autoscaling.enabled": false },
  "router.replicas": { "router.autoscaling.enabled": false },
  "redis.existingSecret": { "redis.passwordKey": "password" },
  "canary.serverName": { "publish.tls.secretName": "public" },
  // The canary does not speak without a token.
  "auth.serviceAccountTokens": { "canary.enabled": false },
  "redis.url": { "redis.inChart.enabled": false },
  "redis.urlKey": { "redis.inChart.enabled": false },
  "tls.existingSecrets.operator": { "tls.existingSecrets": { operator: "a", router: "b", gateway: "c" } },
  "tls.existingSecrets.router": { "tls.existingSecrets": { operator: "a", router: "b", gateway: "c" } },
  "tls.existingSecrets.gateway": { "tls.existingSecrets": { operator: "a", router: "b", gateway: "c" } },
};

/** Other values, where the usual one does not tell what else is possible. */
const OTHERS: Values = {
  config: { logLevel: "debug" },
  "image.digest": `sha256:${"a".repeat(64)}`,
  "image.pullPolicy": "Never",
  "auth.issuers": [{ issuer: "a", jwksUri: "https://a.example" }],
  "httpTopics.create": "Anyone",
  "watch.namespaces": ["chat"],
  "gateway.service.type": "NodePort",
  "gateway.service.externalTrafficPolicy": "Local",
  "gateway.service.loadBalancerSourceRanges": ["203.0.113.0/24"],
  "gateway.ingress.hosts": ["other.example"],
  "gateway.httpRoute.hostnames": ["other.example"],
  "gateway.maxSurge": 1,
  "gateway.autoscaling.targetCPU": "500m",
  "router.autoscaling.targetCPU": "500m",
  "redis.url": "redis://other.example",
  "redis.mode": "Cluster",
  "redis.inChart.image.pullPolicy": "Never",
  "redis.inChart.command": ["other"],
  "redis.inChart.maxMemory": "1gb",
  bindAddress: "::",
};

function otherThan(path: string, value: unknown): unknown {
  if (typeof value === "boolean") return EVERYTHING[path] === undefined ? !value : value;
  if (typeof value === "number") return value + 1;
  if (Array.isArray(value)) return [{ name: "other" }];
  if (path.endsWith("resources")) return { limits: { memory: "3Gi" } };
  return typeof value === "object" ? { other: "other" } : "other";
}

function renderAll(more: Values): string {
  const set = Object.entries({ ...EVERYTHING, ...more }).flatMap(([path, value]) => [
    "--set-json",
    `${path}=${JSON.stringify(value)}`,
  ]);
  const { status, stdout, stderr } = helm(["template", "live", CHART, "--namespace", "earshot", ...set]);
  if (status !== 0) throw new Error(`${JSON.stringify(more)}: ${stderr}`);
  return stdout;
}

describe.skipIf(!HAS_HELM)("a real API server", () => {
  const api = apiServer();
  let namespace = "";
  /** What outlives its namespace. */
  const clusterWide = new Set<string>();

  beforeAll(async () => {
    namespace = await makeNamespace(api, "chart");
    const enforce = "pod-security.kubernetes.io/enforce=restricted";
    await api.kubectl(["label", "namespace", namespace, enforce]);
    // The ServiceAccount that a controller would make.
    await api.tryKubectl(["create", "serviceaccount", "default", "-n", namespace]);
    for (const name of ["shop", "chat"]) await api.tryKubectl(["create", "namespace", name]);
  });

  afterAll(async () => {
    await api.tryKubectl(["delete", "--ignore-not-found", ...clusterWide]);
  });

  test.each(SHAPES)("takes %s, and each of its pods under the restricted standard", async (shape) => {
    const served = kindsOf(await api.kubectl(["api-resources", "--no-headers"]));
    const objects = objectsOf(render(shape, "live", namespace)).filter(
      ({ kind }) => served.has(kind) && kind !== "CustomResourceDefinition" && kind !== "Pod",
    );
    expect(objects.length).toBeGreaterThan(10);
    for (const { kind, metadata } of objects)
      if (kind.startsWith("Cluster")) clusterWide.add(`${kind}/${metadata.name}`);
    await api.kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"], JSON.stringify(listOf(objects)));
    const pods = objects.flatMap(({ kind, metadata, spec }) =>
      kind === "Deployment" && spec?.template !== undefined
        ? [podOf(`${metadata.name}-0`, namespace, spec.template)]
        : [],
    );
    expect(pods.length).toBeGreaterThanOrEqual(3);
    const { code, stderr } = await api.tryKubectl(
      ["apply", "--dry-run=server", "--validate=strict", "-f", "-"],
      JSON.stringify(listOf(pods)),
    );
    expect(stderr.replaceAll(/^Warning: .*priorityclass.*\n/gim, "")).toBe("");
    expect(code).toBe(0);
  });
});

function kindsOf(table: string): Set<string> {
  return new Set(table.split("\n").map((line) => line.trim().split(/\s+/).at(-1) ?? ""));
}

function listOf(items: readonly object[]): object {
  return { apiVersion: "v1", kind: "List", items };
}

function podOf(name: string, namespace: string, { metadata, spec }: { metadata: object; spec: object }): object {
  return { apiVersion: "v1", kind: "Pod", metadata: { ...metadata, name, namespace }, spec };
}
