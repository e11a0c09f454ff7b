import * as fc from "fast-check";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import type { TopicPolicy } from "#core/domain/topic.ts";
import { cutDocuments, readDocument } from "../../operator/schema/documents.ts";
import { judgeTopic, policyToSpec } from "../../operator/schema/judge.ts";
import { formatPath } from "../../operator/schema/problem.ts";
import { manifest, SUBJECT_KINDS } from "../harness/topic-arbitraries.ts";

// The oracle: what a Topic may be, written down by hand from the design, with nothing of the CRD, ajv or CEL in it. It
// answers the fields that are wrong; the judge must find a manifest wrong exactly when the oracle does, in those fields.

type Json = unknown;
type Mapping = Record<string, Json>;

function isMapping(value: Json): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function oracle(manifest: Mapping, old: TopicPolicy | undefined): string[] {
  const wrong: string[] = [];
  const { metadata } = manifest;
  if (metadata === undefined || metadata === null) wrong.push("metadata.name");
  else if (!isMapping(metadata)) wrong.push("metadata");
  const { name, namespace } = isMapping(metadata) ? metadata : { name: "x", namespace: undefined };
  const isName = typeof name === "string" && name.length <= 253 && name.split(".").every((part) => isLabel(part, 253));
  if (!isName) wrong.push("metadata.name");
  const isDefault = namespace === undefined || namespace === null || namespace === "";
  if (!isDefault && (typeof namespace !== "string" || !isLabel(namespace, 63))) wrong.push("metadata.namespace");
  for (const key of Object.keys(isMapping(metadata) ? metadata : {}))
    if (!["name", "namespace"].includes(key)) wrong.push(`metadata.${key}`);
  for (const key of Object.keys(manifest)) {
    if (!["apiVersion", "kind", "metadata", "spec"].includes(key)) wrong.push(key);
  }
  const spec = manifest["spec"] ?? {};
  wrong.push(...oracleSpec(spec));
  if (wrong.length > 0) return wrong;
  // Rules of the CRD come after everything else is right.
  const owner = (spec as Mapping)["owner"] ?? undefined;
  if (typeof name === "string" && name.length > 189) wrong.push("metadata.name");
  for (const list of ["publishers", "subscribers"]) {
    for (const [index, subject] of (((spec as Mapping)[list] as Mapping[] | null | undefined) ?? []).entries()) {
      // A field that is null is not there.
      const [hasNamespace, hasName] = ["namespace", "name"].map((field) => (subject[field] ?? null) !== null);
      const isChannelUser = subject["kind"] === "ChannelUser";
      const isRight = hasNamespace === (subject["kind"] === "ServiceAccount") && hasName === !isChannelUser;
      if (!isRight) wrong.push(`spec.${list}[${index}]`);
    }
  }
  if (old !== undefined && old.owner !== owner) wrong.push("spec.owner");
  return wrong;
}

function isLabel(text: string, max: number): boolean {
  return (
    text.length >= 1 && text.length <= max && /^[a-z0-9-]+$/.test(text) && !text.startsWith("-") && !text.endsWith("-")
  );
}

function oracleSpec(spec: Json): string[] {
  if (!isMapping(spec)) return ["spec"];
  const wrong: string[] = [];
  const checks: Record<string, (value: Json) => boolean> = {
    permissions: (value) => ["Public", "Private", "PublishOnly", "SubscribeOnly"].includes(value as string),
    channels: (value) => ["None", "Dynamic"].includes(value as string),
    presence: (value) => ["None", "Count", "Members"].includes(value as string),
    owner: (value) => isText(value, 256),
  };
  for (const [key, value] of Object.entries(spec)) {
    const check = Object.hasOwn(checks, key) ? checks[key] : undefined;
    if (check !== undefined) {
      if (value !== null && !check(value)) wrong.push(`spec.${key}`);
    } else if (key === "publishers" || key === "subscribers") wrong.push(...oracleSubjects(`spec.${key}`, value));
    else if (key === "delivery") wrong.push(...oracleGroup("spec.delivery", value, DELIVERY));
    else if (key === "limits") wrong.push(...oracleGroup("spec.limits", value, LIMITS));
    else wrong.push(`spec.${key}`);
  }
  return wrong;
}

const DELIVERY: Record<string, (value: Json) => boolean> = {
  slowConsumer: (value) => ["DropOldest", "DropNewest", "Disconnect"].includes(value as string),
  maxMessageBytes: (value) => isWhole(value, 1, 1_048_576),
  batchWindowMilliseconds: (value) => isWhole(value, 0, 1_000),
  priority: (value) => ["Normal", "Low"].includes(value as string),
};

const LIMITS: Record<string, (value: Json) => boolean> = {
  maxPublishesPerSecond: (value) => isWhole(value, 0, 1_000_000),
  maxSubscribers: (value) => isWhole(value, 0, 100_000_000),
  maxChannels: (value) => isWhole(value, 0, 100_000_000),
};

function oracleGroup(path: string, value: Json, fields: Record<string, (value: Json) => boolean>): string[] {
  if (value === null) return [];
  if (!isMapping(value)) return [path];
  return Object.entries(value).flatMap(([key, field]) => {
    const check = Object.hasOwn(fields, key) ? fields[key] : undefined;
    return check === undefined || !(field === null || check(field)) ? [`${path}.${key}`] : [];
  });
}

