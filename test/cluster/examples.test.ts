// The manifests of examples/kubernetes at a real API server: it takes all of them without a warning, under the restricted Pod
// Security standard, and their pods as the Job's and Deployment's controllers would make them.

import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { parseAllDocuments, stringify } from "yaml";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";

const FOLDER = join(import.meta.dirname, "../../examples/kubernetes");
const api = apiServer();

interface Manifest {
  readonly kind: string;
  readonly metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  readonly spec?: { readonly template?: { readonly metadata: object; readonly spec: object } };
}

let namespace: string;
let manifests: readonly Manifest[];

beforeAll(async () => {
  namespace = await makeNamespace(api, "examples");
  const built = await api.kubectl(["kustomize", FOLDER]);
  const all = parseAllDocuments(built.replaceAll(/\bnamespace: shop$/gm, `namespace: ${namespace}`));
  manifests = all.map((document) => document.toJS() as Manifest);
  const labels = manifests.find(({ kind }) => kind === "Namespace")?.metadata.labels ?? {};
  for (const [label, value] of Object.entries(labels)) {
    await api.kubectl(["label", "namespace", namespace, `${label}=${value}`]);
    await api.kubectl(["label", "namespace", namespace, `${label.replace("enforce", "warn")}=${value}`]);
  }
});

function yamlOf(objects: readonly object[]): string {
  return objects.map((object) => stringify(object)).join("---\n");
}

test("the API server takes every object without a warning, once and again", async () => {
  const objects = manifests.filter(({ kind }) => kind !== "Namespace");
  expect(new Set(objects.map(({ kind }) => kind))).toEqual(
    new Set(["ConfigMap", "Topic", "ServiceAccount", "Job", "Deployment", "NetworkPolicy"]),
  );
  const apply = ["apply", "-f", "-"];
  expect(await api.tryKubectl(apply, yamlOf(objects))).toMatchObject({ code: 0, stderr: "" });
  const again = await api.tryKubectl(apply, yamlOf(objects));
  expect(again).toMatchObject({ code: 0, stdout: expect.not.stringMatching(/created|configured/) as string });
});

test("their pods are let in under the restricted standard", async () => {
  const pods = manifests.flatMap(({ metadata: { name }, spec }) =>
    spec?.template === undefined
      ? []
      : [
          {
            apiVersion: "v1",
            kind: "Pod",
            metadata: { ...spec.template.metadata, name, namespace },
            spec: spec.template.spec,
          },
        ],
  );
  expect(pods).toHaveLength(2);
  const create = ["create", "--dry-run=server", "-f", "-"];
  expect(await api.tryKubectl(create, yamlOf(pods))).toMatchObject({ code: 0, stderr: "" });
  // The standard is in force: a pod without these words is not let in.
  const careless = pods.map((pod) => ({ ...pod, spec: { ...pod.spec, securityContext: {} } }));
  expect(await api.tryKubectl(create, yamlOf(careless))).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("violates PodSecurity") as string,
  });
});

test("a token such as their pods get is one for Earshot's audience", async () => {
  const account = manifests.find(({ kind }) => kind === "ServiceAccount");
  const token = await api.kubectl([
    "create",
    "token",
    "-n",
    namespace,
    account?.metadata.name ?? "",
    "--audience",
    "earshot",
  ]);
  const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as {
    aud: string[];
    sub: string;
  };
  expect(claims).toMatchObject({
    aud: ["earshot"],
    sub: `system:serviceaccount:${namespace}:${account?.metadata.name}`,
  });
});
