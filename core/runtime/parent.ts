// Owns: the channel between a process of standalone mode and the one that started it. A process tells when it is ready
// and what its user should read; the parent hands it connections where the platform cannot share a port. A process
// whose parent is gone ends: no orphans. Without a parent (a pod) every call here does nothing.

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
  | { readonly type: "cannotStart"; readonly text: string };

/** A connection that the parent accepted; the socket comes as the message's handle. */
export interface HandedConnection {
  readonly type: "connection";
  readonly door: DoorName;
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

/** Calls `action` when the parent ends or lets go of this process. */
export function onParentGone(action: () => void): void {
  if (process.connected) process.once("disconnect", action);
}
