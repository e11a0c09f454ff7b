// Owns: which processes have a change of the Topics. A process that takes Topics from this operator tells by its answers
// to pushes; one that takes them from another replica tells every replica the revision of the store that it has.

import type { TopicChange } from "./catalog.ts";
import type { Processes, ProcessRole } from "./processes.ts";
import type { SyncServer } from "./sync-server.ts";

/** A process that has Topics, or is getting them. */
export interface TopicHolder {
  readonly role: ProcessRole;
  /** It has a whole list of Topics. */
  readonly hasList: boolean;
  /** It takes part: serves, or is ready to be put into a map. */
  readonly ready: boolean;
  has(change: TopicChange): boolean;
}

export class Progress {
  readonly #server: Pick<SyncServer, "topicSessions">;
  readonly #processes: Processes;

  constructor(server: Pick<SyncServer, "topicSessions">, processes: Processes) {
    this.#server = server;
    this.#processes = processes;
  }

  holders(): readonly TopicHolder[] {
    const holders: TopicHolder[] = [];
    const here = new Set<string>();
    for (const { incarnation, role, appliedVersion } of this.#server.topicSessions()) {
      here.add(incarnation);
      holders.push({
        role,
        hasList: appliedVersion >= 0,
        ready: this.#processes.get(incarnation)?.ready ?? false,
        has: ({ version }) => appliedVersion >= version,
      });
    }
    for (const { incarnation, role, connected, ready, topicsRevision } of this.#processes.all()) {
      if (!connected || here.has(incarnation) || topicsRevision === 0n) continue;
      holders.push({ role, hasList: true, ready, has: ({ revision }) => topicsRevision >= revision });
    }
    return holders;
  }
}
