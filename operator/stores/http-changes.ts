// Owns: making, changing and deleting Topics over HTTP in standalone mode: the schema, what is stored already and the
// quota decide. Changes of one Topic happen one after the other, those of different ones side by side.

import { isDeepStrictEqual } from "node:util";
import type { TopicPolicy } from "#core/domain/topic.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { ObjectName } from "../schema/metadata.ts";
import type { HttpTopics } from "./http-topics.ts";
import { judgeChange } from "./judge-change.ts";
import type { StoredTopic } from "./topic-store.ts";

export interface HttpChangesOptions {
  readonly http: HttpTopics;
  /** Topics made over HTTP that there may be. */
  readonly max: number;
  readonly clock: Clock;
  /** The Topic of a key as it is in force, from wherever. */
  readonly inForce: (key: string) => StoredTopic | undefined;
  /** Brings what is stored into force. */
  readonly settle: (key: string) => void;
  /** Takes a Topic that is stored no more out of force. */
  readonly remove: (key: string) => void;
}

export class HttpChanges {
  readonly #options: HttpChangesOptions;
  /** The last change of each Topic that has one under way. */
  readonly #underWay = new Map<string, Promise<void>>();
  /** Topics that are being made: they count already. */
  #creating = 0;

  constructor(options: HttpChangesOptions) {
    this.#options = options;
  }

  create(name: ObjectName, policy: TopicPolicy): Promise<StoredTopic> {
    const { http, max, clock, inForce } = this.#options;
    return this.#inTurn(name, async () => {
      const manifest = judgeChange(name, policy, undefined);
      const { key } = manifest;
      if (inForce(key) !== undefined) throw new EarshotError("topic_exists", `Topic ${key} is there already`);
      if (http.topics.size + this.#creating >= max) {
        throw new EarshotError("quota_exceeded", `there are ${max} Topics made over HTTP, and no more may be`);
      }
      this.#creating += 1;
      try {
        await http.put(manifest, clock.now(), 1);
      } finally {
        this.#creating -= 1;
      }
      return this.#settled(key);
    });
  }

  update(name: ObjectName, changes: Partial<TopicPolicy>): Promise<StoredTopic> {
    const { http } = this.#options;
    return this.#inTurn(name, async () => {
      const { key, generation, createdAtMs, policy: before } = this.#changeable(name);
      const policy = { ...before, ...changes };
      const manifest = judgeChange(name, policy, before);
      if (!isDeepStrictEqual(before, policy)) await http.put(manifest, createdAtMs, generation + 1);
      return this.#settled(key);
    });
  }

  delete(name: ObjectName): Promise<void> {
    const { http, remove } = this.#options;
    return this.#inTurn(name, async () => {
      const { key } = this.#changeable(name);
      await http.remove(key);
      remove(key);
    });
  }

  /** Resolves when nothing is under way. */
  async finished(): Promise<void> {
    await Promise.all(this.#underWay.values());
  }

  #settled(key: string): StoredTopic {
    this.#options.settle(key);
    const topic = this.#options.inForce(key);
    if (topic === undefined) throw new EarshotError("topic_not_found", `Topic ${key} is gone`);
    return topic;
  }

  #changeable({ namespace, name }: ObjectName): StoredTopic {
    const key = `${namespace}.${name}`;
    const topic = this.#options.inForce(key);
    if (topic === undefined) throw new EarshotError("topic_not_found");
    if (!topic.httpManaged) {
      throw new EarshotError("forbidden", `Topic ${key} is kept in a manifest, and is changed there alone`);
    }
    return topic;
  }

  #inTurn<T>({ namespace, name }: ObjectName, work: () => Promise<T>): Promise<T> {
    const key = `${namespace}.${name}`;
    const done = (this.#underWay.get(key) ?? Promise.resolve()).then(work);
    const finished = done.then(
      () => undefined,
      () => undefined,
    );
    this.#underWay.set(key, finished);
    void finished.then(() => {
      if (this.#underWay.get(key) === finished) this.#underWay.delete(key);
    });
    return done;
  }
}
