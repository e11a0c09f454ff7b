// Owns: carrying plans out: gather, plan, store, publish, release drained routers; again whenever something changes.
// Invariant: a map is stored before it is published. What cannot be stored is not published: the last map stays in force,
// it is told once, and tried again for ever.

import type { Router, ShardMap } from "#core/domain/shard-map.ts";
import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Processes } from "../control-plane/processes.ts";
import type { OperatorMetrics } from "../metrics.ts";
import type { Endpoints } from "../platform/platform.ts";
import { ShardMapConflict, type ShardMapStore } from "../stores/shard-map-store.ts";
import { Gatherer } from "./gather.ts";
import type { HeldBack, Observed, Plan, Planned } from "./observed.ts";
import { adopt, plan } from "./plan.ts";

export interface ReconcilerOptions {
  readonly store: ShardMapStore;
  readonly processes: Processes;
  readonly endpoints: Endpoints;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
  readonly publish: (map: ShardMap) => void;
  /** Tells a draining router that nobody has it in a map any more. */
  readonly release: (incarnation: string) => void;
  /** For the user's terminal. */
  readonly tell: (sentence: string) => void;
}

/** Milliseconds from a change to the plan that answers it: what comes together is planned together. */
const GATHERING_MS = 20;

/** Milliseconds between plans when nothing is told to have changed: deadlines pass by themselves. */
const TICK_MS = 250;

/** Milliseconds for which a first map waits for routers that are starting too, after the first is ready; and in all. */
const SETTLE_MS = 150;
const SETTLE_MS_MAX = 1_000;

export class Reconciler implements Component {
  readonly #options: ReconcilerOptions;
  readonly #gatherer: Gatherer;
  readonly #backoff = new Backoff({ firstMs: 200, maxMs: 5_000 });
  readonly #startedAtMs: number;
  readonly #droppedAt = new Map<string, number>();
  readonly #timers: Timer[] = [];
  #previous: Planned | undefined;
  /** The last state in which a plan changed nothing. */
  #planned: { readonly seen: string; readonly previous: Planned | undefined } | undefined;
  #due: Timer | undefined;
  #isLoaded = false;
  /** Of the map that the store holds, as far as is known: what the next one replaces. */
  #storedEpoch: number | undefined;
  /** What the store told last, and nobody looked at yet. */
  #told: { readonly epoch: number | undefined } | undefined;
  #running = false;
  #again = false;
  #retryAtMs = 0;
  #failing = false;
  #heldBack = "";
  #firstReadyMs: number | undefined;
  #closed = false;

  constructor(options: ReconcilerOptions) {
    const { clock, processes, endpoints, metrics } = options;
    this.#options = options;
    this.#startedAtMs = clock.monotonic();
    this.#gatherer = new Gatherer({ clock, processes, endpoints, gaveUp: () => metrics.gaveUp.inc() });
  }

  get map(): ShardMap | undefined {
    return this.#previous?.map;
  }

