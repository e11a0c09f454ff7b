// Owns: which processes live, as every process is told. An operator that has just started says nothing until those that
// live have had time to connect: a list that misses them would make others take them for dead.

import { create } from "@bufbuild/protobuf";
import type { Clock } from "#core/runtime/clock.ts";
import { type Members, MembersSchema, Role } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Endpoints } from "../platform/platform.ts";
import type { Processes, ProcessRole } from "./processes.ts";

export interface MembershipListOptions {
  readonly processes: Processes;
  readonly endpoints: Endpoints;
  readonly clock: Clock;
  /** This operator. */
  readonly self: { readonly incarnation: string; readonly name: string };
}

/** Milliseconds after its start from which an operator tells what it sees, complete or not: clients dial every 2 s at most. */
const SETTLE_MS = 3_000;

/** Milliseconds for which a process whose stream broke and whose endpoint lives still counts as alive. */
const RECONNECT_MS = 5_000;

const ROLES = { router: Role.ROUTER, gateway: Role.GATEWAY, presence: Role.PRESENCE } as const;

export class MembershipList {
  readonly #options: MembershipListOptions;
  readonly #startedAtMs: number;
  #settled = false;
  #known = "";
  #members: Members | undefined;

  constructor(options: MembershipListOptions) {
    this.#options = options;
    this.#startedAtMs = options.clock.monotonic();
  }

  /** Undefined while it is not known well enough. */
  get members(): Members | undefined {
    return this.#members;
  }

  /** Looks again; true when `members` changed. */
  refresh(): boolean {
    if (!this.#isSettled()) return false;
    const { processes, endpoints, clock, self } = this.#options;
    const nowMs = clock.monotonic();
    const listed = [...processes.all()].filter(
      (state) =>
        state.connected ||
        (nowMs - state.connectedChangedMs < RECONNECT_MS &&
          state.role !== "presence" &&
          endpoints.stateOf(state) === "ready"),
    );
    const members = create(MembersSchema, {
      operators: endpoints.operators().toSorted(),
      processes: [
        { incarnation: self.incarnation, role: Role.OPERATOR, name: self.name },
        ...listed
          .map(({ incarnation, role, name }) => ({ incarnation, role: ROLES[role], name }))
          .sort((a, b) => (a.incarnation < b.incarnation ? -1 : 1)),
      ],
    });
    const known = [...members.processes.map(({ incarnation }) => incarnation), ...members.operators].join();
    if (known === this.#known) return false;
    this.#known = known;
    this.#members = members;
    return true;
  }

  #isSettled(): boolean {
    if (this.#settled) return true;
    const { processes, endpoints, clock } = this.#options;
    const isConnected = (role: ProcessRole): boolean =>
      endpoints.list(role).every(({ name }) => processes.named(role, name)?.connected === true);
    this.#settled =
      clock.monotonic() - this.#startedAtMs >= SETTLE_MS || (isConnected("router") && isConnected("gateway"));
    return this.#settled;
  }
}
