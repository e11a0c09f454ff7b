// Owns: putting one router together: interest, links, sequencer and services around one fleet view, and the beats that
// keep them tidy. Made by main.ts. Elsewhere: settings, ports and signals (main.ts), how it leaves (drain.ts).

import type { ShardMap } from "#core/domain/shard-map.ts";
import type { Fleet } from "#core/fleet/fleet.ts";
import type { LocalSequencer } from "#core/fleet/placer.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import type { ProcessSelf } from "#core/runtime/process.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import { ChannelAdmission } from "./channel-admission.ts";
import { ChannelCensus } from "./channels.ts";
import { HandingOn } from "./handing-on.ts";
import { InterestTable, type MessageCounter } from "./interest.ts";
import type { Link } from "./links/link.ts";
import { Links } from "./links/link-service.ts";
import { Receipts } from "./links/receipts.ts";
import { registerRouter, routerMeasures } from "./metrics.ts";
import { Placement } from "./placement.ts";
import { PublishService } from "./publish/publish-service.ts";
import { BatchWindows } from "./sequencer/batch-windows.ts";
import { Drops } from "./sequencer/drops.ts";
import { type HotTopic, HotTopics } from "./sequencer/hot-topics.ts";
import { PresenceFrames } from "./sequencer/presence.ts";
import { RateLimits } from "./sequencer/rate-limits.ts";
import { type Sequenced, Sequencer } from "./sequencer/sequencer.ts";
import { SpokenMemory } from "./spoken-memory.ts";
import { RouterStats } from "./stats.ts";
import { Warmth, WARMTH_TICK_MS } from "./warmth.ts";

export interface RouterOptions {
  readonly self: ProcessSelf;
  readonly fleet: Pick<Fleet, "topic" | "map" | "onMap" | "onMembers">;
  readonly identity: PeerIdentity;
  readonly hotSubscriptions: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  /** What this router reports is other than before. */
  readonly reportChanged: () => void;
  /** The map is in force here. */
  readonly mapApplied: (epoch: number) => void;
}

/** Milliseconds between sweeps of what is due within a fraction of a second: old records, receipts, presence frames. */
const QUICK_MS = 100;

/** Milliseconds between sweeps of the rest. */
const SLOW_MS = 1_000;

export class Router implements Component {
  readonly links: Links;
  readonly publishes: PublishService;
  readonly warmth: Warmth;
  /** What the placer of this process gives its own shards to. */
  readonly local: LocalSequencer;
  readonly #options: RouterOptions;
  readonly #counter: MessageCounter = { last: 0 };
  readonly #spoken: SpokenMemory;
  readonly #rateLimits = new RateLimits();
  readonly #placement: Placement;
  readonly #table: InterestTable<Link>;
  readonly #receipts: Receipts<Link>;
  readonly #windows: BatchWindows<Link>;
  readonly #presence: PresenceFrames<Link>;
  readonly #sequencer: Sequencer<Link>;
  readonly #admission: ChannelAdmission;
  readonly #hot: HotTopics;
  readonly #stop: () => void;
  readonly #handingOn: HandingOn;
  #gateways: readonly string[] | undefined;
  /** Answers are given once gateways have handed on what they are about. */
  #leaving = false;
  /** Everybody was told. */
  #draining = false;

