// Owns: which topic ids are hot: on at the threshold, off when they have been below 80 % of it for a minute, so that a
// topic at the edge does not flicker. Tells it by a metric, one log line each way, and this router's reports, which name
// Topics and never channels. Elsewhere: the condition Hot on the Topic (operator).

import { HOT_OFF_PART } from "#core/domain/limits.ts";
import type { Log } from "#core/runtime/log.ts";
import type { TopicEntry } from "../interest.ts";
import type { Placement } from "../placement.ts";

export interface HotTopic {
  readonly topic: string;
  readonly subscriptions: number;
}

/** Milliseconds below it until a topic is hot no more. */
const COOLING_MS = 60_000;

/** Topic ids that are hot at once: 1,000 subscriptions each are more than a fleet of routers holds. */
const HOT_MAX = 10_000;

/** Topics in one report. */
const REPORTED_MAX = 1_000;

interface Hot {
  readonly entry: TopicEntry<unknown>;
  coolingSinceMs: number | undefined;
}

export interface HotTopicsOptions {
  readonly onSubscriptions: number;
  readonly placement: Placement;
  readonly log: Log;
  /** The reports would be other than before. */
  readonly changed: () => void;
}

export class HotTopics {
  readonly #options: HotTopicsOptions;
  readonly #hot = new Map<string, Hot>();

  constructor(options: HotTopicsOptions) {
    this.#options = options;
  }

  /** Topic ids that are hot and of which this router is primary. */
  get size(): number {
    let size = 0;
    for (const { entry } of this.#hot.values()) if (this.#isPrimary(entry)) size += 1;
    return size;
  }

  /** A topic's total changed. */
  changed(entry: TopicEntry<unknown>, nowMs: number): void {
    const { onSubscriptions, log, changed } = this.#options;
    const hot = this.#hot.get(entry.id);
    if (hot === undefined) {
      if (entry.total < onSubscriptions || this.#hot.size >= HOT_MAX) return;
      this.#hot.set(entry.id, { entry, coolingSinceMs: undefined });
      if (this.#isPrimary(entry)) {
        log.info({ topic: entry.topicKey, subscriptions: entry.total }, "topic became hot");
      }
      changed();
      return;
    }
    // An entry that was forgotten meanwhile has a successor.
    if (hot.entry !== entry) this.#hot.set(entry.id, { entry, coolingSinceMs: hot.coolingSinceMs });
    const now = this.#hot.get(entry.id) ?? hot;
    if (entry.total >= onSubscriptions * HOT_OFF_PART) now.coolingSinceMs = undefined;
    else now.coolingSinceMs ??= nowMs;
  }

  /** Called once a second. */
  sweep(nowMs: number): void {
    for (const [id, { entry, coolingSinceMs }] of this.#hot) {
      if (coolingSinceMs === undefined || nowMs - coolingSinceMs < COOLING_MS) continue;
      this.#hot.delete(id);
      if (this.#isPrimary(entry)) {
        this.#options.log.info({ topic: entry.topicKey, subscriptions: entry.total }, "topic is hot no more");
      }
      this.#options.changed();
    }
  }

  /** Topics with a hot topic id of which this router is primary, each with the largest of them. */
  report(): readonly HotTopic[] {
    const topics = new Map<string, number>();
    for (const { entry } of this.#hot.values()) {
      if (!this.#isPrimary(entry)) continue;
      topics.set(entry.topicKey, Math.max(topics.get(entry.topicKey) ?? 0, entry.total));
    }
    return [...topics].slice(0, REPORTED_MAX).map(([topic, subscriptions]) => ({ topic, subscriptions }));
  }

  #isPrimary(entry: TopicEntry<unknown>): boolean {
    return this.#options.placement.partOfShard(entry.shard) === "primary";
  }
}
