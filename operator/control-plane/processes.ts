// Owns: what this operator knows of every gateway, router and presence process, from its Sync stream: who it is, what it
// reported last, what it acked. Written by the Sync sessions, read by gathering (reconcile/gather.ts) and by Members.
// A process whose stream is gone is remembered for a while: its absence is something that plans must know of.

import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { type Hello, type Report, Role } from "#proto/earshot/internal/v1/control_plane_pb.ts";

export type ProcessRole = "router" | "gateway" | "presence";

export interface LinkSight {
  readonly alive: boolean;
  /** Monotonic milliseconds since when it is seen so. */
  readonly sinceMs: number;
}

export interface ProcessState {
  readonly incarnation: string;
  readonly role: ProcessRole;
  readonly name: string;
  readonly node: string;
  readonly zone: string;
  /** Empty but for routers. */
  readonly address: string;
  /** Monotonic milliseconds of its first stream to this operator. */
  readonly openedMs: number;
  connected: boolean;
  /** Monotonic milliseconds of the last change of `connected`. */
  connectedChangedMs: number;
  ready: boolean;
  draining: boolean;
  ackedEpoch: number;
  /** Highest epoch it has ever reported to have seen. */
  seenEpoch: number;
  /** Gateways: by router incarnation. */
  links: ReadonlyMap<string, LinkSight>;
  /** Routers: Topic key to subscriptions. */
  hotTopics: ReadonlyMap<string, number>;
  /** Revision of the store up to which it has the Topics, wherever it takes them from; 0: it told none. */
  topicsRevision: bigint;
}

/** Milliseconds for which a process without a stream is remembered: longer than any deadline that plans wait for. */
const MEMORY_MS = 60_000;

/** Epochs above this are not ours: a number that JavaScript cannot count on from. */
const EPOCH_MAX = 2 ** 50;

const ROLES: ReadonlyMap<Role, ProcessRole> = new Map([
  [Role.ROUTER, "router"],
  [Role.GATEWAY, "gateway"],
  [Role.PRESENCE, "presence"],
]);

export function roleOf(hello: Hello): ProcessRole | undefined {
  return ROLES.get(hello.role);
}

export class Processes {
  readonly #clock: Clock;
  readonly #states = new Map<string, ProcessState>();
  /** Streams of a process: a new one may be there before the old one is known to be dead. */
  readonly #streams = new Map<string, number>();
  readonly #listeners = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  all(): IterableIterator<ProcessState> {
    return this.#states.values();
  }

  get(incarnation: string): ProcessState | undefined {
    return this.#states.get(incarnation);
  }

  /** Of the processes of a role and name, the one that connected last. */
  named(role: ProcessRole, name: string): ProcessState | undefined {
    let newest: ProcessState | undefined;
    for (const state of this.#states.values()) {
      if (state.role !== role || state.name !== name) continue;
      if (newest === undefined || newest.openedMs <= state.openedMs) newest = state;
    }
    return newest;
  }

  /** Connected processes of a role. */
  connected(role: ProcessRole): readonly ProcessState[] {
    return [...this.#states.values()].filter((state) => state.connected && state.role === role);
  }

  /** Called after anything that plans or Members depend on changed. */
  onChange(listener: () => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  opened(hello: Hello, role: ProcessRole): ProcessState {
    const { incarnation, name, node, zone, address, ready } = hello;
    const known = this.#states.get(incarnation);
    const state: ProcessState = {
      incarnation,
      role,
      name,
      node,
      zone,
      address,
      openedMs: known?.openedMs ?? this.#clock.monotonic(),
      connected: true,
      connectedChangedMs: known?.connected === true ? known.connectedChangedMs : this.#clock.monotonic(),
      ready,
      draining: known?.draining ?? false,
      ackedEpoch: known?.ackedEpoch ?? 0,
      seenEpoch: Math.max(known?.seenEpoch ?? 0, toEpoch(hello.epoch)),
      links: known?.links ?? new Map(),
      hotTopics: known?.hotTopics ?? new Map(),
      topicsRevision: known?.topicsRevision ?? 0n,
    };
    this.#states.set(incarnation, state);
    this.#streams.set(incarnation, (this.#streams.get(incarnation) ?? 0) + 1);
    this.#changed();
    return state;
  }

  closed(incarnation: string): void {
    const left = (this.#streams.get(incarnation) ?? 1) - 1;
    if (left > 0) {
      this.#streams.set(incarnation, left);
      return;
    }
    this.#streams.delete(incarnation);
    const state = this.#states.get(incarnation);
    if (state === undefined) return;
    state.connected = false;
    state.connectedChangedMs = this.#clock.monotonic();
    this.#changed();
  }

  acked(incarnation: string, epoch: bigint): void {
    const state = this.#states.get(incarnation);
    if (state === undefined || toEpoch(epoch) <= state.ackedEpoch) return;
    state.ackedEpoch = toEpoch(epoch);
    this.#changed();
  }

  /** `hasMoreTopics`: it has the Topics up to another revision than before. */
  reported(incarnation: string, report: Report): { readonly hasMoreTopics: boolean } {
    const state = this.#states.get(incarnation);
    if (state === undefined) return { hasMoreTopics: false };
    const before = { ...state };
    state.ready = report.ready;
    // Nobody who has begun to drain comes back.
    state.draining ||= report.draining;
    state.seenEpoch = Math.max(state.seenEpoch, toEpoch(report.epoch));
    state.links = this.#sight(report, before.links);
    state.topicsRevision = report.topicsRevision;
    state.hotTopics = new Map(report.hotTopics.map(({ topic, subscriptions }) => [topic, Number(subscriptions)]));
    const isNews =
      state.ready !== before.ready ||
      state.draining !== before.draining ||
      state.seenEpoch !== before.seenEpoch ||
      state.links.size !== before.links.size ||
      [...state.links].some(([router, sight]) => before.links.get(router) !== sight);
    // Every process reports each 5 s: what says nothing new is no reason to plan.
    if (isNews) this.#changed();
    return { hasMoreTopics: state.topicsRevision !== before.topicsRevision };
  }

  #sight(report: Report, before: ReadonlyMap<string, LinkSight>): ReadonlyMap<string, LinkSight> {
    const nowMs = this.#clock.monotonic();
    return new Map(
      report.links.map(({ routerIncarnation, alive }) => {
        const known = before.get(routerIncarnation);
        return [routerIncarnation, known?.alive === alive ? known : { alive, sinceMs: nowMs }];
      }),
    );
  }

  /** Forgets processes that have been without a stream for long. */
  prune(): void {
    const nowMs = this.#clock.monotonic();
    for (const [incarnation, state] of this.#states) {
      if (!state.connected && nowMs - state.connectedChangedMs > MEMORY_MS) this.#states.delete(incarnation);
    }
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function toEpoch(epoch: bigint): number {
  return epoch > BigInt(EPOCH_MAX) ? 0 : Number(epoch);
}