  /** Reads the stored map, publishes it where a router of it lives, and plans from now on. */
  async start(): Promise<void> {
    const { clock, processes, endpoints, store } = this.#options;
    await this.#load();
    if (this.#closed) return;
    const unlisten = [
      processes.onChange(() => this.#soon()),
      endpoints.onChange(() => this.#soon()),
      store.onChange((epoch) => this.#storeChanged(epoch)),
    ];
    this.#timers.push(
      ...unlisten.map((cancel) => ({ cancel })),
      clock.every(TICK_MS, () => this.#run()),
    );
    this.#soon();
  }

  /** Reads what is stored; when that fails it is tried again before anything is planned. */
  async #load(): Promise<void> {
    const { store, endpoints } = this.#options;
    try {
      const stored = await store.read();
      this.#isLoaded = true;
      this.#storedEpoch = stored?.epoch;
      // A map that was deleted, or put back from a backup, does not undo what is in force.
      if (stored === undefined || stored.epoch <= (this.#previous?.map.epoch ?? 0)) return;
      this.#previous = adopt(stored);
      const isAlive = (router: Router): boolean => endpoints.stateOf({ ...router, role: "router" }) === "ready";
      if (stored.routers.some(isAlive)) this.#publish(stored);
    } catch (error) {
      this.#notStored(error);
    }
  }

  /** Somebody may have deleted the map, or put another in its place. */
  #storeChanged(epoch: number | undefined): void {
    this.#told = { epoch };
    this.#soon();
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#due?.cancel();
    for (const timer of this.#timers.splice(0)) timer.cancel();
    return Promise.resolve();
  }

  #soon(): void {
    if (this.#closed) return;
    this.#due ??= this.#options.clock.after(GATHERING_MS, () => this.#run());
  }

  #run(): void {
    this.#due?.cancel();
    this.#due = undefined;
    if (this.#closed) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    void this.#reconcile().finally(() => {
      this.#running = false;
      if (!this.#again) return;
      this.#again = false;
      this.#soon();
    });
  }

  async #reconcile(): Promise<void> {
    this.#options.processes.prune();
    if (this.#options.clock.monotonic() < this.#retryAtMs) return;
    if (this.#told !== undefined && this.#told.epoch !== this.#storedEpoch) this.#isLoaded = false;
    this.#told = undefined;
    if (!this.#isLoaded) await this.#load();
    if (!this.#isLoaded) return;
    const observed = this.#gatherer.gather(this.#previous, this.#storedEpoch === this.#previous?.map.epoch);
    if (this.#isSettling(observed)) return;
    if (this.#isKnown(observed)) return this.#releaseDrained();
    const decided = plan(observed, this.#previous);
    this.#tellHeldBack(decided.heldBack);
    if (decided.next !== undefined) await this.#apply(decided, decided.next, observed);
    else {
      if (this.#previous !== undefined) this.#previous = { ...this.#previous, target: decided.target };
      this.#planned = { seen: seenOf(observed), previous: this.#previous };
    }
    this.#releaseDrained();
  }

  /** Whether this very state was planned for already, and nothing was to be done. */
  #isKnown(observed: Observed): boolean {
    return this.#planned?.previous === this.#previous && this.#planned?.seen === seenOf(observed);
  }

  async #apply(decided: Plan, next: Planned, observed: Observed): Promise<void> {
    const { store, log, metrics } = this.#options;
    try {
      await store.replace(this.#storedEpoch, next.map);
    } catch (error) {
      if (!(error instanceof ShardMapConflict)) return this.#notStored(error);
      metrics.event("shard_map_conflict");
      log.warn({ cause: error.message }, "shard map was changed by somebody else, planned anew");
      this.#isLoaded = false;
      this.#again = true;
      return;
    }
    this.#stored();
    this.#storedEpoch = next.map.epoch;
    this.#previous = next;
    this.#publish(next.map);
    metrics.event("shard_map_published");
    for (const router of decided.removed) this.#left(router, next.map.epoch, observed);
    log.info(
      {
        epoch: next.map.epoch,
        routers: next.map.routers.map((router) => router.name),
        removed: decided.removed.map((router) => router.name),
        settled: isAtTarget(next),
      },
      "shard map published",
    );
  }

  #publish(map: ShardMap): void {
    this.#gatherer.published(map.epoch);
    this.#options.publish(map);
  }

  #left(router: Router, epoch: number, observed: Observed): void {
    const { incarnation } = router;
    this.#droppedAt.set(incarnation, epoch);
    const seen = observed.routers.find((one) => one.router.incarnation === incarnation);
    if (seen?.cutOff === true && seen.connected) {
      this.#gatherer.shutOut(incarnation);
      this.#options.metrics.event("router_cut_off");
      this.#options.log.warn({ router: router.name }, "router left the map, most gateways cannot reach it");
    }
  }

  #notStored(error: unknown): void {
    const { clock, log, metrics, tell } = this.#options;
    this.#retryAtMs = clock.monotonic() + this.#backoff.next();
    metrics.event("shard_map_not_stored");
    if (this.#failing) return;
    this.#failing = true;
    log.error({ error }, "shard map cannot be kept, the last one stays in force");
    tell(`the shard map cannot be kept (${messageOf(error)}); the last one stays in force, and it is tried again`);
  }

  #stored(): void {
    this.#backoff.reset();
    if (!this.#failing) return;
    this.#failing = false;
    this.#options.log.info("shard map can be kept again");
    this.#options.tell("the shard map can be kept again");
  }

  #tellHeldBack(heldBack: readonly HeldBack[]): void {
    const said = JSON.stringify(heldBack.map(({ router, why }) => [router.incarnation, why]));
    if (said === this.#heldBack) return;
    this.#heldBack = said;
    if (heldBack.length === 0) return;
    this.#options.metrics.event("router_removal_held_back");
    const routers = heldBack.map(({ router, why }) => ({ name: router.name, why }));
    this.#options.log.warn({ routers }, "routers look dead and stay in the map for now");
  }

  /** A first map waits a moment, so that routers which start together are in it together. */
  #isSettling(observed: Observed): boolean {
    const { clock, endpoints } = this.#options;
    const mapped = new Set(this.#previous?.map.routers.map((router) => router.incarnation));
    const isAlive = observed.routers.some((one) => mapped.has(one.router.incarnation) && one.endpoint === "ready");
    const ready = new Set(observed.routers.flatMap((one) => (one.ready ? [one.router.name] : [])));
    if (isAlive || ready.size === 0) return false;
    const nowMs = clock.monotonic();
    this.#firstReadyMs ??= nowMs;
    const all = endpoints.list("router").every(({ name }) => ready.has(name));
    const endsAtMs = Math.max(this.#startedAtMs, this.#firstReadyMs) + (all ? SETTLE_MS : SETTLE_MS_MAX);
    return nowMs < endsAtMs;
  }

  /** A draining router is released when every process has acked a map without it. */
  #releaseDrained(): void {
    const { processes, release } = this.#options;
    const map = this.#previous?.map;
    const mapped = new Set(map?.routers.map((router) => router.incarnation));
    for (const incarnation of this.#droppedAt.keys()) {
      if (processes.get(incarnation) === undefined) this.#droppedAt.delete(incarnation);
    }
    for (const { incarnation, draining } of processes.connected("router")) {
      if (!draining || mapped.has(incarnation)) continue;
      // An operator before this one has dropped it, by this map at the latest.
      const epoch = this.#droppedAt.get(incarnation) ?? map?.epoch ?? 0;
      if (this.#gatherer.ackedByAll(epoch, incarnation)) release(incarnation);
    }
  }
}

/** All of it but the time, which matters only when there is something to write. */
function seenOf(observed: Observed): string {
  return JSON.stringify({ ...observed, unixSeconds: 0 });
}

/** Whether a map is where it was going. */
function isAtTarget(planned: Planned): boolean {
  return planned.map.shards.every((owners, shard) => {
    const target = planned.target?.[shard] ?? [];
    return owners.length >= target.length && target.every((one, place) => one === owners[place]?.incarnation);
  });
}
