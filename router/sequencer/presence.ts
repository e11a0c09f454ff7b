// Owns: presence frames after the first: at most one a second and topic, only where somebody asked for presence. Members:
// what changed since the last frame, merged per user by the store's versions, so that the last word on each is in it,
// whatever order the gateways' updates took. Count: the number of subscriptions, when it changed.
// Invariant: the last word is told even where it takes back the one before it: somebody may have been given a first list
// in between, and knows that one.
// Elsewhere: who is a member (the presence store), the first frame of a subscription (gateway/presence/frames.ts).

import { PRESENCE_PAGE_MAX } from "#core/domain/limits.ts";
import type { Presence } from "#core/domain/topic.ts";
import type { PresenceMember, PresenceUpdate } from "#core/fleet/publish-order.ts";
import type { TopicEntry } from "../interest.ts";
import { countFrame, membersFrame } from "./envelope.ts";

/** Milliseconds between two presence frames of a topic. */
const PRESENCE_INTERVAL_MS = 1_000;

/** Frames built in one sweep: a few milliseconds; the others come in the next. */
const FRAMES_PER_SWEEP = 2_000;

/** Users that a frame lists as changed; beyond it carries the numbers alone. */
const CHANGES_MAX = PRESENCE_PAGE_MAX;

interface UserChange {
  readonly version: number;
  readonly kind: "joined" | "left";
  readonly member: PresenceMember;
}

interface Members {
  count: number;
  version: number;
  /** Undefined: too many to list. */
  users: Map<string, UserChange> | undefined;
}

export interface PresenceFramesOptions<Link> {
  readonly presenceOf: (topicKey: string) => Presence;
  readonly emit: (entry: TopicEntry<Link>, frame: string) => void;
}

export class PresenceFrames<Link> {
  readonly #options: PresenceFramesOptions<Link>;
  /** Topics with something to tell; without Members: their number of subscriptions. */
  readonly #due = new Map<TopicEntry<Link>, Members | undefined>();

  constructor(options: PresenceFramesOptions<Link>) {
    this.#options = options;
  }

  /** Topic ids with something to tell. */
  get size(): number {
    return this.#due.size;
  }

  /** Whether changes of a member list wait to be told: who leaves must tell them first, since nobody else will. */
  get membersDue(): boolean {
    for (const members of this.#due.values()) if (members !== undefined) return true;
    return false;
  }

  /** A member list changed. Somebody must have asked for presence of it. */
  update(entry: TopicEntry<Link>, update: PresenceUpdate): void {
    const members = this.#due.get(entry) ?? { count: update.count, version: update.version, users: new Map() };
    if (update.version >= members.version) {
      members.version = update.version;
      members.count = update.count;
    }
    if (members.users !== undefined) {
      for (const member of update.joined) note(members.users, "joined", member, update.version);
      for (const member of update.left) note(members.users, "left", member, update.version);
      if (members.users.size > CHANGES_MAX) members.users = undefined;
    }
    this.#due.set(entry, members);
  }

  /** Drops what is due: whoever asks from now on begins with a list that has it. */
  forget(entry: TopicEntry<Link>): void {
    this.#due.delete(entry);
  }

  /** The number of subscriptions changed. */
  totalChanged(entry: TopicEntry<Link>): void {
    if (entry.presenceTotal === 0 || this.#due.has(entry)) return;
    if (this.#options.presenceOf(entry.topicKey) === "Count") this.#due.set(entry, undefined);
  }

  /** Builds the frames whose second is over. Called a few times a second. */
  sweep(nowMs: number): void {
    let frames = 0;
    for (const [entry, members] of this.#due) {
      if (nowMs - entry.presenceFrameAtMs < PRESENCE_INTERVAL_MS) continue;
      this.#due.delete(entry);
      if (entry.presenceTotal === 0) continue;
      const frame = this.#frame(entry, members);
      if (frame === undefined) continue;
      entry.presenceFrameAtMs = nowMs;
      this.#options.emit(entry, frame);
      frames += 1;
      if (frames >= FRAMES_PER_SWEEP) return;
    }
  }

  #frame(entry: TopicEntry<Link>, members: Members | undefined): string | undefined {
    const connections = entry.total;
    switch (this.#options.presenceOf(entry.topicKey)) {
      case "None":
        return undefined;
      case "Count":
        return countFrame(entry.id, connections);
      case "Members": {
        if (members === undefined) return undefined;
        const numbers = { count: members.count, connections };
        if (members.users === undefined) return membersFrame(entry.id, numbers, undefined);
        const joined: PresenceMember[] = [];
        const left: PresenceMember[] = [];
        for (const { kind, member } of members.users.values()) (kind === "joined" ? joined : left).push(member);
        return joined.length + left.length === 0 ? undefined : membersFrame(entry.id, numbers, { joined, left });
      }
    }
  }
}

function note(users: Map<string, UserChange>, kind: "joined" | "left", member: PresenceMember, version: number): void {
  const known = users.get(member.userId);
  if (known === undefined || version >= known.version) users.set(member.userId, { version, kind, member });
}
