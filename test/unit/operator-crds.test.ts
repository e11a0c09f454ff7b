import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import {
  BATCH_WINDOW_MS_MAX,
  MESSAGE_BYTES_DEFAULT,
  MESSAGE_BYTES_MAX,
  NAMESPACE_BYTES_MAX,
  SHARD_COUNT,
  SUBJECTS_MAX,
  TOPIC_NAME_BYTES_MAX,
} from "#core/domain/limits.ts";
import { RuleSet } from "../../operator/schema/rules.ts";
import { readCustomResource, type SchemaNode } from "../../operator/schema/crd.ts";

const TOPIC = readCustomResource("topics.earshot.dev");
const SHARD_MAP = readCustomResource("shardmaps.earshot.dev");

interface Found {
  readonly path: string;
  readonly node: SchemaNode;
}

function* nodesOf(node: SchemaNode, path = ""): Generator<Found> {
  yield { path, node };
  for (const [name, child] of Object.entries(node.properties ?? {})) yield* nodesOf(child, `${path}.${name}`);
  if (node.items !== undefined) yield* nodesOf(node.items, `${path}[]`);
}

function fileOf(name: string) {
  const text = readFileSync(join(import.meta.dirname, "..", "..", "crds", `${name}.yaml`), "utf8");
  return parse(text) as {
    metadata: { name: string };
    spec: { names: Record<string, unknown>; versions: Record<string, unknown>[] };
  };
}

function at(path: string): SchemaNode {
  for (const found of nodesOf(TOPIC.schema)) if (found.path === path) return found.node;
  throw new Error(`the Topic CRD has no ${path}`);
}

test("the CRDs bear the names of the design", () => {
  expect([TOPIC.apiVersion, TOPIC.kind]).toEqual(["earshot.dev/v1alpha1", "Topic"]);
  expect(fileOf("topics.earshot.dev").spec.names).toMatchObject({ shortNames: ["tp"], categories: ["earshot"] });
  expect(fileOf("topics.earshot.dev").metadata.name).toBe("topics.earshot.dev");
  expect([SHARD_MAP.apiVersion, SHARD_MAP.kind]).toEqual(["earshot.dev/v1alpha1", "ShardMap"]);
  const columns = fileOf("topics.earshot.dev").spec.versions[0]?.["additionalPrinterColumns"] as { name: string }[];
  expect(columns.map(({ name }) => name)).toEqual(["Permissions", "Channels", "Ready", "Reason", "Age"]);
  expect(fileOf("topics.earshot.dev").spec.versions[0]?.["subresources"]).toEqual({ status: {} });
});

test("every field has a description, every list its type, every text and list a bound", () => {
  for (const resource of [TOPIC, SHARD_MAP]) {
    for (const { path, node } of nodesOf(resource.schema)) {
      // Kubernetes forbids a description of metadata and bounds of what it bounds itself.
      if (path === ".metadata") continue;
      expect(node.description, `description of ${path}`).toMatch(/\S.*[^,]$/);
      if (node.type === "array") {
        expect(node["x-kubernetes-list-type"], `list type of ${path}`).toBeDefined();
        expect(node.maxItems, `bound of ${path}`).toBeDefined();
      }
      if (/^\.(apiVersion|kind|metadata)/.test(path)) continue;
      if (node.type === "string" && node.enum === undefined && node.format === undefined) {
        expect(node.maxLength, `bound of ${path}`).toBeDefined();
      }
      if (node.type === "integer") expect(node.minimum, `least of ${path}`).toBeDefined();
    }
  }
});

test("the bounds of the CRD are the limits of the code", () => {
  expect(at(".spec.delivery.maxMessageBytes")).toMatchObject({
    maximum: MESSAGE_BYTES_MAX,
    default: MESSAGE_BYTES_DEFAULT,
  });
  expect(at(".spec.delivery.batchWindowMilliseconds").maximum).toBe(BATCH_WINDOW_MS_MAX);
  expect(at(".spec.publishers").maxItems).toBe(SUBJECTS_MAX);
  expect(at(".spec.subscribers").maxItems).toBe(SUBJECTS_MAX);
  expect(at(".spec.publishers[].namespace").maxLength).toBe(NAMESPACE_BYTES_MAX);
  expect(TOPIC.schema["x-kubernetes-validations"]?.[0]?.rule).toBe(
    `size(self.metadata.name) <= ${TOPIC_NAME_BYTES_MAX}`,
  );
  for (const list of ["primaries", "standbys"]) {
    expect(SHARD_MAP.schema.properties?.[list]).toMatchObject({ minItems: SHARD_COUNT, maxItems: SHARD_COUNT });
  }
});

test("a new Topic says at once that its operator has not looked at it", () => {
  expect(at(".status").default).toEqual({
    conditions: [
      {
        type: "Ready",
        status: "Unknown",
        reason: "Pending",
        message: "Waiting for operator",
        lastTransitionTime: "1970-01-01T00:00:00Z",
      },
    ],
  });
  expect(at(".status.conditions")["x-kubernetes-list-map-keys"]).toEqual(["type"]);
});

test("the same epoch of a shard map cannot have other content, a higher or restored one can", () => {
  const rules = new RuleSet(SHARD_MAP.schema);
  const map = (epoch: number, primary: number) => ({
    epoch,
    routers: [{ incarnation: "a", name: "a", address: "a:1", node: "", zone: "" }],
    primaries: Array.from({ length: SHARD_COUNT }, () => primary),
    standbys: Array.from({ length: SHARD_COUNT }, () => -1),
  });
  expect(rules.check(map(5, 0), undefined)).toEqual([]);
  expect(rules.check(map(5, 0), map(5, 0))).toEqual([]);
  expect(rules.check(map(5, -1), map(5, 0))).toHaveLength(1);
  expect(rules.check(map(6, -1), map(5, 0))).toEqual([]);
  expect(rules.check(map(4, -1), map(5, 0))).toEqual([]);
  expect(rules.check(map(5, 1), undefined)[0]?.path).toEqual(["primaries"]);
});

test("rules name properties as Kubernetes does: a reserved word of CEL in underscores", () => {
  const node: SchemaNode = {
    type: "object",
    properties: { namespace: { type: "string" }, "a-b": { type: "integer" } },
    "x-kubernetes-validations": [{ rule: "has(self.__namespace__) && self.a__dash__b / 2 == 1", message: "wrong" }],
  };
  expect(new RuleSet(node).check({ namespace: "x", "a-b": 3 }, undefined)).toEqual([]);
  expect(new RuleSet(node).check({ "a-b": 3 }, undefined)).toHaveLength(1);
  for (const { rule } of at(".spec.publishers[]")["x-kubernetes-validations"] ?? []) {
    expect(rule).not.toMatch(/\.namespace\b/);
  }
});

test("every rule says in words what is right", () => {
  for (const resource of [TOPIC, SHARD_MAP]) {
    for (const { node } of nodesOf(resource.schema)) {
      for (const { message } of node["x-kubernetes-validations"] ?? []) expect(message).toMatch(/^[a-z]/);
    }
  }
});
