// Owns: keeping the status of every Topic true: whether its generation is programmed everywhere, whether it is hot, what
// was wrong or lowered. Watches catalog, Sync sessions and reports; decides by reconcile/conditions.ts and hot.ts; writes
// to the store only what changed.

import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import { Slices } from "#core/runtime/slices.ts";
import type { OperatorMetrics } from "../metrics.ts";
import { decideStatus, type Programmed, type TopicStatus } from "../reconcile/conditions.ts";
import { type HotState, type HotThresholds, nextHot } from "../reconcile/hot.ts";
import type { TopicStore } from "../stores/topic-store.ts";
import type { Catalog, TopicChange } from "./catalog.ts";
import type { Processes } from "./processes.ts";
import type { Progress } from "./progress.ts";
import type { SyncServer } from "./sync-server.ts";

export interface StatusKeeperOptions {
  readonly store: TopicStore;
  readonly catalog: Catalog;
  readonly server: Pick<SyncServer, "onAnswered">;
  readonly progress: Progress;
  readonly processes: Processes;
  readonly hot: HotThresholds;
  /** Whether lists of members are kept somewhere. */
  readonly keepsMembers: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
}

/** Milliseconds that connected processes have to apply a Topic before its Programmed is decided without them (design). */
const PROGRAM_MS = 5_000;

/** Milliseconds between looks at deadlines and at what is hot. */
const TICK_MS = 1_000;

interface Undecided extends TopicChange {
  readonly generation: number;
  readonly sinceMs: number;
}

/** A decision that stands for the generation it was made for. */
interface Decided {
  readonly generation: number;
  readonly programmed: Programmed;
}

export class StatusKeeper implements Component {
  readonly #options: StatusKeeperOptions;
  /** In the order of their versions. */
  readonly #undecided = new Map<string, Undecided>();
  readonly #decided = new Map<string, Decided>();
  readonly #hot = new Map<string, HotState>();
  readonly #statuses = new Map<string, TopicStatus>();
  readonly #notReady = new Set<string>();
  readonly #timer: Timer;
  readonly #unlisten: () => void;
  readonly #unlistenAnswers: () => void;
  #working = false;
  #someoneSinceMs: number | undefined;
  #closed = false;

