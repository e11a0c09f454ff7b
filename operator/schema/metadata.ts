// Owns: judging `metadata` as the API server does for any object (names by RFC 1123, label and annotation types), since a
// CRD's schema may not. Fields that the API server fills in are known and ignored.

import { NAMESPACE_BYTES_MAX } from "#core/domain/limits.ts";
import { namespaceProblem } from "#core/domain/topic-id.ts";
import { type FieldPath, type Problem, quote } from "./problem.ts";

export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

/** Where a manifest names no namespace, as `kubectl apply` without -n. */
const DEFAULT_NAMESPACE = "default";

/** Bytes of an object's name (RFC 1123 subdomain). */
const OBJECT_NAME_BYTES_MAX = 253;

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** metav1.ObjectMeta. */
const FIELDS: ReadonlySet<string> = new Set([
  "name",
  "namespace",
  "labels",
  "annotations",
  "generateName",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "finalizers",
  "ownerReferences",
  "managedFields",
  "selfLink",
]);

/** The object's name where it can be told, and what is wrong with its metadata. */
export function checkMetadata(manifest: unknown): { name: ObjectName | undefined; problems: readonly Problem[] } {
  const metadata = (manifest as { metadata?: unknown }).metadata;
  if (!isMapping(metadata)) {
    const problem: Problem = { path: ["metadata", "name"], message: "must be set" };
    const isThere = metadata !== undefined && metadata !== null;
    return { name: undefined, problems: [isThere ? wrongType(["metadata"], "a mapping") : problem] };
  }
  const problems: Problem[] = [];
  for (const field of Object.keys(metadata)) {
    if (!FIELDS.has(field)) problems.push({ path: ["metadata", field], message: "is not a field of metadata" });
  }
  for (const field of ["labels", "annotations"] as const) problems.push(...checkTexts(field, metadata[field]));
  const { name } = metadata;
  // To kubectl null and "" are the same as nothing.
  const namespace = (metadata["namespace"] ?? "") === "" ? DEFAULT_NAMESPACE : metadata["namespace"];
  const nameProblem = objectNameProblem(name);
  if (nameProblem !== undefined) problems.push({ path: ["metadata", "name"], message: nameProblem });
  const space = typeof namespace === "string" && namespaceProblem(namespace) === undefined ? namespace : undefined;
  if (space === undefined) {
    const right = `must be a lowercase DNS label of 1 to ${NAMESPACE_BYTES_MAX} characters (a-z 0-9 -)`;
    problems.push({ path: ["metadata", "namespace"], message: `${right}, not ${quote(namespace)}` });
  }
  const known = nameProblem === undefined && space !== undefined;
  return { name: known ? { namespace: space, name: name as string } : undefined, problems };
}

function objectNameProblem(name: unknown): string | undefined {
  if (name === undefined || name === null || name === "") return "must be set";
  if (typeof name === "string" && name.length <= OBJECT_NAME_BYTES_MAX && SUBDOMAIN.test(name)) return undefined;
  return `must be a lowercase DNS name of 1 to ${OBJECT_NAME_BYTES_MAX} characters (a-z 0-9 - .), not ${quote(name)}`;
}

function checkTexts(field: string, value: unknown): readonly Problem[] {
  if (value === undefined || value === null) return [];
  if (!isMapping(value)) return [wrongType(["metadata", field], "a mapping of strings")];
  return Object.entries(value)
    .filter(([, text]) => typeof text !== "string")
    .map(([key]) => wrongType(["metadata", field, key], "a string (put it in quotes)"));
}

function wrongType(path: FieldPath, right: string): Problem {
  return { path, message: `must be ${right}` };
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
