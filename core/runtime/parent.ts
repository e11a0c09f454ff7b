// Owns: the channel between a process of standalone mode and the one that started it. A process tells when it is ready
// and what its user should read; the parent hands it connections where the platform cannot share a port. A process
// whose parent is gone ends: no orphans. Without a parent (a pod) every call here does nothing.
// A gateway may also ask its parent to kill a router, for the page's "Kill a router" button.

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
  | { readonly type: "killRouter"; readonly id: number; readonly pid: number };

/** A connection that the parent accepted; the socket comes as the message's handle. */
export interface HandedConnection {
  readonly type: "connection";
  readonly door: DoorName;
}

/** What became of a wish to kill a router; `no_answer`: the parent, if any, is none that kills. */
export type KillOutcome = "killed" | "too_soon" | "only_one" | "no_answer";

export interface RouterKillAnswer {
  readonly type: "routerKillAnswer";
  readonly id: number;
  readonly outcome: KillOutcome;
}

/** Milliseconds for the parent's answer: it has nothing to wait for. */
const KILL_ANSWER_MS = 2_000;

export function hasParent(): boolean {
  return process.connected;
}

export function tellParent(message: ToParent): void {
  if (process.connected) process.send?.(message);
}

/** Calls `accept` for every connection handed over. */
export function onHandedConnection(accept: (door: DoorName, socket: Socket) => void): void {
  process.on("message", (message: HandedConnection, handle: unknown) => {
    if (message.type === "connection" && handle !== undefined) accept(message.door, handle as Socket);
  });
}

let killsAsked = 0;

/** Asks the parent to kill the router whose process this is. */
export function askParentToKill(pid: number): Promise<KillOutcome> {
  killsAsked += 1;
  const id = killsAsked;
  return new Promise((resolve) => {
    const done = (outcome: KillOutcome): void => {
      clearTimeout(timeout);
      process.off("message", hear);
      resolve(outcome);
    };
    const hear = (message: RouterKillAnswer): void => {
      if (message.type === "routerKillAnswer" && message.id === id) done(message.outcome);
    };
    const timeout = setTimeout(() => done("no_answer"), KILL_ANSWER_MS);
    process.on("message", hear);
    tellParent({ type: "killRouter", id, pid });
  });
}

/** Calls `action` when the parent ends or lets go of this process. */
export function onParentGone(action: () => void): void {
  if (process.connected) process.once("disconnect", action);
}