  constructor(options: StatusKeeperOptions) {
    const { catalog, server, clock } = options;
    this.#options = options;
    this.#unlisten = catalog.onChange((key) => this.#onTopic(key));
    this.#unlistenAnswers = server.onAnswered(() => void this.#decideDue());
    this.#timer = clock.every(TICK_MS, () => {
      this.#lookForHot();
      void this.#decideDue();
    });
  }

  /** Topics whose generation is not decided yet. */
  get undecided(): number {
    return this.#undecided.size;
  }

  /** Topics that are not Ready: waiting, or wrong. */
  get notReady(): number {
    return this.#notReady.size;
  }

  /** Takes on the Topics that are there already, in slices. */
  async start(): Promise<void> {
    const slices = new Slices();
    for (const key of this.#options.catalog.entries.keys()) {
      if (this.#closed) return;
      this.#onTopic(key);
      if (slices.isOver) await slices.breathe();
    }
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#unlisten();
    this.#unlistenAnswers();
    this.#timer.cancel();
    return Promise.resolve();
  }

  #onTopic(key: string): void {
    const { catalog, store, clock } = this.#options;
    const entry = catalog.entries.get(key);
    if (entry === undefined) {
      for (const known of [this.#undecided, this.#decided, this.#hot, this.#statuses, this.#notReady])
        known.delete(key);
      return;
    }
    const { generation } = entry.stored;
    // What the leader before this one found hot is so until it has been counted for a while.
    if (!this.#statuses.has(key) && isHot(store.statusOf(key))) {
      this.#hot.set(key, { hot: true, belowSinceMs: undefined, changedMs: clock.monotonic() });
    }
    if (this.#decided.get(key)?.generation !== generation && this.#undecided.get(key)?.generation !== generation) {
      this.#undecided.delete(key);
      this.#decided.delete(key);
      // What an earlier operator decided for this generation stands.
      const programmed = decidedBefore(store.statusOf(key), generation);
      if (programmed !== undefined) this.#decided.set(key, { generation, programmed });
      else {
        this.#undecided.set(key, { ...entry.change, generation, sinceMs: clock.monotonic() });
      }
    }
    this.#write(key);
  }

  /** Decides on every Topic that all connected processes have, or that waited long enough. */
  async #decideDue(): Promise<void> {
    if (this.#working || this.#undecided.size === 0) return;
    this.#working = true;
    const { progress, clock } = this.#options;
    const holders = progress.holders();
    const nowMs = clock.monotonic();
    // While nobody is there to carry it, no deadline runs.
    if (holders.length === 0) this.#someoneSinceMs = undefined;
    else this.#someoneSinceMs ??= nowMs;
    const slices = new Slices();
    for (const [key, { version, revision, generation, sinceMs }] of this.#undecided) {
      if (this.#someoneSinceMs === undefined || this.#closed) break;
      const missing = holders.filter((holder) => !holder.has({ version, revision })).length;
      const isOver = nowMs - Math.max(sinceMs, this.#someoneSinceMs) >= PROGRAM_MS;
      if (missing > 0 && !isOver) break;
      const gaveUp: Programmed = { kind: "gaveUp", missing, connected: holders.length };
      this.#decided.set(key, { generation, programmed: missing === 0 ? DONE : gaveUp });
      this.#undecided.delete(key);
      this.#write(key);
      if (slices.isOver) await slices.breathe();
    }
    this.#working = false;
  }

  #lookForHot(): void {
    const { processes, clock, hot, metrics, log } = this.#options;
    const counts = new Map<string, number>();
    for (const { hotTopics } of processes.connected("router")) {
      for (const [topic, count] of hotTopics) counts.set(topic, Math.max(count, counts.get(topic) ?? 0));
    }
    for (const key of new Set([...counts.keys(), ...this.#hot.keys()])) {
      if (!this.#options.catalog.entries.has(key)) continue;
      const before = this.#hot.get(key);
      const after = nextHot(before, counts.get(key) ?? 0, clock.monotonic(), hot);
      if (after === undefined) this.#hot.delete(key);
      else this.#hot.set(key, after);
      if ((after?.hot ?? false) === (before?.hot ?? false)) continue;
      if (after?.hot === true) metrics.event("topic_hot");
      log.info({ topic: key, hot: after?.hot ?? false, subscriptions: counts.get(key) }, "topic is hot, or no longer");
      this.#write(key);
    }
    metrics.hotTopics.set([...this.#hot.values()].filter((state) => state.hot).length);
  }

  #write(key: string): void {
    const { catalog, store, clock } = this.#options;
    const entry = catalog.entries.get(key);
    if (entry === undefined) return;
    const { stored, clamped } = entry;
    const previous = this.#statuses.get(key) ?? store.statusOf(key);
    const facts = {
      topicId: key,
      generation: stored.generation,
      rejected: stored.rejected,
      clamped,
      programmed: this.#decided.get(key)?.programmed ?? WAITING,
      hot: this.#hot.get(key)?.hot ?? false,
      remark: stored.policy.presence === "Members" && !this.#options.keepsMembers ? NO_MEMBERS : undefined,
    };
    const status = decideStatus(facts, previous, clock.now());
    this.#statuses.set(key, status);
    if (status.conditions.some(({ type, status: is }) => type === "Ready" && is === "True")) this.#notReady.delete(key);
    else this.#notReady.add(key);
    if (status !== previous) store.putStatus(key, status);
  }
}

const NO_MEMBERS =
  "lists of members are not kept (presence_unavailable): this installation has no presence store, see redis in its chart";

const WAITING: Programmed = { kind: "waiting" };
const DONE: Programmed = { kind: "done" };

function isHot(status: TopicStatus | undefined): boolean {
  return status?.conditions.some(({ type, status: is }) => type === "Hot" && is === "True") ?? false;
}

/** What an operator before this one decided for a generation; undefined: nothing. */
function decidedBefore(status: TopicStatus | undefined, generation: number): Programmed | undefined {
  const condition = status?.conditions.find(({ type }) => type === "Programmed");
  if (condition?.status !== "True" || condition.observedGeneration !== generation) return undefined;
  const { reason, message } = condition;
  return { kind: "stands", reason, message };
}
