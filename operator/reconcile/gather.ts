// Owns: turning what Sync streams, the machine and the clock say into Observed, which plan.ts decides on. Keeps what only
// time tells: how long a link has been dead, which acks are overdue, which routers were shut out and may try again.

import type { Router } from "#core/domain/shard-map.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Processes, ProcessState } from "../control-plane/processes.ts";
import type { Endpoints } from "../platform/platform.ts";
import type { Observed, ObservedRouter, Planned } from "./observed.ts";

/** Milliseconds a gateway may take to ack a map before plans go on without it. */
const ACK_DEADLINE_MS = 5_000;

/** Milliseconds for which a gateway must have seen its link dead before its vote counts: a fresh link is dead at first. */
const LINK_DEAD_MS = 3_000;

/** Milliseconds for which a new leader removes no router that it merely cannot see (design). */
const NEW_LEADER_MS = 30_000;

/** Milliseconds for which a router that most gateways could not reach is not taken again; doubles each time, to the cap. */
const SHUT_OUT_MS = 10_000;
const SHUT_OUT_MS_MAX = 300_000;

/** Maps whose time of publication is remembered: many more than are made in ACK_DEADLINE_MS. */
const EPOCHS_REMEMBERED = 64;

export interface GatherOptions {
  readonly clock: Clock;
  readonly processes: Processes;
  readonly endpoints: Endpoints;
  /** Counts a gateway that did not ack an epoch in time. */
  readonly gaveUp: (incarnation: string) => void;
}

export class Gatherer {
  readonly #options: GatherOptions;
  readonly #leadingSinceMs: number;
  readonly #publishedAtMs = new Map<number, number>();
  readonly #gaveUpOn = new Map<string, number>();
  /** By name: since when the place says that they serve. */
  readonly #gatewaySeenMs = new Map<string, number>();
  readonly #shutOut = new Map<string, { untilMs: number; times: number }>();

  constructor(options: GatherOptions) {
    this.#options = options;
    this.#leadingSinceMs = options.clock.monotonic();
  }

