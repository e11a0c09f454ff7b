// Owns: a Topic object of the Kubernetes API (crds/topics.earshot.dev.yaml) in our words, and back. Pure.
// Whether a spec may be is the API server's to decide; one that it took and this version cannot read (a newer CRD beside
// an older operator) is told by its reason. Elsewhere: where objects come from (kube-topic-store.ts).

import type { TopicPolicy } from "#core/domain/topic.ts";
import type { KubeObject } from "../kube/api.ts";
import type { Condition, TopicStatus } from "../reconcile/conditions.ts";
import { readSpec, TOPIC_API_VERSION, TOPIC_KIND, type TopicSpec } from "../schema/judge.ts";
import type { StoredTopic } from "./topic-store.ts";

export interface TopicObject extends KubeObject {
  readonly spec?: unknown;
  readonly status?: {
    readonly observedGeneration?: number;
    readonly topicId?: string;
    readonly controllerName?: string;
    readonly conditions?: readonly Condition[];
  };
}

/** Marks Topics that were made over HTTP or gRPC: only these may be changed there. */
export const MADE_OVER_HTTP = { label: "earshot.dev/made-over", value: "http" } as const;

/** `<namespace>.<name>` */
function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace}.${metadata.name}`;
}

/** Of the Topics of one namespace, or of all. */
export function topicsPath(namespace: string | undefined): string {
  const all = "/apis/earshot.dev/v1alpha1";
  return namespace === undefined ? `${all}/topics` : `${all}/namespaces/${namespace}/topics`;
}

/** As an informer names it. */
export function objectKeyOf(key: string): string {
  const dot = key.indexOf(".");
  return `${key.slice(0, dot)}/${key.slice(dot + 1)}`;
}

export function generationOf({ metadata }: KubeObject): number {
  return metadata.generation ?? 0;
}

function revisionOf({ metadata }: KubeObject): bigint {
  return BigInt(metadata.resourceVersion ?? "0");
}

export type ReadTopic =
  | { readonly ok: true; readonly topic: StoredTopic }
  /** One line. */
  | { readonly ok: false; readonly reason: string };

/** `before`: the Topic as it was read last. What does not change its policy makes no new revision of it. */
export function readTopic(object: TopicObject, before: StoredTopic | undefined): ReadTopic {
  const { namespace = "", name, labels, creationTimestamp } = object.metadata;
  const generation = generationOf(object);
  const isKnown = before !== undefined && before.generation === generation && before.rejected === undefined;
  const read = isKnown ? { ok: true as const, policy: before.policy } : readSpec(object.spec ?? {});
  if (!read.ok && before === undefined) return read;
  const topic: StoredTopic = {
    key: keyOf(object),
    namespace,
    name,
    createdAtMs: creationTimestamp === undefined ? 0 : Date.parse(creationTimestamp),
    httpManaged: labels?.[MADE_OVER_HTTP.label] === MADE_OVER_HTTP.value,
    generation,
    revision: isKnown ? before.revision : revisionOf(object),
    // The last good one stays in force.
    policy: read.ok ? read.policy : (before as StoredTopic).policy,
    rejected: read.ok ? undefined : read.reason,
  };
  return { ok: true, topic };
}

/** Specs and lists of conditions remembered for sharing: most Topics of an installation have one of a few. */
const SHARED_MAX = 512;
const shared = new Map<string, unknown>();

/** The same object for parts that say the same; nobody changes them. */
function share<T>(part: T): T {
  if (part === undefined) return part;
  const text = JSON.stringify(part);
  const known = shared.get(text);
  if (known !== undefined) return known as T;
  if (shared.size >= SHARED_MAX) shared.clear();
  shared.set(text, part);
  return part;
}

/** What an operator reads of a Topic object and nothing else, with what many have alike kept once: a fifth of the memory. */
export function slimTopic({ metadata, spec, status }: TopicObject): TopicObject {
  const { name, namespace, uid, resourceVersion, generation, creationTimestamp, labels } = metadata;
  const madeOver = labels?.[MADE_OVER_HTTP.label];
  const slim = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(generation === undefined ? {} : { generation }),
    ...(creationTimestamp === undefined ? {} : { creationTimestamp: share(creationTimestamp) }),
    ...(madeOver === undefined ? {} : { labels: share({ [MADE_OVER_HTTP.label]: madeOver }) }),
  };
  if (status === undefined) return { metadata: slim, spec: share(spec) };
  const { controllerName, conditions } = status;
  const told = {
    ...status,
    ...(controllerName === undefined ? {} : { controllerName: share(controllerName) }),
    ...(conditions === undefined ? {} : { conditions: share(conditions) }),
  };
  return { metadata: slim, spec: share(spec), status: told };
}

/** The status that an operator wrote; undefined: none has yet. */
export function readStatus({ status }: TopicObject): TopicStatus | undefined {
  if (status?.topicId === undefined) return undefined;
  const { observedGeneration = 0, topicId, conditions = [] } = status;
  return { observedGeneration, topicId, conditions };
}

/** What is applied to the status subresource (server-side apply: its fields are this operator's). */
export function statusPatch(object: TopicObject, status: TopicStatus, controllerName: string): unknown {
  const { namespace, name, uid } = object.metadata;
  return {
    apiVersion: TOPIC_API_VERSION,
    kind: TOPIC_KIND,
    // Never to another object that has taken the name meanwhile.
    metadata: { namespace, name, uid },
    status: { ...status, controllerName },
  };
}

/** Those fields of `spec` that a change of the policy names, as a JSON merge patch. */
export function specPatch(changes: Partial<TopicPolicy>): Partial<TopicSpec> {
  const { permissions, owner, publishers, subscribers, channels, presence, ...rest } = changes;
  const { slowConsumer, maxMessageBytes, batchWindowMilliseconds, priority, ...limits } = rest;
  const delivery = { slowConsumer, maxMessageBytes, batchWindowMilliseconds, priority };
  // What is undefined is not in the JSON, and so not in the patch.
  return { permissions, owner, publishers, subscribers, channels, presence, delivery, limits } as Partial<TopicSpec>;
}