function oracleSubjects(path: string, value: Json): string[] {
  if (value === null) return [];
  if (!Array.isArray(value)) return [path];
  if (value.length > 64) return [path];
  return value.flatMap((subject: Json, index) => {
    const at = `${path}[${index}]`;
    if (!isMapping(subject)) return [at];
    const wrong: string[] = [];
    if (!SUBJECT_KINDS.includes(subject["kind"] as string)) wrong.push(`${at}.kind`);
    for (const [key, field] of Object.entries(subject)) {
      if (key === "kind") continue;
      if (field === null && ["name", "namespace"].includes(key)) continue;
      const isRight =
        key === "name" ? isText(field, 256) : key === "namespace" && typeof field === "string" && isLabel(field, 63);
      if (!isRight) wrong.push(`${at}.${key}`);
    }
    return wrong;
  });
}

function isText(value: Json, max: number): boolean {
  return typeof value === "string" && value.length >= 1 && Array.from(value).length <= max;
}

function isWhole(value: Json, min: number, max: number): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;
}

const DEFAULTS: TopicPolicy = {
  permissions: "Private",
  owner: undefined,
  publishers: [],
  subscribers: [],
  channels: "None",
  presence: "Count",
  slowConsumer: "DropOldest",
  maxMessageBytes: 65_536,
  batchWindowMilliseconds: 0,
  priority: "Normal",
  maxPublishesPerSecond: 1_000,
  maxSubscribers: 0,
  maxChannels: 0,
};

function isOneOrMany(paths: readonly string[]): string[] {
  return [...new Set(paths)].sort();
}

test("the judge finds wrong exactly what an oracle written by hand finds wrong, in the same fields", () => {
  let right = 0;
  fc.assert(
    fc.property(manifest, fc.option(fc.constantFrom(undefined, "alice"), { nil: "new" }), (value, owner) => {
      const old = owner === "new" ? undefined : { ...DEFAULTS, owner };
      const expected = isOneOrMany(oracle(structuredClone(value), old));
      const verdict = judgeTopic(structuredClone(value), () => old);
      const found = verdict.ok ? [] : isOneOrMany(verdict.problems.map((problem) => formatPath(problem.path)));
      if (verdict.ok) right += 1;
      expect(found).toEqual(expected);
    }),
    { numRuns: 5_000 },
  );
  // Both verdicts were tried.
  expect(right).toBeGreaterThan(250);
  expect(right).toBeLessThan(4_750);
});

test("a field that is left out, or null, takes the default of the CRD", () => {
  fc.assert(
    fc.property(fc.subarray(["permissions", "channels", "presence", "delivery", "limits"]), (nulls) => {
      const value = {
        apiVersion: "earshot.dev/v1alpha1",
        kind: "Topic",
        metadata: { name: "x" },
        ...(nulls.length === 0 ? {} : { spec: Object.fromEntries(nulls.map((field) => [field, null])) }),
      };
      const verdict = judgeTopic(value, () => undefined);
      expect(verdict).toMatchObject({ ok: true, manifest: { key: "default.x", policy: DEFAULTS } });
    }),
  );
});

test("what the judge made of a manifest is the same manifest again", () => {
  fc.assert(
    fc.property(manifest, (value) => {
      const verdict = judgeTopic(structuredClone(value), () => undefined);
      fc.pre(verdict.ok);
      const { namespace, name, policy } = verdict.manifest;
      const again = {
        apiVersion: "earshot.dev/v1alpha1",
        kind: "Topic",
        metadata: { namespace, name },
        spec: policyToSpec(policy),
      };
      expect(judgeTopic(structuredClone(again), () => policy)).toMatchObject({ ok: true, manifest: { policy } });
    }),
    { numRuns: 500 },
  );
});

test("documents survive being written as YAML, and a wrong one spoils no other", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(manifest, fc.constant("{ not yaml"), fc.constant("# nothing")), { maxLength: 6 }),
      (values) => {
        const texts = values.map((value) => (typeof value === "string" ? value : stringify(value, { version: "1.1" })));
        const pieces = [...cutDocuments(texts.join("\n---\n"))];
        const documents = values.filter((value) => value !== "# nothing");
        expect(pieces).toHaveLength(documents.length);
        for (const [index, piece] of pieces.entries()) {
          const read = readDocument(piece);
          if (typeof documents[index] === "string") expect(read.ok).toBe(false);
          else expect(read).toMatchObject({ ok: true, value: documents[index] });
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("no text makes the reader throw, and every problem has a line of that text", () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom("a", ":", " ", "-", "\n", "{", "}", "[", "&", "*", "!", "|", "\t", "#", "?", "%", "'"),
        maxLength: 60,
      }),
      (text) => {
        for (const piece of cutDocuments(text)) {
          const read = readDocument(piece);
          const lines = text.split("\n").length + 1;
          const line = read.ok ? read.lineOf(["a", 0, "b"]) : (read.problem.line ?? 0);
          expect(line).toBeGreaterThanOrEqual(1);
          expect(line).toBeLessThanOrEqual(lines);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