  constructor(options: RouterOptions) {
    this.#options = options;
    const { self, fleet, identity, clock, log, registry } = options;
    const topic = (key: string) => fleet.topic(key);
    const stats = new RouterStats();
    const drops = new Drops();
    this.#handingOn = new HandingOn(clock, (atMs) => this.links.isHandedOn(atMs));
    const measures = routerMeasures(registry);
    this.#spoken = new SpokenMemory(clock.monotonic());
    this.#placement = new Placement(self.incarnation);
    this.#table = new InterestTable(this.#counter, this.#spoken);
    this.#receipts = new Receipts(stats);
    this.#windows = new BatchWindows(clock);
    const census = new ChannelCensus(this.#placement);
    this.#admission = new ChannelAdmission({
      incarnation: self.incarnation,
      identity,
      placement: this.#placement,
      census,
      topic,
    });
    this.#hot = new HotTopics({
      onSubscriptions: options.hotSubscriptions,
      placement: this.#placement,
      log,
      changed: options.reportChanged,
    });
    this.links = new Links({
      self,
      clock,
      log,
      table: this.#table,
      receipts: this.#receipts,
      intake: { table: this.#table, placement: this.#placement, admission: this.#admission, topic, clock },
      dropped: ({ topicId, kind }) => {
        if (kind !== "message") return;
        stats.dropped.link_overflow += 1;
        drops.add(topicId, "link_overflow", clock.now());
      },
      batchSent: (records, waitedMs) => {
        measures.batchRecords.observe(records);
        measures.batchWait.observeMs(waitedMs);
      },
      batchHandedOn: (tookMs) => measures.handedOn.observeMs(tookMs),
      stats,
      changed: () => {
        this.warmth.tick(clock.monotonic());
        this.#handingOn.look();
      },
      handedOn: () => this.#handingOn.look(),
    });
    this.warmth = new Warmth({
      startedAtMs: clock.monotonic(),
      gateways: () => this.#gateways,
      complete: (gateway) => this.links.complete(gateway),
    });
    this.#presence = new PresenceFrames({
      presenceOf: (key) => topic(key)?.policy.presence ?? "None",
      emit: (entry, frame) => this.#sequencer.emitPresence(entry, frame),
    });
    this.#sequencer = new Sequencer({
      incarnation: self.incarnation,
      clock,
      counter: this.#counter,
      table: this.#table,
      topic,
      placement: this.#placement,
      warmth: this.warmth,
      spoken: this.#spoken,
      receipts: this.#receipts,
      presence: this.#presence,
      windows: this.#windows,
      rateLimits: this.#rateLimits,
      drops,
      stats,
    });
    this.publishes = new PublishService({
      self,
      clock,
      sequence: (order) => this.#sequence(order),
      table: this.#table,
      placement: this.#placement,
      drops,
      admission: this.#admission,
      stats,
    });
    const isDraining = (): boolean => this.#draining;
    this.local = {
      incarnation: self.incarnation,
      get draining() {
        return isDraining();
      },
      sequence: (order) => this.#sequenceLocally(order),
    };
    this.#table.listen({
      beforeMembership: (entry) => {
        if (entry.held !== undefined) this.#windows.flush(entry);
      },
      changed: (entry, totalBefore) => {
        if (entry.total === totalBefore) return;
        if (entry.total === 0 || totalBefore === 0) census.changed(entry);
        this.#hot.changed(entry, clock.monotonic());
        this.#presence.totalChanged(entry);
      },
    });
    registerRouter(registry, stats, {
      links: () => this.links.states,
      linkSilenceMs: () => {
        const { heardAtMs } = this.links;
        return heardAtMs === undefined ? 0 : clock.monotonic() - heardAtMs;
      },
      interests: () => this.#table.size,
      subscriptions: () => this.#table.subscriptions,
      undrainedBytes: () => this.links.undrainedBytes,
      hotTopics: () => this.#hot.size,
      warm: () => this.warmth.reasons().length === 0,
      shards: () => this.#placement.shards,
      pendingReceipts: () => this.#receipts.size,
      publishStreams: () => this.publishes.size,
      outcomes: () => this.publishes.outcomes,
      interestBatches: () => this.links.interestBatches,
      heldTopics: () => this.#windows.size,
      heldBytes: () => this.#windows.bytes,
      presenceDue: () => this.#presence.size,
      heldAnswers: () => this.#handingOn.size,
      remembered: () => ({
        spoken: this.#spoken.size,
        dropped: drops.size,
        rate_limited: this.#rateLimits.size,
        channels_told: this.#admission.told,
      }),
    });
    this.#stop = this.#start();
  }

  /** Topics to report as hot. */
  get hotTopics(): readonly HotTopic[] {
    return this.#hot.report();
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Nothing that this router was given is on its way any more. */
  get drained(): boolean {
    return this.#receipts.size === 0 && !this.#presence.membersDue && this.links.drained;
  }

  /** Tells everybody to use the next in the list, once what was said before is handed on; goes on serving. */
  async announceDraining(): Promise<void> {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#windows.flushAll();
    await this.#handingOn.wait();
    this.#draining = true;
    this.links.announceDraining();
    this.publishes.announceDraining();
    this.#options.reportChanged();
  }

  /** Sends what waits for a batch window. */
  flushWindows(): void {
    this.#windows.flushAll();
  }

  async close(): Promise<void> {
    this.#stop();
    this.#windows.flushAll();
    this.#handingOn.close();
    await this.publishes.close();
    await this.links.close();
    await this.#admission.close();
  }

  #start(): () => void {
    const { fleet, clock } = this.#options;
    const timers: Timer[] = [
      clock.every(QUICK_MS, () => this.#quickSweep(clock.monotonic())),
      clock.every(SLOW_MS, () => this.#slowSweep(clock.monotonic())),
      clock.every(WARMTH_TICK_MS, () => this.warmth.tick(clock.monotonic())),
    ];
    const unlisteners = [
      fleet.onMap((map) => this.#applyMap(map)),
      fleet.onMembers((members) => {
        this.#gateways = members.filter(({ role }) => role === "gateway").map(({ incarnation }) => incarnation);
        this.warmth.tick(clock.monotonic());
      }),
    ];
    if (fleet.map.epoch > 0) this.#applyMap(fleet.map);
    return () => {
      for (const timer of timers) timer.cancel();
      for (const unlisten of unlisteners) unlisten();
    };
  }

  #applyMap(map: ShardMap): void {
    const { self, clock, log, mapApplied, reportChanged } = this.#options;
    const isListed = (candidate: ShardMap): boolean =>
      candidate.routers.some(({ incarnation }) => incarnation === self.incarnation);
    if (isListed(map) && !isListed(this.#placement.map)) this.warmth.listed(clock.monotonic());
    this.#placement.apply(map);
    this.#admission.mapChanged();
    log.info({ epoch: map.epoch, routers: map.routers.length }, "shard map applied");
    mapApplied(map.epoch);
    if (this.#hot.size > 0) reportChanged();
  }

  #quickSweep(nowMs: number): void {
    this.links.sweep(nowMs);
    this.#receipts.sweep(nowMs);
    this.#presence.sweep(nowMs);
  }

  #slowSweep(nowMs: number): void {
    this.#table.sweep(nowMs);
    this.#spoken.sweep(nowMs);
    this.#hot.sweep(nowMs);
    this.#rateLimits.sweep(nowMs);
    this.#admission.sweep();
  }

  #sequence(order: PublishOrder): Sequenced | Promise<Sequenced> {
    const sequenced = this.#sequencer.sequence(order);
    if (!this.#leaving || sequenced instanceof Promise) return sequenced;
    this.#windows.flushAll();
    return this.#handingOn.wait().then(() => sequenced);
  }

  #sequenceLocally(order: PublishOrder): Promise<PublishResult> | PublishResult | "wrong_router" {
    const sequenced = this.#sequence(order);
    if (sequenced instanceof Promise) return sequenced.then(resultOf);
    return sequenced.kind === "refused" && sequenced.code === "wrong_router" ? "wrong_router" : resultOf(sequenced);
  }
}

function resultOf(sequenced: Sequenced): PublishResult {
  if (sequenced.kind === "done") return sequenced.result;
  throw new EarshotError(sequenced.code === "wrong_router" ? "shard_unavailable" : sequenced.code);
}
