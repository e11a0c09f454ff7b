// Holds the manifests of examples/kubernetes against what a cluster asks of them, as far as no cluster is needed: they parse,
// belong together, keep to the restricted Pod Security standard, and name metrics that there are.
// That an API server takes them is tried in test/cluster/examples.test.ts.

import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";

const ROOT = join(import.meta.dirname, "../..");
const FOLDER = join(ROOT, "examples/kubernetes");

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}

interface PodSpec {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken: boolean;
  readonly securityContext: object;
  readonly containers: readonly { readonly command: readonly string[]; readonly securityContext: object }[];
  readonly volumes: readonly object[];
}

function manifestsOf(file: string): readonly Manifest[] {
  return parseAllDocuments(readFileSync(join(FOLDER, file), "utf8")).map((document) => {
    expect({ file, errors: document.errors }).toEqual({ file, errors: [] });
    return document.toJS() as Manifest;
  });
}

const kustomization = parse(readFileSync(join(FOLDER, "kustomization.yaml"), "utf8")) as {
  readonly resources: readonly string[];
  readonly configMapGenerator: readonly { readonly name: string; readonly files: readonly string[] }[];
};
const manifests = kustomization.resources.flatMap(manifestsOf);

test("every manifest stands in the kustomization, and every file that it names is there", () => {
  const files = globSync("*.yaml", { cwd: FOLDER }).filter((file) => file !== "kustomization.yaml");
  expect([...kustomization.resources].toSorted()).toEqual(files.toSorted());
  const programs = kustomization.configMapGenerator.flatMap(({ files: names }) => names);
  expect(programs.toSorted()).toEqual(globSync("*.ts", { cwd: FOLDER }).toSorted());
});

test("every object has a kind, a name and the namespace of the example", () => {
  for (const { apiVersion, kind, metadata } of manifests) {
    expect(apiVersion).toMatch(/^(v1|[a-z0-9.]+\/v\w+)$/);
    expect({ kind, namespace: kind === "Namespace" ? metadata.name : metadata.namespace }).toEqual({
      kind: expect.stringMatching(/^[A-Z]\w+$/) as string,
      namespace: "shop",
    });
  }
});

test("every pod is one that the restricted standard lets in, and proves itself by a projected token alone", () => {
  const pods = manifests.flatMap(({ spec }) => (spec?.template === undefined ? [] : [spec.template.spec]));
  expect(pods).toHaveLength(2);
  const accounts = manifests.filter(({ kind }) => kind === "ServiceAccount").map(({ metadata }) => metadata.name);
  for (const { serviceAccountName, automountServiceAccountToken, securityContext, containers, volumes } of pods) {
    expect(accounts).toContain(serviceAccountName);
    expect(automountServiceAccountToken).toBe(false);
    expect(securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
    expect(JSON.stringify(volumes)).toContain('"serviceAccountToken":{"path":"token","audience":"earshot"');
    for (const container of containers) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      const program = container.command[1]?.replace("/app/program/", "") ?? "";
      expect(existsSync(join(FOLDER, program))).toBe(true);
    }
  }
});

test("what scales by a metric names one that there is", () => {
  const page = readFileSync(join(ROOT, "docs/metrics.md"), "utf8");
  const files = globSync("scaling/*.yaml", { cwd: FOLDER });
  expect(files).toHaveLength(3);
  for (const file of files) {
    const text = readFileSync(join(FOLDER, file), "utf8");
    expect(parse(text)).toBeTypeOf("object");
    const names = [...text.matchAll(/\bearshot_[a-z_]+/g)].map(([name]) => name);
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) expect(page).toContain(`\`${name}\``);
  }
});
