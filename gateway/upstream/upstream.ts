// Owns: this gateway's interest at the routers: a link to every router of the map, every topic registered at every router
// of its shard's list, changes coalesced to one batch a link and turn of the event loop. Answers who is first alive.
// Invariants: a topic is withdrawn from a router only 5 s after the map that dropped it; an epoch is acked once every
// router it names has confirmed this gateway's interest or its link is dead. Elsewhere: what is told to clients
// (UpstreamListener: sessions), what records are (fanout/deliver.ts).

import { FAILOVER_MEMORY_MS } from "#core/domain/limits.ts";
import type { Router, ShardMap, ShardOwners } from "#core/domain/shard-map.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { ProcessSelf } from "#core/runtime/process.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import type { Fleet, Unlisten } from "#core/fleet/fleet.ts";
import type { InterestState, MissedRecords, RecordBatch } from "#proto/earshot/internal/v1/link_pb.ts";
import type { LocalTopic } from "../fanout/local-topic.ts";
import type { LocalTopics } from "../fanout/local-topics.ts";
import { EpochAcks } from "./epoch-acks.ts";
import type { HandedOn } from "./handed-on.ts";
import type { InterestChange } from "./interest-log.ts";
import { Link, type LinkEnd, type LinkOwner } from "./link.ts";
import type { FirstConfirm } from "./late-interest.ts";
import { newRegistration, type Registration } from "./registration.ts";

/** Milliseconds that a router dropped by a map still gets this gateway's interest: stale publishers still use it. */
const WITHDRAW_AFTER_MS = 5_000;

export interface UpstreamListener {
  /** A router confirmed a topic's interest. `first` is set for the first confirm since its link came alive. */
  confirmed(topic: LocalTopic, incarnation: string, first: FirstConfirm | undefined): void;
  /** Who is first alive, or who is waited for, may have changed for any topic. */
  routersChanged(): void;
  records(handedOn: HandedOn, batch: RecordBatch): void;
  missed(topic: LocalTopic, count: number): void;
  /** A router died that had carried messages of the topic in the last 10 s. */
  failedOver(topic: LocalTopic): void;
}

interface UpstreamOptions {
  readonly fleet: Fleet;
  readonly topics: LocalTopics;
  readonly self: ProcessSelf;
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly log: Log;
  readonly listener: UpstreamListener;
  /** See SyncClient. */
  readonly ackEpoch: (epoch: number) => void;
  readonly linksChanged: () => void;
}

