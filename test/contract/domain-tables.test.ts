// The tables of core/domain against what they repeat: the CRD's defaults and bounds, and the contract's list of codes.

import { expect, test } from "vitest";
import { CLOSES } from "#core/domain/closes.ts";
import { CODES, UNSUBSCRIBE_REASONS } from "#core/domain/codes.ts";
import {
  BATCH_WINDOW_MS_MAX,
  MESSAGE_BYTES_MAX,
  SUBJECT_NAME_LENGTH_MAX,
  SUBJECTS_MAX,
  TOPIC_NAME_BYTES_MAX,
} from "#core/domain/limits.ts";
import { POLICY_DEFAULTS } from "#core/domain/topic.ts";
import { NAME_LENGTH_MAX } from "#core/edge/claims.ts";
import { readCustomResource, type SchemaNode } from "../../operator/schema/crd.ts";
import { judgeTopic } from "../../operator/schema/judge.ts";

const { apiVersion, kind, schema } = readCustomResource("topics.earshot.dev");

function at(...path: string[]): SchemaNode {
  let node: SchemaNode | undefined = schema;
  for (const name of ["spec", ...path]) node = node?.properties?.[name];
  if (node === undefined) throw new Error(`the CRD has no spec.${path.join(".")}`);
  return node;
}

test("what a Topic says that says nothing is the same in the code and in the CRD", () => {
  const verdict = judgeTopic({ apiVersion, kind, metadata: { namespace: "shop", name: "plain" } }, () => undefined);
  expect(verdict).toMatchObject({ ok: true, manifest: { policy: POLICY_DEFAULTS } });
  expect(Object.keys(POLICY_DEFAULTS).sort()).toEqual(
    [
      ...Object.keys(at().properties ?? {}).filter((name) => name !== "delivery" && name !== "limits"),
      ...Object.keys(at("delivery").properties ?? {}),
      ...Object.keys(at("limits").properties ?? {}),
    ].sort(),
  );
});

test("the bounds of the CRD are those of the code", () => {
  expect(at("delivery", "maxMessageBytes").maximum).toBe(MESSAGE_BYTES_MAX);
  expect(at("delivery", "batchWindowMilliseconds").maximum).toBe(BATCH_WINDOW_MS_MAX);
  expect(at("publishers").maxItems).toBe(SUBJECTS_MAX);
  expect(at("subscribers").maxItems).toBe(SUBJECTS_MAX);
  expect(at("publishers").items?.properties?.["name"]?.maxLength).toBe(SUBJECT_NAME_LENGTH_MAX);
  expect(NAME_LENGTH_MAX).toBe(SUBJECT_NAME_LENGTH_MAX);
  expect(schema["x-kubernetes-validations"]?.[0]?.rule).toBe(`size(self.metadata.name) <= ${TOPIC_NAME_BYTES_MAX}`);
});

/** HTTP and gRPC status of every code, as the contract lists them. */
const LISTED: Readonly<Record<string, readonly [number, number]>> = {
  invalid_request: [422, 3],
  invalid_json: [400, 3],
  unauthenticated: [401, 16],
  token_expired: [401, 16],
  forbidden: [403, 7],
  quota_exceeded: [403, 8],
  topic_not_found: [404, 5],
  topic_exists: [409, 6],
  presence_not_kept: [409, 9],
  message_too_large: [413, 3],
  topic_name_invalid: [422, 3],
  topic_id_invalid: [422, 3],
  namespace_not_served: [422, 3],
  rate_limited: [429, 8],
  backpressure: [429, 8],
  topic_full: [429, 8],
  publish_unknown: [502, 2],
  control_plane_unavailable: [503, 14],
  shard_unavailable: [503, 14],
  presence_unavailable: [503, 14],
  overloaded: [503, 14],
  draining: [503, 14],
};

test("the codes are those of the contract, with their statuses, no more and no fewer", () => {
  const ours = Object.fromEntries(Object.entries(CODES).map(([code, { http, grpc }]) => [code, [http, grpc]]));
  expect(ours).toEqual(LISTED);
});

test("what is retryable did nothing: 429 and 503 alone, and never a publish whose end is unknown", () => {
  for (const [code, { http, retryable }] of Object.entries(CODES)) {
    expect(retryable, code).toBe(http === 429 || http === 503);
  }
});

test("a close code of an error is in the table of closes", () => {
  for (const [code, entry] of Object.entries(CODES)) {
    if ("close" in entry) expect(Object.keys(CLOSES), code).toContain(String(entry.close));
  }
});

test("the reasons of unsubscribed are those of the contract", () => {
  expect(Object.keys(UNSUBSCRIBE_REASONS)).toEqual([
    "requested",
    "topic_deleted",
    "permission_changed",
    "token_expired",
    "removed",
  ]);
});
