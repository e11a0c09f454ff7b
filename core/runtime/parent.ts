// Owns: the channel between a process of standalone mode and the one that started it. A process tells when it is ready
// and what its user should read; the parent hands it connections where the platform cannot share a port. A process
// whose parent is gone ends: no orphans. Without a parent (a pod) every call here does nothing.
// A gateway may also ask its parent: to kill a router, for the page's "Kill a router" button, and how its processes do.

import type { Socket } from "node:net";

export type DoorName = "http" | "grpc";

export type ToParent =
  /** This process takes part: its supervisor may count on it. Ports are the public ones it serves, where it has any. */
  | { readonly type: "ready"; readonly ports: Partial<Record<DoorName, number>> }
  /** It hands over and ends: no new connections for it. Said by Lifecycle. */
  | { readonly type: "draining" }
  /** A line for the user's terminal. */
  | { readonly type: "notice"; readonly text: string }
  /** It cannot start, for a reason that the user must mend: one sentence. It exits right after. */
  | { readonly type: "cannotStart"; readonly text: string }
  /** It asks for a router to be killed; `id` comes back with the answer. */
  | { readonly type: "killRouter"; readonly id: number; readonly pid: number }
  /** It asks how the processes of this machine do; `id` comes back with the answer. */
  | { readonly type: "askSlots"; readonly id: number }
  /** It has the connection that was handed over under this id. */
  | ConnectionTaken;

/** `restarting`: its process has ended and is started again; `ended`: it is not started any more. */
export type SlotState = "starting" | "ready" | "draining" | "restarting" | "ended";

/** How the place of one process does, as whoever starts processes there sees it. Times are milliseconds since the epoch. */
export interface SlotReport {
  readonly name: string;
  readonly role: string;
  readonly state: SlotState;
  /** Undefined while there is none. */
  readonly pid: number | undefined;
  /** Of its present or last process. */
  readonly startedAtMs: number | undefined;
  /** Times that a process ended and another was started in its place. */
  readonly restarts: number;
  readonly lastEnd: { readonly code: number | null; readonly signal: string | null; readonly atMs: number } | undefined;
}

export interface SlotsAnswer {
  readonly type: "slotsAnswer";
  readonly id: number;
  readonly slots: readonly SlotReport[];
}

/** A connection that the parent accepted; the socket comes as the message's handle. */
export interface HandedConnection {
  readonly type: "connection";
  readonly id: number;
  readonly door: DoorName;
}

export interface ConnectionTaken {
  readonly type: "connectionTaken";
  readonly id: number;
}

/** What became of a wish to kill a router; `no_answer`: the parent, if any, is none that kills. */
export type KillOutcome = "killed" | "too_soon" | "only_one" | "no_answer";

export interface RouterKillAnswer {
  readonly type: "routerKillAnswer";
  readonly id: number;
  readonly outcome: KillOutcome;
}

/** Milliseconds for the parent's answer: it has nothing to wait for. */
const ANSWER_MS = 2_000;

export function hasParent(): boolean {
  return process.connected;
}

export function tellParent(message: ToParent): void {
  if (process.connected) process.send?.(message);
}

/** Calls `accept` for every connection handed over. The parent hears that it was taken before anything of it is read. */
export function onHandedConnection(accept: (door: DoorName, socket: Socket) => void): void {
  process.on("message", ({ type, id, door }: HandedConnection, handle: unknown) => {
    if (type !== "connection" || handle === undefined) return;
    tellParent({ type: "connectionTaken", id });
    accept(door, handle as Socket);
  });
}

let asked = 0;

/** Asks the parent to kill the router whose process this is. */
export async function askParentToKill(pid: number): Promise<KillOutcome> {
  const answer = await ask<RouterKillAnswer>("routerKillAnswer", (id) => ({ type: "killRouter", id, pid }));
  return answer?.outcome ?? "no_answer";
}

/** How the processes of this machine do; undefined where nobody answers. */
export async function askParentForSlots(): Promise<readonly SlotReport[] | undefined> {
  const answer = await ask<SlotsAnswer>("slotsAnswer", (id) => ({ type: "askSlots", id }));
  return answer?.slots;
}

/** Resolves with the parent's answer, or undefined when none came in time or there is no parent. */
function ask<Answer extends { readonly type: string; readonly id: number }>(
  type: Answer["type"],
  messageOf: (id: number) => ToParent,
): Promise<Answer | undefined> {
  if (!process.connected) return Promise.resolve(undefined);
  asked += 1;
  const id = asked;
  return new Promise((resolve) => {
    const done = (answer: Answer | undefined): void => {
      clearTimeout(timeout);
      process.off("message", hear);
      resolve(answer);
    };
    const hear = (message: Answer): void => {
      if (message.type === type && message.id === id) done(message);
    };
    const timeout = setTimeout(() => done(undefined), ANSWER_MS);
    process.on("message", hear);
    tellParent(messageOf(id));
  });
}

/** Calls `action` when the parent ends or lets go of this process. */
export function onParentGone(action: () => void): void {
  if (process.connected) process.once("disconnect", action);
}
