// Owns: reading what the API server sends of objects: one event of a watch, one page of a list. What nobody here reads and
// makes objects twice as large (managedFields, kubectl's copy of the last applied manifest) is left out.

import { KubeError, type KubeMetadata, type KubeObject } from "./api.ts";

export type WatchEvent<T extends KubeObject> =
  | { readonly type: "upsert" | "delete"; readonly object: T; readonly revision: bigint }
  /** Everything up to `revision` has been told; `isListEnd`: so has everything that was there at the start. */
  | { readonly type: "bookmark"; readonly revision: bigint; readonly isListEnd: boolean };

export interface Page<T extends KubeObject> {
  readonly items: readonly T[];
  readonly revision: bigint;
  /** Where the next page begins; undefined: this was the last. */
  readonly next: string | undefined;
}

const LIST_END = "k8s.io/initial-events-end";
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** Throws KubeError where it is an error that the server tells, Error where it cannot be read. */
export function parseEvent<T extends KubeObject>(line: string): WatchEvent<T> {
  const { type, object } = JSON.parse(line) as { readonly type?: unknown; readonly object?: unknown };
  if (type === "ERROR") throw toldError(object);
  // What kind of objects a path has is its caller's to know; what they hold, its to parse.
  const known = parseObject(object) as T;
  const revision = revisionOf(known.metadata);
  switch (type) {
    case "ADDED":
    case "MODIFIED":
      return { type: "upsert", object: known, revision };
    case "DELETED":
      return { type: "delete", object: known, revision };
    case "BOOKMARK":
      return { type: "bookmark", revision, isListEnd: known.metadata.annotations?.[LIST_END] === "true" };
    default:
      throw new Error("the watch brought an event of an unknown type");
  }
}

/** Throws where it is no list. */
export function parsePage<T extends KubeObject>(answer: unknown): Page<T> {
  const { items, metadata, apiVersion, kind } = answer as {
    readonly items?: unknown;
    readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
    readonly apiVersion?: string;
    readonly kind?: string;
  };
  if (!Array.isArray(items) || metadata === undefined) throw new Error("the API server answered with what is no list");
  // In a list, objects of built-in types do not say what they are.
  const type = { ...(apiVersion === undefined ? {} : { apiVersion }), kind: (kind ?? "").replace(/List$/, "") };
  const next = metadata.continue === "" ? undefined : metadata.continue;
  return {
    items: items.map((item) => ({ ...type, ...parseObject(item) }) as T),
    revision: revisionOf({ name: "", ...metadata }),
    next,
  };
}

export function revisionOf({ resourceVersion = "" }: KubeMetadata): bigint {
  if (!/^\d{1,20}$/.test(resourceVersion)) throw new Error("an object has no resourceVersion that is a number");
  return BigInt(resourceVersion);
}

/** `<namespace>/<name>`, or `<name>` of what has no namespace. */
export function keyOf({ metadata: { namespace, name } }: KubeObject): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function parseObject(object: unknown): KubeObject {
  const known = object as { readonly metadata?: KubeMetadata & { readonly managedFields?: unknown } } | null;
  if (typeof known?.metadata !== "object") throw new Error("an object has no metadata");
  const { managedFields: _, annotations, ...metadata } = known.metadata;
  return { ...known, metadata: { ...metadata, ...shortened(annotations) } };
}

function shortened(annotations: KubeMetadata["annotations"]): Pick<KubeMetadata, "annotations"> {
  if (annotations === undefined) return {};
  if (annotations[LAST_APPLIED] === undefined) return { annotations };
  const { [LAST_APPLIED]: _, ...rest } = annotations;
  return { annotations: rest };
}

function toldError(status: unknown): KubeError {
  const { code, reason, message, details } = (status ?? {}) as {
    readonly code?: number;
    readonly reason?: string;
    readonly message?: string;
    readonly details?: { readonly retryAfterSeconds?: number };
  };
  const seconds = details?.retryAfterSeconds;
  return new KubeError(message ?? "the watch ended with an error", {
    status: code ?? 500,
    reason: reason ?? "Unknown",
    retryAfterMs: seconds === undefined ? undefined : seconds * 1_000,
  });
}
