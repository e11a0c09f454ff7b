// Owns: what a topic id is. Every door parses what it was given through parseTopicId; nothing else splits one.
// Invariant: a TopicId's `id` is exactly the string it was parsed from.

import { CHANNEL_BYTES_MAX, NAMESPACE_BYTES_MAX, TOPIC_NAME_BYTES_MAX } from "./limits.ts";

/** The parts of `<namespace>.<name>` or `<namespace>.<name>:<channel>`. */
export interface TopicId {
  /** The whole id, as it goes over the wire. */
  readonly id: string;
  /** `<namespace>.<name>`: the key of the Topic that governs it. */
  readonly topic: string;
  readonly namespace: string;
  readonly name: string;
  /** Absent for the Topic's own id. */
  readonly channel: string | undefined;
}

export type TopicIdResult =
  | { readonly ok: true; readonly value: TopicId }
  | { readonly ok: false; readonly reason: string };

// RFC 1123 label and subdomain, as Kubernetes checks metadata.namespace and metadata.name.
const NAMESPACE = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const CHANNEL = /^[A-Za-z0-9\-_.~:]+$/;

/** Longest topic id there can be, in characters (all of them ASCII). */
const LENGTH_MAX = NAMESPACE_BYTES_MAX + 1 + TOPIC_NAME_BYTES_MAX + 1 + CHANNEL_BYTES_MAX;

/**
 * Parses a topic id. A namespace has no dot, so the first dot ends it; a name has no colon, so the first colon after
 * the dot starts the channel.
 */
export function parseTopicId(id: string): TopicIdResult {
  if (id.length > LENGTH_MAX) return refuse(`a topic id has at most ${LENGTH_MAX} characters, this has ${id.length}`);
  const dot = id.indexOf(".");
  if (dot < 0) return refuse("a topic id is <namespace>.<name>, this has no dot");
  const namespace = id.slice(0, dot);
  const colon = id.indexOf(":", dot);
  const name = id.slice(dot + 1, colon < 0 ? undefined : colon);
  const bad = namespaceProblem(namespace) ?? nameProblem(name);
  if (bad !== undefined) return refuse(bad);
  if (colon < 0) return { ok: true, value: { id, topic: id, namespace, name, channel: undefined } };
  const channel = id.slice(colon + 1);
  if (channel.length < 1 || channel.length > CHANNEL_BYTES_MAX) {
    return refuse(`a channel has 1 to ${CHANNEL_BYTES_MAX} characters, this has ${channel.length}`);
  }
  if (!CHANNEL.test(channel)) return refuse("a channel is made of A-Z a-z 0-9 - _ . ~ :");
  return { ok: true, value: { id, topic: id.slice(0, colon), namespace, name, channel } };
}

/** What is wrong with a namespace, or undefined. */
export function namespaceProblem(namespace: string): string | undefined {
  if (namespace.length > 0 && namespace.length <= NAMESPACE_BYTES_MAX && NAMESPACE.test(namespace)) return undefined;
  return `a namespace is a lowercase DNS label of 1 to ${NAMESPACE_BYTES_MAX} characters (a-z 0-9 -)`;
}

/** What is wrong with a Topic's name, or undefined. */
export function nameProblem(name: string): string | undefined {
  if (name.length > 0 && name.length <= TOPIC_NAME_BYTES_MAX && NAME.test(name)) return undefined;
  return `a Topic's name is a lowercase DNS name of 1 to ${TOPIC_NAME_BYTES_MAX} characters (a-z 0-9 - .)`;
}

function refuse(reason: string): TopicIdResult {
  return { ok: false, reason };
}
