// Owns: handing connections that the supervisor accepted to gateways, in turn, where the kernel does not share a port.
// Only gateways that are ready are given any; where none is, the connection is ended (a client tries again).
// Invariants: nothing of a connection is read here; one that a gateway did not take before it died goes to another, once.
// node:child_process (24.21) loses the handle of a connection whose receiver dies before it answers, and its client waits
// for ever: so the connection stays open here until the gateway has it.

import type { ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { DoorName, HandedConnection, ToParent } from "#core/runtime/parent.ts";
import type { Child } from "./child.ts";
import { closeDoors, type Doors } from "./doors.ts";

const DOOR_NAMES: readonly DoorName[] = ["http", "grpc"];

/** Connections that gateways were given and have not taken yet; one more is ended. A gateway takes one within a turn. */
const UNTAKEN_MAX = 4_096;

/** Gateways that a connection is given to before it is ended. */
const TRIES_MAX = 2;

interface Untaken {
  readonly door: DoorName;
  readonly socket: Socket;
  readonly process: ChildProcess;
  readonly tries: number;
}

export class Handoff implements Component {
  readonly #doors: Doors;
  readonly #gateways: readonly Child[];
  readonly #answers: (gateway: Child) => boolean;
  readonly #untaken = new Map<number, Untaken>();
  readonly #followed = new WeakSet<ChildProcess>();
  #turn = 0;
  #ids = 0;

  /** Takes over the doors. `answers` says whether a gateway answered its last health check. */
  constructor(doors: Doors, gateways: readonly Child[], answers: (gateway: Child) => boolean) {
    this.#doors = doors;
    this.#gateways = gateways;
    this.#answers = answers;
    for (const door of DOOR_NAMES) {
      doors[door].removeAllListeners("connection");
      doors[door].on("connection", (socket) => this.#hand(door, socket, 1));
    }
  }

  /** No new connections. */
  drain(): Promise<void> {
    return this.close();
  }

  async close(): Promise<void> {
    closeDoors(this.#doors);
  }

  #hand(door: DoorName, socket: Socket, tries: number): void {
    const process = this.#next()?.process;
    if (process?.connected !== true || this.#untaken.size >= UNTAKEN_MAX || tries > TRIES_MAX) {
      socket.destroy();
      return;
    }
    this.#follow(process);
    this.#ids += 1;
    const message: HandedConnection = { type: "connection", id: this.#ids, door };
    this.#untaken.set(message.id, { door, socket, process, tries });
    // What cannot be sent has nobody who takes it: the end of the process tells.
    process.send(message, socket, { keepOpen: true }, () => {});
  }

  #follow(process: ChildProcess): void {
    if (this.#followed.has(process)) return;
    this.#followed.add(process);
    process.on("message", (message: ToParent) => {
      if (message.type === "connectionTaken") this.#taken(message.id);
    });
    // What it said last may still be in the channel.
    process.once("exit", () => setImmediate(() => this.#died(process)));
  }

  #taken(id: number): void {
    const socket = this.#untaken.get(id)?.socket;
    this.#untaken.delete(id);
    socket?.destroy();
  }

  #died(process: ChildProcess): void {
    for (const [id, untaken] of this.#untaken) {
      if (untaken.process !== process) continue;
      this.#untaken.delete(id);
      this.#hand(untaken.door, untaken.socket, untaken.tries + 1);
    }
  }

  #next(): Child | undefined {
    const ready = this.#gateways.filter((gateway) => gateway.state.kind === "ready");
    const healthy = ready.filter((gateway) => this.#answers(gateway));
    const candidates = healthy.length > 0 ? healthy : ready;
    this.#turn = (this.#turn + 1) % Math.max(1, candidates.length);
    return candidates[this.#turn];
  }
}