  /** A map of this epoch goes out now: its acks are awaited from here. */
  published(epoch: number): void {
    this.#publishedAtMs.set(epoch, this.#options.clock.monotonic());
    for (const old of this.#publishedAtMs.keys()) {
      if (this.#publishedAtMs.size <= EPOCHS_REMEMBERED) break;
      this.#publishedAtMs.delete(old);
    }
  }

  /** A router left the map while it still had its stream: gateways could not reach it. */
  shutOut(incarnation: string): void {
    const times = (this.#shutOut.get(incarnation)?.times ?? 0) + 1;
    const waitMs = Math.min(SHUT_OUT_MS * 2 ** (times - 1), SHUT_OUT_MS_MAX);
    this.#shutOut.set(incarnation, { untilMs: this.#options.clock.monotonic() + waitMs, times });
  }

  /** `isStored`: whether the store holds the map of `previous`, as far as is known. */
  gather(previous: Planned | undefined, isStored = true): Observed {
    const { clock, processes } = this.#options;
    this.#seeGateways();
    const gateways = this.#countedGateways();
    const routers = new Map<string, ObservedRouter>();
    for (const router of previous?.map.routers ?? []) {
      routers.set(router.incarnation, this.#observeRouter(router, gateways));
    }
    for (const state of processes.connected("router")) {
      if (!routers.has(state.incarnation)) {
        routers.set(state.incarnation, this.#observeRouter(this.#toRouter(state), gateways));
      }
    }
    return {
      routers: [...routers.values()],
      ackedEpoch: Math.min(...gateways.map((gateway) => this.#effectiveAck(gateway))),
      reportedEpoch: Math.max(0, ...[...processes.all()].map((state) => state.seenEpoch)),
      unixSeconds: Math.floor(clock.now() / 1_000),
      mayRemove: clock.monotonic() - this.#leadingSinceMs >= NEW_LEADER_MS,
      isStored,
    };
  }

  /** Whether every gateway and every router but one has acked a map of `epoch` or later, or was given up on. */
  ackedByAll(epoch: number, except: string): boolean {
    const routers = this.#options.processes
      .connected("router")
      .filter(({ incarnation }) => incarnation !== except)
      .map((state) => ({ state, sinceMs: state.connectedChangedMs }));
    return [...this.#countedGateways(), ...routers].every(
      ({ state, sinceMs }) => Math.max(state?.ackedEpoch ?? 0, this.#overdueEpoch(sinceMs)) >= epoch,
    );
  }

  #observeRouter(router: Router, gateways: readonly CountedGateway[]): ObservedRouter {
    const { incarnation, name } = router;
    const nowMs = this.#options.clock.monotonic();
    const state = this.#options.processes.get(incarnation);
    const sights = gateways.map((gateway) => gateway.state?.links.get(incarnation));
    const dead = sights.filter((sight) => sight?.alive === false && nowMs - sight.sinceMs >= LINK_DEAD_MS).length;
    const shutOut = (this.#shutOut.get(incarnation)?.untilMs ?? 0) > nowMs;
    return {
      router,
      connected: state?.connected ?? false,
      ready: (state?.ready ?? false) && !shutOut,
      draining: state?.draining ?? false,
      endpoint: this.#options.endpoints.stateOf({ incarnation, name, role: "router" }),
      cutOff: dead > this.#livingGateways() / 2,
      linked: sights.some((sight) => sight?.alive === true),
    };
  }

  /** Pods cannot see their zone; the place can. */
  #toRouter({ incarnation, name, address, node, zone }: ProcessState): Router {
    return { incarnation, name, address, node, zone: zone === "" ? this.#options.endpoints.zoneOf(name) : zone };
  }

  /** Gateways that are connected, or that the place says serve: those say nothing of links, and so nothing against any. */
  #livingGateways(): number {
    const living = new Set(this.#gatewaySeenMs.keys());
    for (const { name } of this.#options.processes.connected("gateway")) living.add(name);
    return living.size;
  }

  #seeGateways(): void {
    const { clock, endpoints, processes } = this.#options;
    const listed = new Set(endpoints.list("gateway").flatMap(({ name, ready }) => (ready ? [name] : [])));
    for (const name of listed) {
      if (!this.#gatewaySeenMs.has(name)) this.#gatewaySeenMs.set(name, clock.monotonic());
    }
    for (const name of this.#gatewaySeenMs.keys()) {
      if (!listed.has(name)) this.#gatewaySeenMs.delete(name);
    }
    for (const incarnation of this.#gaveUpOn.keys()) {
      if (processes.get(incarnation) === undefined) this.#gaveUpOn.delete(incarnation);
    }
    for (const incarnation of this.#shutOut.keys()) {
      if (processes.get(incarnation) === undefined) this.#shutOut.delete(incarnation);
    }
  }

  /** Connected gateways, and those that live and have had no time to connect yet (this operator is new, or they are). */
  #countedGateways(): readonly CountedGateway[] {
    const { clock, processes } = this.#options;
    const nowMs = clock.monotonic();
    const counted: CountedGateway[] = processes
      .connected("gateway")
      .map((state) => ({ incarnation: state.incarnation, state, sinceMs: state.connectedChangedMs }));
    for (const [name, seenMs] of this.#gatewaySeenMs) {
      const state = processes.named("gateway", name);
      const sinceMs = state?.connectedChangedMs ?? seenMs;
      if (state?.connected === true || nowMs - sinceMs >= ACK_DEADLINE_MS) continue;
      counted.push({ incarnation: state?.incarnation ?? name, state, sinceMs });
    }
    return counted;
  }

  #effectiveAck({ incarnation, state, sinceMs }: CountedGateway): number {
    const acked = state?.ackedEpoch ?? 0;
    const overdue = this.#overdueEpoch(sinceMs);
    if (overdue <= acked) return acked;
    if ((this.#gaveUpOn.get(incarnation) ?? 0) < overdue) {
      this.#gaveUpOn.set(incarnation, overdue);
      this.#options.gaveUp(incarnation);
    }
    return overdue;
  }

  /** The highest epoch that somebody who is here since `sinceMs` has had ACK_DEADLINE_MS for; 0: none. */
  #overdueEpoch(sinceMs: number): number {
    const nowMs = this.#options.clock.monotonic();
    let overdue = 0;
    for (const [epoch, publishedAtMs] of this.#publishedAtMs) {
      if (nowMs - Math.max(publishedAtMs, sinceMs) >= ACK_DEADLINE_MS) overdue = Math.max(overdue, epoch);
    }
    return overdue;
  }
}

interface CountedGateway {
  readonly incarnation: string;
  readonly state: ProcessState | undefined;
  /** Monotonic milliseconds since when it could have acked. */
  readonly sinceMs: number;
}
