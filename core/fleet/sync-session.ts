// Owns: the serving side of one Sync stream: what its process has been sent, what it is due, one push in flight. Changes
// that come while a push is in flight join the next. A full list goes out in chunks, straight from the state, with
// nothing copied. Used by operators and, for their last state, by routers (sync-relay.ts).
// Elsewhere: accepting streams and reading their frames (operator/control-plane/sync-server.ts, sync-relay.ts).

import { create } from "@bufbuild/protobuf";
import type { Topic } from "../domain/topic.ts";
import {
  type Members,
  type Push,
  PushSchema,
  type ServiceAccountKeys,
  type ShardMap as ProtoShardMap,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { topicToRecord } from "./topic-codec.ts";

/** Topics of one push: some milliseconds to encode, and to apply. */
const TOPICS_PER_PUSH = 1_000;

/** What sessions send, shared by all of them. */
export interface SyncState {
  /** Keys of all Topics, live: those that come while it is walked are met too, those that go are not. */
  topicKeys(): Iterator<string>;
  topic(key: string): Topic | undefined;
  /** Of the newest change of a Topic; only grows. */
  topicsVersion(): number;
  /** Of the store where the Topics are kept, up to which they are complete here; 0: none. */
  topicsRevision(): bigint;
  /** Undefined while there is none. */
  map(): ProtoShardMap | undefined;
  /** Undefined while it is not known who is there. */
  members(): Members | undefined;
  /** Undefined while it is not known whose tokens count. */
  serviceAccountKeys(): ServiceAccountKeys | undefined;
}

interface InFlight {
  readonly pushId: bigint;
  /** The version of the Topics that the process has when this push is applied; undefined: more is still to come. */
  readonly version: number | undefined;
}

export class SyncSession {
  readonly #state: SyncState;
  readonly #send: (push: Push) => void;
  readonly wantsTopics: boolean;
  /** The rest of the full list; undefined when it is out. */
  #list: Iterator<string> | undefined;
  #isFirst = true;
  #topicsDue = new Set<string>();
  #mapDue = true;
  #membersDue = true;
  #keysDue = true;
  #releaseDue = false;
  #inFlight: InFlight | undefined;
  #appliedVersion = -1;
  #hasRefused = false;
  #pushId = 0n;

  constructor(state: SyncState, wantsTopics: boolean, send: (push: Push) => void) {
    this.#state = state;
    this.#send = send;
    this.wantsTopics = wantsTopics;
    if (wantsTopics) this.#list = state.topicKeys();
  }

  /** The version of the Topics that this process is known to have; -1 before its first full list, or once it refused a push. */
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

  serviceAccountKeysChanged(): void {
    this.#keysDue = true;
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
    const map = this.#mapDue ? this.#state.map() : undefined;
    const members = this.#membersDue ? this.#state.members() : undefined;
    const keys = this.#keysDue ? this.#state.serviceAccountKeys() : undefined;
    const topicsDue = this.#list !== undefined || this.#topicsDue.size > 0;
    const isDue = map !== undefined || members !== undefined || keys !== undefined || topicsDue || this.#releaseDue;
    if (!isDue) return undefined;
    this.#pushId += 1n;
    const push = create(PushSchema, { pushId: this.#pushId, released: this.#releaseDue });
    this.#releaseDue = false;
    if (topicsDue) this.#addTopics(push);
    if (map !== undefined) {
      push.shardMap = map;
      this.#mapDue = false;
    }
    if (members !== undefined) {
      push.members = members;
      this.#membersDue = false;
    }
    if (keys !== undefined) {
      push.serviceAccountKeys = keys;
      this.#keysDue = false;
    }
    const isComplete = this.wantsTopics && this.#list === undefined && this.#topicsDue.size === 0;
    if (topicsDue && isComplete) push.topicsRevision = this.#state.topicsRevision();
    this.#inFlight = { pushId: this.#pushId, version: isComplete ? this.#state.topicsVersion() : undefined };
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
    const topic = this.#state.topic(key);
    if (topic === undefined) push.removedTopics.push(key);
    else push.topics.push(topicToRecord(topic));
  }
}
