// What kubeconform says of every shape of the chart. Its schemas are those that the API server of the run publishes
// (/openapi/v2), written the way kubeconform looks for them, with no unknown field allowed.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HAS_HELM, render, SHAPES } from "../../scripts/chart-renders.ts";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import { apiServer } from "../harness/kube-cluster.ts";

const BESIDE = join(KUBE_ASSETS ?? "", "kubeconform");
const PROGRAM = existsSync(BESIDE) ? BESIDE : "kubeconform";
const IS_THERE = HAS_HELM && spawnSync(PROGRAM, ["-v"]).status === 0;
if (!IS_THERE)
  process.stdout.write("kubeconform is not run: it or helm is neither on the PATH nor in KUBEBUILDER_ASSETS\n");

/** Kinds that the chart makes: the others' schemas would only take room. */
const KINDS =
  /^(ServiceAccount|Service|ConfigMap|Pod|Deployment|Topic|CustomResourceDefinition|PodDisruptionBudget|NetworkPolicy|Ingress|HorizontalPodAutoscaler|(Cluster)?Role(Binding)?)$/;

/** Kinds of other projects, whose schemas a bare API server does not have. */
const FOREIGN = new Set(["HTTPRoute", "PrometheusRule", "ServiceMonitor"]);

interface Definition {
  readonly type?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, object>>;
  readonly "x-kubernetes-group-version-kind"?: readonly { group: string; version: string; kind: string }[];
}

const api = apiServer();
const folder = mkdtempSync(join(tmpdir(), "earshot-schemas-"));

/** A field that the definition does not know is a mistake; numbers may be written where Kubernetes takes either. */
function closed({ properties, ...definition }: Definition): object {
  if (definition.format === "int-or-string") return { type: ["string", "integer"] };
  return properties === undefined ? definition : { ...definition, properties, additionalProperties: false };
}

describe.skipIf(!IS_THERE)("kubeconform", () => {
  beforeAll(async () => {
    const { body } = await api.call("GET", "/openapi/v2");
    const definitions = (body as { definitions: Record<string, Definition> }).definitions;
    const all = Object.fromEntries(Object.entries(definitions).map(([name, one]) => [name, closed(one)]));
    for (const [name, definition] of Object.entries(definitions)) {
      const [gvk, ...others] = definition["x-kubernetes-group-version-kind"] ?? [];
      if (gvk === undefined || others.length > 0) continue;
      const group = gvk.group === "" ? "" : `-${gvk.group.split(".")[0]}`;
      const path = join(folder, `${gvk.kind}${group}-${gvk.version}.json`.toLowerCase());
      if (KINDS.test(gvk.kind))
        writeFileSync(path, JSON.stringify({ $ref: `#/definitions/${name}`, definitions: all }));
    }
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(SHAPES)("has nothing to say against %s", (shape) => {
    const location = join(folder, "{{ .ResourceKind }}{{ .KindSuffix }}.json");
    const { status, stdout, stderr } = spawnSync(
      PROGRAM,
      ["-schema-location", location, "-skip", [...FOREIGN].join(","), "-summary", "-output", "text"],
      { input: render(shape), encoding: "utf8" },
    );
    expect(stderr).toBe("");
    expect(stdout).toMatch(/Valid: \d\d, Invalid: 0, Errors: 0, Skipped: [01234]$/m);
    expect(status).toBe(0);
  });

  test("finds a field that is not one", () => {
    const location = join(folder, "{{ .ResourceKind }}{{ .KindSuffix }}.json");
    const wrong = render("default").replace("minReadySeconds: 10", "minReadySecond: 10");
    const { status, stdout } = spawnSync(PROGRAM, ["-schema-location", location], { input: wrong, encoding: "utf8" });
    expect(stdout).toContain("minReadySecond");
    expect(status).toBe(1);
  });
});
