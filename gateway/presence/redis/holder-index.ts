// Owns: the index of this gateway's holder: in which topics it has subscriptions, so that others find them when it is
// gone. Invariant: a topic is in the index before the first subscription is, and taken out after the last one; its number
// there grows, so that a removal that arrives late never takes out what was put in again. Called by redis-store.ts, one
// batch at a time. Elsewhere: reading it (reaper.ts).

import type { RedisConnection } from "./connection.ts";
import { indexKey } from "./keys.ts";

/** Topics without a subscription that may stay in the index: they cost a dead gateway's reaper one call each. */
const EMPTY_MAX = 256;

export class HolderIndex {
  readonly #connection: RedisConnection;
  readonly #prefix: string;
  #holder = "";
  #number = 0;
  /** Topics in the index, with their number. */
  readonly #topics = new Map<string, number>();
  readonly #empty = new Set<string>();

  constructor(connection: RedisConnection, prefix: string) {
    this.#connection = connection;
    this.#prefix = prefix;
  }

  get size(): number {
    return this.#topics.size;
  }

  /** Resolves when these topics are in the index of the holder. */
  async hold(holder: string, topicIds: readonly string[]): Promise<void> {
    this.#follow(holder);
    for (const topicId of topicIds) this.#empty.delete(topicId);
    const added = topicIds.filter((topicId) => !this.#topics.has(topicId));
    if (added.length > 0) {
      this.#number += 1;
      const number = this.#number;
      await this.#connection.raise(indexKey(this.#prefix, holder), number, added);
      for (const topicId of added) this.#topics.set(topicId, number);
    }
    if (this.#empty.size > EMPTY_MAX) await this.#dropEmpty(holder);
  }

  /** The holder has no subscription in it any more. */
  left(topicId: string): void {
    if (this.#topics.has(topicId)) this.#empty.add(topicId);
  }

  /** A new holder has an index of its own, which is empty. */
  #follow(holder: string): void {
    if (holder === this.#holder) return;
    this.#holder = holder;
    this.#topics.clear();
    this.#empty.clear();
  }

  async #dropEmpty(holder: string): Promise<void> {
    const numbered: (string | number)[] = [];
    for (const topicId of this.#empty) {
      numbered.push(topicId, this.#topics.get(topicId) ?? 0);
      this.#topics.delete(topicId);
    }
    this.#empty.clear();
    // What stays in the index by mistake costs the reaper a call, so that a failure here is none of the batch.
    await this.#connection.run("earshotUnindex", [indexKey(this.#prefix, holder)], numbered).catch(() => {});
  }
}
