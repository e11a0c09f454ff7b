// Owns: the topics that somebody here listens to, by id and by the Topic that governs them.

import type { Topic } from "#core/domain/topic.ts";
import type { TopicId } from "#core/domain/topic-id.ts";
import { LocalTopic } from "./local-topic.ts";

export class LocalTopics {
  readonly #byId = new Map<string, LocalTopic>();
  readonly #byKey = new Map<string, Set<LocalTopic>>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): LocalTopic | undefined {
    return this.#byId.get(id);
  }

  all(): IterableIterator<LocalTopic> {
    return this.#byId.values();
  }

  /** Topic ids under a Topic, itself and its channels: a copy, so that they may go while it is walked. */
  under(key: string): readonly LocalTopic[] {
    return [...(this.#byKey.get(key) ?? [])];
  }

  obtain(topicId: TopicId, topic: Topic): LocalTopic {
    const known = this.#byId.get(topicId.id);
    if (known !== undefined) return known;
    const made = new LocalTopic(topicId, topic);
    this.#byId.set(topicId.id, made);
    const siblings = this.#byKey.get(topicId.topic);
    if (siblings === undefined) this.#byKey.set(topicId.topic, new Set([made]));
    else siblings.add(made);
    return made;
  }

  forget(topic: LocalTopic): void {
    if (this.#byId.get(topic.id) !== topic) return;
    topic.forgotten = true;
    this.#byId.delete(topic.id);
    const siblings = this.#byKey.get(topic.topicId.topic);
    siblings?.delete(topic);
    if (siblings?.size === 0) this.#byKey.delete(topic.topicId.topic);
  }
}
