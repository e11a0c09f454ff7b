// Owns: Topics in the order of their ids, page by page. A cursor names the last id that was looked at, so pages neither
// skip nor repeat a Topic that was there all the time, whatever comes and goes between them.

import type { Topic } from "../domain/topic.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { EarshotError } from "../runtime/errors.ts";

/** Topics looked at before other work gets its turn: about a millisecond's worth. */
const SLICE = 2_000;

const CURSOR_VERSION = "1:";

interface TopicPage {
  readonly topics: readonly Topic[];
  readonly nextCursor: string | undefined;
}

export class TopicList {
  readonly #fleet: Pick<Fleet, "topic" | "topics">;
  readonly #unlisten: () => void;
  /** Sorted; undefined until somebody asks. */
  #keys: string[] | undefined;

  constructor(fleet: Pick<Fleet, "topic" | "topics" | "onTopic">) {
    this.#fleet = fleet;
    this.#unlisten = fleet.onTopic(({ key, before, after }) => {
      if (this.#keys === undefined || (before === undefined) === (after === undefined)) return;
      const index = firstNotBelow(this.#keys, key);
      const there = this.#keys[index] === key;
      if (after === undefined && there) this.#keys.splice(index, 1);
      else if (after !== undefined && !there) this.#keys.splice(index, 0, key);
    });
  }

  /** Up to `limit` Topics that `wanted` lets through, behind `cursor`. Throws invalid_request for a cursor not ours. */
  async page(wanted: (topic: Topic) => boolean, limit: number, cursor: string | undefined): Promise<TopicPage> {
    let after = cursor === undefined ? undefined : keyOf(cursor);
    const topics: Topic[] = [];
    for (;;) {
      const keys = (this.#keys ??= [...this.#fleet.topics.keys()].sort());
      const start = after === undefined ? 0 : firstAbove(keys, after);
      const end = Math.min(keys.length, start + SLICE);
      for (let index = start; index < end; index++) {
        const key = keys[index] ?? "";
        const topic = this.#fleet.topic(key);
        if (topic === undefined || !wanted(topic)) continue;
        // One more than the page holds: only then is there a next one.
        if (topics.length === limit) return { topics, nextCursor: cursorOf(topics) };
        topics.push(topic);
      }
      if (end === keys.length) return { topics, nextCursor: undefined };
      after = keys[end - 1];
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
    }
  }

  close(): void {
    this.#unlisten();
    this.#keys = undefined;
  }
}

function cursorOf(topics: readonly Topic[]): string | undefined {
  const last = topics.at(-1);
  return last === undefined ? undefined : Buffer.from(CURSOR_VERSION + last.key).toString("base64url");
}

function keyOf(cursor: string): string {
  const text = cursor.length <= 512 ? Buffer.from(cursor, "base64url").toString("utf8") : "";
  if (text.startsWith(CURSOR_VERSION)) return text.slice(CURSOR_VERSION.length);
  throw new EarshotError("invalid_request", "cursor must be a next_cursor of an answer before", { field: "cursor" });
}

/** Index of the first key >= `key`. */
function firstNotBelow(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function firstAbove(keys: readonly string[], key: string): number {
  const index = firstNotBelow(keys, key);
  return keys[index] === key ? index + 1 : index;
}
