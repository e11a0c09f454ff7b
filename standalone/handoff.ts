// Owns: handing connections that the supervisor accepted to gateways, in turn, where the kernel does not share a port.
// Only gateways that are ready are given any; where none is, the connection is ended (a client tries again).
// Invariant: nothing of a connection is read here.

import type { Socket } from "node:net";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { DoorName, HandedConnection } from "#core/runtime/parent.ts";
import type { Child } from "./child.ts";
import { closeDoors, type Doors } from "./doors.ts";

const DOOR_NAMES: readonly DoorName[] = ["http", "grpc"];

export class Handoff implements Component {
  readonly #doors: Doors;
  readonly #gateways: readonly Child[];
  #turn = 0;

  /** Takes over the doors. `answers` says whether a gateway answered its last health check. */
  constructor(doors: Doors, gateways: readonly Child[], answers: (gateway: Child) => boolean) {
    this.#doors = doors;
    this.#gateways = gateways;
    for (const door of DOOR_NAMES) {
      doors[door].removeAllListeners("connection");
      doors[door].on("connection", (socket) => this.#hand(door, socket, answers));
    }
  }

  /** No new connections. */
  drain(): Promise<void> {
    return this.close();
  }

  async close(): Promise<void> {
    closeDoors(this.#doors);
  }

  #hand(door: DoorName, socket: Socket, answers: (gateway: Child) => boolean): void {
    const gateway = this.#next(answers);
    if (gateway?.process?.connected !== true) {
      socket.destroy();
      return;
    }
    const message: HandedConnection = { type: "connection", door };
    gateway.process.send(message, socket, {}, (error) => {
      if (error !== null) socket.destroy();
    });
  }

  #next(answers: (gateway: Child) => boolean): Child | undefined {
    const ready = this.#gateways.filter((gateway) => gateway.state.kind === "ready");
    const healthy = ready.filter((gateway) => answers(gateway));
    const candidates = healthy.length > 0 ? healthy : ready;
    this.#turn = (this.#turn + 1) % Math.max(1, candidates.length);
    return candidates[this.#turn];
  }
}
