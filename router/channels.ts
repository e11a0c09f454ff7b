// Owns: how many channels a Topic has, where it limits them (maxChannels). Every router counts the channels it is primary
// of; the primary of the Topic's own id (the registrar) adds them up and admits new ones. Approximate by design: counts
// travel with each question and once a second after a change; whoever cannot be asked admits.
// Elsewhere: the calls between routers (channel-admission.ts).

import type { TopicEntry } from "./interest.ts";
import type { Placement } from "./placement.ts";

interface Channels {
  readonly entries: Set<TopicEntry<unknown>>;
  /** How many of them this router is primary of, by the map of `epoch`. */
  primaries: number;
  epoch: number;
}

/** Channels with listeners, by Topic, as this router holds them. */
export class ChannelCensus {
  readonly #placement: Placement;
  readonly #topics = new Map<string, Channels>();

  constructor(placement: Placement) {
    this.#placement = placement;
  }

  /** An entry's total went from or to 0. */
  changed(entry: TopicEntry<unknown>): void {
    if (!entry.isChannel) return;
    const channels = this.#of(entry.topicKey);
    const primary = this.#placement.partOfShard(entry.shard) === "primary" ? 1 : 0;
    const fresh = channels.epoch === this.#placement.map.epoch;
    if (entry.total > 0) {
      if (channels.entries.has(entry)) return;
      channels.entries.add(entry);
      if (fresh) channels.primaries += primary;
      return;
    }
    if (!channels.entries.delete(entry)) return;
    if (fresh) channels.primaries -= primary;
    if (channels.entries.size === 0) this.#topics.delete(entry.topicKey);
  }

  /** Channels of a Topic that this router is primary of. */
  primariesOf(topicKey: string): number {
    const channels = this.#topics.get(topicKey);
    if (channels === undefined) return 0;
    const { epoch } = this.#placement.map;
    if (channels.epoch !== epoch) {
      channels.primaries = 0;
      for (const { shard } of channels.entries) {
        if (this.#placement.partOfShard(shard) === "primary") channels.primaries += 1;
      }
      channels.epoch = epoch;
    }
    return channels.primaries;
  }

  /** Topics that have a channel here. */
  topics(): IterableIterator<string> {
    return this.#topics.keys();
  }

  #of(topicKey: string): Channels {
    let channels = this.#topics.get(topicKey);
    if (channels === undefined) {
      channels = { entries: new Set(), primaries: 0, epoch: this.#placement.map.epoch };
      this.#topics.set(topicKey, channels);
    }
    return channels;
  }
}

/** What other routers said of one Topic, at its registrar. */
export class ChannelRegister {
  readonly #topics = new Map<string, Map<string, number>>();

  /** Channels that other routers (those of `alive`) are primary of. */
  othersOf(topicKey: string, alive: (incarnation: string) => boolean): number {
    const routers = this.#topics.get(topicKey);
    if (routers === undefined) return 0;
    let sum = 0;
    for (const [incarnation, channels] of routers) {
      if (alive(incarnation)) sum += channels;
      else routers.delete(incarnation);
    }
    if (routers.size === 0) this.#topics.delete(topicKey);
    return sum;
  }

  set(topicKey: string, incarnation: string, channels: number): void {
    const routers = this.#topics.get(topicKey);
    if (routers === undefined) {
      if (channels > 0) this.#topics.set(topicKey, new Map([[incarnation, channels]]));
      return;
    }
    if (channels > 0) routers.set(incarnation, channels);
    else routers.delete(incarnation);
    if (routers.size === 0) this.#topics.delete(topicKey);
  }
}
