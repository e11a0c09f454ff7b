// Owns: telling those who watch a topic the whole list of its members once more, when changes may have passed them by: the
// store came back empty, or what a router carried was lost. One frame a topic for all who watch it here, in its turn among
// the topic's messages. Whoever subscribes meanwhile gets a list of their own (sessions/introductions.ts).
// Elsewhere: when such a list can be had, and how fast (fresh-lists.ts).

import { PRESENCE_PAGE_MAX } from "#core/domain/limits.ts";
import type { FanOut } from "../fanout/fan-out.ts";
import { Flight, type GrpcEncoder } from "../fanout/flight.ts";
import type { LocalTopic } from "../fanout/local-topic.ts";
import type { LocalTopics } from "../fanout/local-topics.ts";
import { type Standing, totalOf } from "../sessions/standing.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { presenceFrame } from "./frames.ts";
import type { PresenceSnapshot, PresenceTracker } from "./presence.ts";

export interface WholeListsOptions {
  readonly presence: PresenceTracker;
  readonly topics: LocalTopics;
  readonly fanOut: FanOut;
  readonly encodeGrpc: GrpcEncoder;
  readonly upstream: Standing & Pick<Upstream, "linkReports">;
}

export class WholeLists {
  readonly #options: WholeListsOptions;
  /** The list that a topic waits for. */
  readonly #owed = new Map<LocalTopic, Promise<PresenceSnapshot>>();
  /** Incarnations of routers whose links live. */
  #alive = new Set<string>();

  constructor(options: WholeListsOptions) {
    this.#options = options;
    options.presence.onListsOwed?.(() => {
      for (const topic of options.topics.all()) this.owe(topic);
    });
  }

  /** A router that is gone may have had changes to tell: it gathers them for a second. */
  linksChanged(): void {
    const { topics, upstream } = this.#options;
    const alive = upstream.linkReports().flatMap((link) => (link.alive ? [link.routerIncarnation] : []));
    const gone = [...this.#alive].filter((incarnation) => !alive.includes(incarnation));
    this.#alive = new Set(alive);
    if (gone.length === 0) return;
    for (const topic of topics.all()) {
      if (gone.some((incarnation) => upstream.registrationAt(topic, incarnation) !== undefined)) this.owe(topic);
    }
  }

  /** Changes of a topic may be lost: those who watch it are told the whole list when it can be had. */
  owe(topic: LocalTopic): void {
    const { presence } = this.#options;
    if (!isWatched(topic) || presence.whole === undefined) return;
    const list = presence.whole(topic.id, PRESENCE_PAGE_MAX);
    // The same one, as long as it was not begun to be read.
    if (this.#owed.get(topic) === list) return;
    this.#owed.set(topic, list);
    void list.then((snapshot) => {
      if (this.#owed.get(topic) === list) this.#owed.delete(topic);
      if (!topic.forgotten && isWatched(topic)) this.#tell(topic, snapshot);
    });
  }

  #tell(topic: LocalTopic, snapshot: PresenceSnapshot): void {
    const { fanOut, encodeGrpc, upstream } = this.#options;
    const flight = new Flight(encodeGrpc, "presence");
    flight.add(Buffer.from(presenceFrame(topic.id, totalOf(topic, upstream), snapshot)));
    fanOut.put(topic, flight);
    fanOut.run();
  }
}

function isWatched(topic: LocalTopic): boolean {
  return topic.presenceInterested > 0 && topic.topic.policy.presence === "Members";
}