export class Upstream implements Component, LinkOwner {
  /** Links that were alive and are not, since this process began. */
  readonly linkEnds: Record<LinkEnd, number> = { announced: 0, silent: 0, broken: 0 };
  readonly #options: UpstreamOptions;
  readonly #links = new Map<string, Link>();
  readonly #dirty = new Map<Link, Map<string, LocalTopic>>();
  #flushing: NodeJS.Immediate | undefined;
  #unlisten: Unlisten | undefined;
  readonly #acks: EpochAcks;
  /** One for each map of the last seconds. */
  readonly #withdrawals = new Set<Timer>();
  #closed = false;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#acks = new EpochAcks(options.ackEpoch);
  }

  start(): void {
    const { fleet } = this.#options;
    this.#unlisten = fleet.onMap((map, before) => this.#mapChanged(map, before));
    if (fleet.map.epoch > 0) this.#mapChanged(fleet.map, undefined);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#unlisten?.();
    if (this.#flushing !== undefined) clearImmediate(this.#flushing);
    for (const timer of this.#withdrawals) timer.cancel();
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    this.#dirty.clear();
    return Promise.resolve();
  }

  get links(): IterableIterator<Link> {
    return this.#links.values();
  }

  /** For the operator's reports. */
  linkReports(): { routerIncarnation: string; alive: boolean }[] {
    return [...this.#links.values()]
      .filter((link) => link.alive || link.dead)
      .map((link) => ({ routerIncarnation: link.incarnation, alive: link.alive }));
  }

  /**
   * Why this gateway is not warm; empty when it is. A router that is dead is not waited for (with no operator it stays in
   * the map), but one at least must have confirmed.
   */
  coldReasons(): readonly string[] {
    const { routers } = this.#options.fleet.map;
    const links = routers.map((router) => this.#links.get(router.incarnation));
    if (routers.length > 0 && !links.some((link) => link?.settledOnce)) return ["no router has confirmed yet"];
    const awaited = routers.filter((_, index) => links[index]?.settledOnce !== true && links[index]?.dead !== true);
    return awaited.map((router) => `router ${router.name} has not confirmed yet`);
  }

  owners(topic: LocalTopic): ShardOwners {
    return this.#options.fleet.map.shards[topic.shard] ?? [];
  }

  /** The router that publishes to a topic go to, as this gateway sees it. */
  firstAlive(topic: LocalTopic): Router | undefined {
    for (const router of this.owners(topic)) if (this.#links.get(router.incarnation)?.usable === true) return router;
    return undefined;
  }

  registrationAt(topic: LocalTopic, incarnation: string): Registration | undefined {
    return topic.registrations.find((registration) => registration.link.incarnation === incarnation);
  }

  /** How far a generation of a topic is known: routers that confirmed it, and routers that may still do. */
  progress(topic: LocalTopic, generation: number): { confirmed: number; awaited: number } {
    let confirmed = 0;
    let awaited = 0;
    for (const router of this.owners(topic)) {
      const registration = this.registrationAt(topic, router.incarnation);
      if (registration !== undefined && registration.generation >= generation) confirmed += 1;
      else if (this.#links.get(router.incarnation)?.dead === false) awaited += 1;
    }
    return { confirmed, awaited };
  }

  /** A topic's counts changed: tells the routers of its list at the end of this turn. */
  changed(topic: LocalTopic): void {
    topic.generation += 1;
    for (const router of this.owners(topic)) {
      const link = this.#links.get(router.incarnation);
      if (link === undefined) continue;
      if (this.registrationAt(topic, router.incarnation) === undefined) this.#enroll(link, topic);
    }
    for (const { link } of topic.registrations) this.#mark(link, topic);
  }

  stateChanged(): void {
    this.#options.linksChanged();
    this.#options.listener.routersChanged();
    this.#acks.look();
  }

  allInterests(link: Link): InterestChange[] {
    this.#dirty.delete(link);
    const changes: InterestChange[] = [];
    for (const topic of this.#options.topics.all()) {
      const listed = this.owners(topic).some((router) => router.incarnation === link.incarnation);
      const known = this.registrationAt(topic, link.incarnation);
      if (!listed && known === undefined) continue;
      if (known === undefined) this.#enroll(link, topic);
      changes.push(this.#interest(link, topic));
    }
    return changes;
  }

  confirmed(): void {
    this.#acks.look();
  }

  records(handedOn: HandedOn, batch: RecordBatch): void {
    this.#options.listener.records(handedOn, batch);
  }

  missed(_link: Link, missed: readonly MissedRecords[]): void {
    for (const { topicId, count } of missed) {
      const topic = this.#options.topics.get(topicId);
      if (topic !== undefined) this.#options.listener.missed(topic, count);
    }
  }

  died(link: Link, end: LinkEnd): void {
    this.linkEnds[end] += 1;
    const nowMs = this.#options.clock.monotonic();
    for (const topic of this.#options.topics.all()) {
      const registration = this.registrationAt(topic, link.incarnation);
      const last = topic.heardFrom(link.incarnation);
      if (registration !== undefined) {
        registration.generation = -1;
        registration.heardBefore = last;
      }
      if (end === "announced" || last === undefined || nowMs - last.atMs > FAILOVER_MEMORY_MS) continue;
      this.#options.listener.failedOver(topic);
    }
  }

  #enroll(link: Link, topic: LocalTopic): void {
    topic.registrations.push(newRegistration(link, topic.heardFrom(link.incarnation)));
  }

  #mark(link: Link, topic: LocalTopic): void {
    const dirty = this.#dirty.get(link);
    if (dirty === undefined) this.#dirty.set(link, new Map([[topic.id, topic]]));
    else dirty.set(topic.id, topic);
    this.#flushing ??= setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = undefined;
    for (const [link, topics] of this.#dirty) {
      if (!link.open) continue;
      const changes: InterestChange[] = [];
      for (const topic of topics.values()) changes.push(this.#interest(link, topic));
      link.register(changes);
    }
    this.#dirty.clear();
    this.#acks.sent([...this.#links.values()].filter((link) => link.unlistedAtMs === undefined));
  }

  #interest(link: Link, topic: LocalTopic): InterestChange {
    const { generation, interested } = topic;
    const registration = this.registrationAt(topic, link.incarnation);
    if (registration === undefined) return { topicId: topic.id, count: 0, presenceCount: 0, confirmed: undefined };
    return {
      topicId: topic.id,
      count: interested,
      presenceCount: topic.presenceInterested,
      confirmed: (state) => {
        registration.count = interested;
        this.#registered(topic, registration, generation, state);
      },
    };
  }

  #registered(topic: LocalTopic, registration: Registration, generation: number, state: InterestState): void {
    if (topic.forgotten) return;
    const isFirst = registration.generation < 0;
    registration.generation = generation;
    registration.seq = Number(state.seq);
    registration.total = Number(state.total);
    registration.granted = state.granted;
    const { lastSpokenMsAgo } = state;
    const nowMs = this.#options.clock.monotonic();
    const spokenAtMs = lastSpokenMsAgo === undefined ? undefined : nowMs - lastSpokenMsAgo;
    const { seq, heardBefore } = registration;
    const first = isFirst ? { seq, spokenAtMs, heardBefore } : undefined;
    this.#options.listener.confirmed(topic, registration.link.incarnation, first);
  }

  #mapChanged(map: ShardMap, before: ShardMap | undefined): void {
    if (this.#closed) return;
    const nowMs = this.#options.clock.monotonic();
    this.#updateLinks(map, nowMs);
    const moved = map.shards.map((owners, shard) => !sameOwners(owners, before?.shards[shard]));
    for (const topic of this.#options.topics.all()) if (moved[topic.shard] === true) this.#place(topic, nowMs);
    this.#acks.await(map.epoch);
    this.#flushing ??= setImmediate(() => this.#flush());
    this.#withdrawLater();
    this.#options.listener.routersChanged();
    this.#options.linksChanged();
  }

  #updateLinks(map: ShardMap, nowMs: number): void {
    const listed = new Set(map.routers.map((router) => router.incarnation));
    for (const link of this.#links.values()) {
      if (listed.has(link.incarnation)) link.unlistedAtMs = undefined;
      else link.unlistedAtMs ??= nowMs;
    }
    for (const router of map.routers) {
      if (this.#links.has(router.incarnation)) continue;
      const { self, identity, clock, log } = this.#options;
      this.#links.set(router.incarnation, new Link({ router, self, identity, clock, log, owner: this }));
    }
  }

  /** Registers a topic at the routers of its new list; those no longer in it are withdrawn later. */
  #place(topic: LocalTopic, nowMs: number): void {
    const owners = new Set(this.owners(topic).map((router) => router.incarnation));
    for (const registration of topic.registrations) {
      if (owners.has(registration.link.incarnation)) registration.unlistedAtMs = undefined;
      else registration.unlistedAtMs ??= nowMs;
    }
    for (const incarnation of owners) {
      const link = this.#links.get(incarnation);
      if (link === undefined || this.registrationAt(topic, incarnation) !== undefined) continue;
      this.#enroll(link, topic);
      this.#mark(link, topic);
    }
  }

  #withdrawLater(): void {
    const timer = this.#options.clock.after(WITHDRAW_AFTER_MS, () => {
      this.#withdrawals.delete(timer);
      this.#withdraw();
    });
    this.#withdrawals.add(timer);
  }

  #withdraw(): void {
    const untilMs = this.#options.clock.monotonic() - WITHDRAW_AFTER_MS;
    const isOver = ({ unlistedAtMs }: Registration): boolean => unlistedAtMs !== undefined && unlistedAtMs <= untilMs;
    for (const topic of this.#options.topics.all()) {
      const gone = topic.registrations.filter(isOver);
      if (gone.length === 0) continue;
      topic.registrations = topic.registrations.filter((registration) => !isOver(registration));
      for (const { link } of gone) this.#mark(link, topic);
    }
    for (const link of this.#links.values()) {
      if (link.unlistedAtMs === undefined || link.unlistedAtMs > untilMs) continue;
      this.#links.delete(link.incarnation);
      this.#dirty.delete(link);
      link.close();
    }
    this.#options.linksChanged();
  }
}

function sameOwners(owners: ShardOwners, before: ShardOwners | undefined): boolean {
  return (
    owners.length === before?.length &&
    owners.every((router, place) => router.incarnation === before[place]?.incarnation)
  );
}
