// Owns: the Topics a process holds, and how pushes change them: deltas, and full lists that come in chunks. Whatever
// comes, listeners hear of differences only. Pure state: no stream, no timer; the caller decides when a slice is enough.
// Invariant: between `topics_reset` and `topics_complete` nothing that was known is gone, but for what a push removes.

import { MESSAGE_BYTES_DEFAULT } from "../domain/limits.ts";
import type { Topic, TopicPolicy } from "../domain/topic.ts";
import type { TopicRecord } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { TopicChange } from "./fleet.ts";
import { recordToTopic } from "./topic-codec.ts";

/** What one push says of Topics. */
export interface TopicPush {
  readonly topicsReset: boolean;
  readonly topics: readonly TopicRecord[];
  readonly removedTopics: readonly string[];
  readonly topicsComplete: boolean;
}

/** Policies remembered for sharing: most Topics of a fleet have one of a few, and a policy is half of a Topic's bytes. */
const SHARED_POLICIES_MAX = 256;

export class TopicTable {
  readonly #topics = new Map<string, Topic>();
  readonly #tell: (change: TopicChange) => void;
  readonly #policies = new Map<string, TopicPolicy>();
  readonly #namespaces = new Map<string, string>();
  /** Keys of the full list that is coming in; undefined between lists. */
  #listed: Set<string> | undefined;
  #complete = false;
  #largest: number | undefined = MESSAGE_BYTES_DEFAULT;

  constructor(tell: (change: TopicChange) => void) {
    this.#tell = tell;
  }

  get topics(): ReadonlyMap<string, Topic> {
    return this.#topics;
  }

  /** Whether a full list has ever ended. */
  get complete(): boolean {
    return this.#complete;
  }

  get largestMessageBytes(): number {
    if (this.#largest === undefined) {
      let largest = 0;
      for (const { policy } of this.#topics.values()) largest = Math.max(largest, policy.maxMessageBytes);
      this.#largest = largest === 0 ? MESSAGE_BYTES_DEFAULT : largest;
    }
    return this.#largest;
  }

  /** The list that was coming in will not end: its source is gone. What it brought so far stays. */
  abandonList(): void {
    this.#listed = undefined;
  }

  /**
   * Applies a push, yielding after every Topic looked at so that the caller may pause between any two. A Topic that
   * cannot be read keeps its last good state, and the others of the push count all the same; returns the first reason.
   */
  *apply(push: TopicPush): Generator<void, string | undefined> {
    let reason: string | undefined;
    if (push.topicsReset) this.#listed = new Set();
    for (const record of push.topics) {
      const topic = recordToTopic(record);
      if (topic.ok) this.#set(this.#share(topic.value));
      else {
        this.#listed?.add(`${record.namespace}.${record.name}`);
        reason ??= topic.reason;
      }
      yield;
    }
    for (const key of push.removedTopics) {
      this.#remove(key);
      yield;
    }
    if (push.topicsComplete) yield* this.#endList();
    return reason;
  }

  *#endList(): Generator<void, void> {
    const listed = this.#listed;
    if (listed === undefined) return;
    for (const key of this.#topics.keys()) {
      if (!listed.has(key)) this.#remove(key);
      yield;
    }
    this.#listed = undefined;
    this.#complete = true;
  }

  #set(topic: Topic): void {
    this.#listed?.add(topic.key);
    const before = this.#topics.get(topic.key);
    if (before !== undefined && same(before, topic)) return;
    this.#topics.set(topic.key, topic);
    this.#largest = undefined;
    this.#tell({ key: topic.key, before, after: topic });
  }

  #remove(key: string): void {
    this.#listed?.delete(key);
    const before = this.#topics.get(key);
    if (before === undefined) return;
    this.#topics.delete(key);
    this.#largest = undefined;
    this.#tell({ key, before, after: undefined });
  }

  #share(topic: Topic): Topic {
    return {
      ...topic,
      namespace: shared(this.#namespaces, topic.namespace, topic.namespace),
      policy: shared(this.#policies, JSON.stringify(topic.policy), topic.policy),
    };
  }
}

function shared<T>(cache: Map<string, T>, key: string, value: T): T {
  const known = cache.get(key);
  if (known !== undefined) return known;
  if (cache.size >= SHARED_POLICIES_MAX) cache.clear();
  cache.set(key, value);
  return value;
}

function same(a: Topic, b: Topic): boolean {
  return (
    a.createdAtMs === b.createdAtMs &&
    a.httpManaged === b.httpManaged &&
    (a.policy === b.policy || JSON.stringify(a.policy) === JSON.stringify(b.policy))
  );
}
