// The judge of standalone mode (operator/schema) against a real API server: the same manifests, right and wrong, are taken
// and refused by both, for the same fields. So what runs on one machine is what a cluster takes.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import type { TopicPolicy } from "#core/domain/topic.ts";
import { namespaceProblem } from "#core/domain/topic-id.ts";
import { readDocument } from "../../operator/schema/documents.ts";
import { judgeTopic } from "../../operator/schema/judge.ts";
import { formatPath } from "../../operator/schema/problem.ts";
import type { KubeResponse } from "../harness/kube-access.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { causesOf, makeTopic, type StoredTopic, topicOf, topicPath, tryTopic } from "../harness/kube-topics.ts";
import { manifest } from "../harness/topic-arbitraries.ts";

/** Manifests that are compared: each is one call. */
const MANIFESTS = 600;

/** Sentences of the CEL rules. */
const RULES = [
  ...readFileSync(join(import.meta.dirname, "../../crds/topics.earshot.dev.yaml"), "utf8").matchAll(
    / message: "(.*)"$/gm,
  ),
].map(([, sentence = ""]) => sentence);

const api = apiServer();
let namespace = "";
/** What is there already: for manifests that change a Topic. */
const existing: StoredTopic[] = [];

beforeAll(async () => {
  namespace = await makeNamespace(api, "agreement");
  existing.push(
    await makeTopic(api, namespace, "ownerless"),
    await makeTopic(api, namespace, "owned", { owner: "alice" }),
  );
});

type Mapping = Record<string, unknown>;

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The manifest as one for the test's own namespace, of the Topic that it is to change. */
function placed(value: Mapping, into: StoredTopic | undefined): Mapping {
  const { metadata } = value;
  if (!isMapping(metadata)) return value;
  const isNamed = typeof metadata["namespace"] === "string" && namespaceProblem(metadata["namespace"]) === undefined;
  const space = isNamed ? { namespace } : {};
  const identity =
    into === undefined ? {} : { name: into.metadata.name, resourceVersion: into.metadata.resourceVersion };
  return { ...value, metadata: { ...metadata, ...space, ...identity } };
}

function ask(value: Mapping, into: StoredTopic | undefined): Promise<KubeResponse> {
  if (into === undefined) return tryTopic(api, namespace, value);
  return api.call("PUT", `${topicPath(namespace, into.metadata.name)}?dryRun=All&fieldValidation=Strict`, value);
}

function policyOf({ metadata: { name }, spec }: StoredTopic): TopicPolicy {
  const verdict = judgeTopic({ ...topicOf(name), spec: structuredClone(spec) }, () => undefined);
  if (!verdict.ok) throw new Error(`the API server made a Topic that is wrong: ${JSON.stringify(verdict.problems)}`);
  return verdict.manifest.policy;
}

/** The fields that are wrong; none: it is good. */
function judged(value: Mapping, into: StoredTopic | undefined): readonly string[] {
  const old = into === undefined ? undefined : policyOf(into);
  const verdict = judgeTopic(structuredClone(value), () => old);
  return verdict.ok ? [] : sorted(verdict.problems.map((problem) => formatPath(problem.path)));
}

function sorted(fields: readonly string[]): readonly string[] {
  return [...new Set(fields)].toSorted();
}

test("both take the same manifests, and refuse the others for the same fields", async () => {
  const verdicts = { good: 0, bad: 0 };
  const into = fc.constantFrom(undefined, undefined, 0, 1);
  await fc.assert(
    fc.asyncProperty(manifest, into, async (generated, index) => {
      const old = index === undefined || !isMapping(generated["metadata"]) ? undefined : existing[index];
      const value = placed(generated, old);
      const ours = judged(value, old);
      const answer = await ask(value, old);
      const causes = causesOf(answer);
      const theirs = sorted(causes.map(({ field }) => field));
      const ofSchema = causes
        .filter(({ message }) => !RULES.some((rule) => message.endsWith(rule)))
        .map(({ field }) => field);
      const isGood = answer.status < 300;
      verdicts[isGood ? "good" : "bad"] += 1;
      const told = JSON.stringify(answer.body);
      expect(ours.length === 0, `ours: ${ours.join(", ") || "good"}; theirs: ${told}`).toBe(isGood);
      if (answer.status === 422) {
        expect(theirs, told).toEqual(expect.arrayContaining([...ours]));
        // The API server tells of some rules beside what the schema found wrong; the judge of none.
        expect(ours, told).toEqual(expect.arrayContaining(ofSchema.length > 0 ? ofSchema : [...theirs]));
      } else {
        // What cannot be decoded is refused at the first thing that is wrong, often without naming a field.
        expect(ours, told).toEqual(expect.arrayContaining([...theirs]));
      }
    }),
    { numRuns: MANIFESTS },
  );
  expect(verdicts.good).toBeGreaterThan(MANIFESTS / 10);
  expect(verdicts.bad).toBeGreaterThan(MANIFESTS / 10);
});

const HEAD = "apiVersion: earshot.dev/v1alpha1\nkind: Topic\n";

test("both read the same scalars out of YAML", async () => {
  const scalars = (
    "on off yes No y n true True ~ null 5 -5 +1 0x1F 0o17 -0o17 017 0b11 1_000 1e3 1E5 1. .5 1.5 0.0 -0 NaN abc " +
    "12:30:45 2026-01-01 2026-01-01T00:00:00Z '5' \"on\" = <<"
  ).split(" ");
  const fields = scalars.map((scalar, index) => `  scalar-${index}: ${scalar}\n`);
  const text = `${HEAD}metadata: {name: scalars}\nspec:\n${fields.join("")}`;
  const args = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
  const theirs = JSON.parse(await api.kubectl(args, text)) as { spec: Mapping };
  const ours = readDocument({ text, line: 1 });
  if (!ours.ok) throw new Error(ours.problem.message);
  const { spec } = ours.value as { spec: Mapping };
  const read = scalars.map((scalar, index) => [scalar, spec[`scalar-${index}`], theirs.spec[`scalar-${index}`]]);
  expect(read.filter(([, our, their]) => JSON.stringify(our) !== JSON.stringify(their))).toEqual([]);
});
