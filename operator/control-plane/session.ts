// Owns: one Sync stream: what its process has been sent, what it is due, one push in flight. Changes that come while a
// push is in flight join the next. A full list goes out in chunks, straight from the catalog, with nothing copied.
// Elsewhere: who is connected (processes.ts), accepting streams (sync-server.ts).

import { create } from "@bufbuild/protobuf";
import type { ShardMap } from "#core/domain/shard-map.ts";
import { topicToRecord } from "#core/fleet/topic-codec.ts";
import {
  type Members,
  type Push,
  PushSchema,
  type ShardMap as ProtoShardMap,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Catalog } from "./catalog.ts";

/** Topics of one push: some milliseconds to encode, and to apply. */
const TOPICS_PER_PUSH = 1_000;

/** What sessions send, shared by all of them. */
export interface SessionSource {
  readonly catalog: Catalog;
  readonly map: () => { readonly map: ShardMap; readonly proto: ProtoShardMap } | undefined;
  /** Undefined while a new operator does not know yet who is there. */
  readonly members: () => Members | undefined;
}

interface InFlight {
  readonly pushId: bigint;
  /** The catalog's version that the process has when this push is applied; undefined: more is still to come. */
  readonly version: number | undefined;
}

export class Session {
  readonly #source: SessionSource;
  readonly #send: (push: Push) => void;
  readonly wantsTopics: boolean;
  /** The rest of the full list; undefined when it is out. */
  #list: Iterator<string> | undefined;
  #isFirst = true;
  #topicsDue = new Set<string>();
  #mapDue = true;
  #membersDue = true;
  #releaseDue = false;
  #inFlight: InFlight | undefined;
  #appliedVersion = -1;
  #hasRefused = false;
  #pushId = 0n;

  constructor(source: SessionSource, wantsTopics: boolean, send: (push: Push) => void) {
    this.#source = source;
    this.#send = send;
    this.wantsTopics = wantsTopics;
    // A live iterator: Topics that come while it runs are met too, those that go are not.
    if (wantsTopics) this.#list = source.catalog.entries.keys();
  }

  /** The catalog's version that this process is known to have; -1 before its first full list, or once it refused a push. */
  get appliedVersion(): number {
    return this.#appliedVersion;
  }

  topicChanged(key: string): void {
    if (this.wantsTopics) this.#topicsDue.add(key);
    this.pump();
  }

  mapChanged(): void {
    this.#mapDue = true;
    this.pump();
  }

  membersChanged(): void {
    this.#membersDue = true;
    this.pump();
  }

  release(): void {
    this.#releaseDue = true;
    this.pump();
  }

  /** The process answered a push; `isApplied` false: it could not take it in. */
  answered(pushId: bigint, isApplied: boolean): void {
    if (this.#inFlight?.pushId !== pushId) return;
    const { version } = this.#inFlight;
    this.#inFlight = undefined;
    if (!isApplied) this.#hasRefused = true;
    if (this.#hasRefused) this.#appliedVersion = -1;
    else if (version !== undefined) this.#appliedVersion = version;
    this.pump();
  }

  /** Sends what is due, unless a push is in flight. */
  pump(): void {
    if (this.#inFlight !== undefined) return;
    const push = this.#compose();
    if (push !== undefined) this.#send(push);
  }

  #compose(): Push | undefined {
    const map = this.#mapDue ? this.#source.map() : undefined;
    const members = this.#membersDue ? this.#source.members() : undefined;
    const topicsDue = this.#list !== undefined || this.#topicsDue.size > 0;
    if (map === undefined && members === undefined && !topicsDue && !this.#releaseDue) return undefined;
    this.#pushId += 1n;
    const push = create(PushSchema, { pushId: this.#pushId, released: this.#releaseDue });
    this.#releaseDue = false;
    if (topicsDue) this.#addTopics(push);
    if (map !== undefined) {
      push.shardMap = map.proto;
      this.#mapDue = false;
    }
    if (members !== undefined) {
      push.members = members;
      this.#membersDue = false;
    }
    const isComplete = this.wantsTopics && this.#list === undefined && this.#topicsDue.size === 0;
    this.#inFlight = { pushId: this.#pushId, version: isComplete ? this.#source.catalog.version : undefined };
    return push;
  }

  #addTopics(push: Push): void {
    if (this.#list !== undefined) {
      push.topicsReset = this.#isFirst;
      this.#isFirst = false;
      while (push.topics.length < TOPICS_PER_PUSH) {
        const next = this.#list.next();
        if (next.done === true) {
          this.#list = undefined;
          push.topicsComplete = true;
          break;
        }
        this.#topicsDue.delete(next.value);
        this.#addTopic(push, next.value);
      }
      if (this.#list !== undefined) return;
    }
    for (const key of this.#topicsDue) {
      if (push.topics.length + push.removedTopics.length >= TOPICS_PER_PUSH) return;
      this.#topicsDue.delete(key);
      this.#addTopic(push, key);
    }
  }

  #addTopic(push: Push, key: string): void {
    const entry = this.#source.catalog.entries.get(key);
    if (entry === undefined) push.removedTopics.push(key);
    else push.topics.push(topicToRecord(entry.topic));
  }
}
