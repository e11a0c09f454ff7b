// Owns: what the operator asks of wherever Topics are kept: a folder of manifests (folder-topic-store.ts), or Kubernetes.
// A store tells what is wanted, as manifests say it; ceilings of the installation are applied by who reads (catalog.ts).

import type { TopicPolicy } from "#core/domain/topic.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { TopicStatus } from "../reconcile/conditions.ts";
import type { ObjectName } from "../schema/metadata.ts";

export interface StoredTopic extends ObjectName {
  /** `<namespace>.<name>` */
  readonly key: string;
  readonly createdAtMs: number;
  readonly httpManaged: boolean;
  /** Grows by one with every change of the policy. */
  readonly generation: number;
  /** Of the store, when this generation came; 0: the store has no revisions. */
  readonly revision: bigint;
  readonly policy: TopicPolicy;
  /** A newer manifest of it that is wrong, in one line; undefined: none. The policy is then the last good one. */
  readonly rejected: string | undefined;
}

export interface TopicStore extends Component {
  /** Resolves when the first list is complete. Throws ConfigError where there is nothing to read from. */
  start(): Promise<void>;
  readonly topics: ReadonlyMap<string, StoredTopic>;
  /** Up to which `topics` is complete; 0: the store has no revisions, and no other operator reads it. */
  readonly revision: bigint;
  /** What of these Topics is open, for metrics. */
  readonly sizes: { readonly files: number; readonly httpTopics: number };
  /** Called with the key of every Topic that came, changed or went, after it did. */
  onChange(listener: (key: string) => void): Unlisten;
  /** Makes a Topic as HTTP and gRPC do. Throws topic_exists, quota_exceeded, topic_name_invalid, invalid_request... */
  create(name: ObjectName, policy: TopicPolicy): Promise<StoredTopic>;
  /**
   * Changes those fields that `changes` has, of what is stored at that moment: of two changes at once neither is lost.
   * Throws topic_not_found, forbidden (not made over HTTP), invalid_request...
   */
  update(name: ObjectName, changes: Partial<TopicPolicy>): Promise<StoredTopic>;
  /** Throws topic_not_found, forbidden (not made over HTTP)... */
  delete(name: ObjectName): Promise<void>;
  /** What the last status of a Topic was, as far as the store remembers. */
  statusOf(key: string): TopicStatus | undefined;
  /** Takes a status to write; returns at once. */
  putStatus(key: string, status: TopicStatus): void;
}
