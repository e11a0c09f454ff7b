// Every bound of the Topic's schema at a real API server: what stands at the bound passes, one past it is refused by name.

import { beforeAll, expect, test } from "vitest";
import { readCustomResource, type SchemaNode } from "../../operator/schema/crd.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { causesOf, makeTopic, type Manifest, patchTopic, topicOf, tryTopic } from "../harness/kube-topics.ts";
import { boundsOf, exampleCondition, withValue } from "../harness/schema-bounds.ts";

const api = apiServer();
const SCHEMA = readCustomResource("topics.earshot.dev").schema;
let namespace = "";

beforeAll(async () => {
  namespace = await makeNamespace(api, "bounds");
  await makeTopic(api, namespace, "of-status");
});

function part(name: "spec" | "status"): SchemaNode {
  const node = SCHEMA.properties?.[name];
  if (node === undefined) throw new Error(`the schema has no ${name}`);
  return node;
}

/** Everything is there, so that every path leads somewhere. */
const SUBJECT = { kind: "ServiceAccount", namespace: "shop", name: "checkout" };
const SPEC = { owner: "alice", publishers: [SUBJECT], subscribers: [SUBJECT], delivery: {}, limits: {} };
const STATUS = { observedGeneration: 1, topicId: "a", controllerName: "a", conditions: [exampleCondition("Ready")] };

test.for([...boundsOf(part("spec"), ["spec"])])("$field: $bound", async ({ field, path, at, past }) => {
  const base = topicOf("x", SPEC);
  // A subject's kind decides which other fields it has: crd-rules.test.ts tries every kind.
  const right = field.endsWith(".kind") ? [] : at;
  for (const value of right) {
    const answer = await tryTopic(api, namespace, withValue(base, path, value) as Manifest);
    expect(answer, JSON.stringify(value)).toMatchObject({ status: 201, warnings: [] });
  }
  const refused = await tryTopic(api, namespace, withValue(base, path, past) as Manifest);
  expect(refused.status).toBe(422);
  expect(causesOf(refused).map((cause) => cause.field)).toContain(field);
});

test.for([...boundsOf(part("status"), ["status"])])("$field: $bound", async ({ field, path, at, past }) => {
  const patch = (value: unknown): unknown => withValue({ status: STATUS }, path, value);
  const target = [namespace, "of-status"] as const;
  for (const value of at) {
    const answer = await patchTopic(api, target, patch(value), "/status?dryRun=All");
    expect(answer, JSON.stringify(value)).toMatchObject({ status: 200, warnings: [] });
  }
  const refused = await patchTopic(api, target, patch(past), "/status?dryRun=All");
  expect(refused.status).toBe(422);
  expect(causesOf(refused).map((cause) => cause.field)).toContain(field);
});
