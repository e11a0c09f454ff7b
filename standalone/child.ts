// Owns: one slot's process: started, watched, started again when it ends, ended for good when told. Told by IPC: ready,
// notices, why it cannot start. Invariant: at most one process of a slot is alive, and none after `close`.
// Elsewhere: whether it answers (liveness.ts), what its words mean for the terminal (supervisor.ts).

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { Backoff } from "#core/runtime/backoff.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type {
  DoorName,
  KillOutcome,
  RouterKillAnswer,
  SlotReport,
  SlotsAnswer,
  SlotState,
  ToParent,
} from "#core/runtime/parent.ts";
import type { Slot } from "./slots.ts";

/** Milliseconds before the first restart: well within the second that users are promised. */
const RESTART_FIRST_MS = 500;
/** Milliseconds between restarts at most: a slot that cannot run costs next to nothing, and recovers by itself. */
const RESTART_MAX_MS = 30_000;
/** Milliseconds a process must have lived for its end not to count as "again". */
const ALIVE_MS = 30_000;

export type ChildState =
  | { readonly kind: "starting"; readonly process: ChildProcess }
  | { readonly kind: "ready"; readonly process: ChildProcess; readonly ports: Partial<Record<DoorName, number>> }
  /** It said that it hands over and ends. */
  | { readonly kind: "draining"; readonly process: ChildProcess }
  /** Ended; to be started again. */
  | { readonly kind: "waiting" }
  | { readonly kind: "closed" };

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly wasReady: boolean;
  /** Milliseconds until the next start; undefined: there is none. */
  readonly restartInMs: number | undefined;
}

export interface ChildEvents {
  ready(child: Child): void;
  notice(child: Child, text: string): void;
  cannotStart(child: Child, text: string): void;
  /** It asks for a router to be killed. */
  killRouter(pid: number): KillOutcome;
  /** It asks how all of them do. */
  slots(): readonly SlotReport[];
  ended(child: Child, end: ChildEnd): void;
}

export type SpawnProcess = (slot: Slot) => ChildProcess;

const STATE_WORDS: Readonly<Record<ChildState["kind"], SlotState>> = {
  starting: "starting",
  ready: "ready",
  draining: "draining",
  waiting: "restarting",
  closed: "ended",
};

export class Child implements Component {
  readonly slot: Slot;
  readonly #spawn: SpawnProcess;
  readonly #events: ChildEvents;
  readonly #backoff = new Backoff({ firstMs: RESTART_FIRST_MS, maxMs: RESTART_MAX_MS });
  #state: ChildState = { kind: "waiting" };
  #wasReady = false;
  #starts = 0;
  #startedAtMs: number | undefined;
  #lastEnd: SlotReport["lastEnd"];
  #closing = false;
  #restart: NodeJS.Timeout | undefined;

  constructor(slot: Slot, spawnProcess: SpawnProcess, events: ChildEvents) {
    this.slot = slot;
    this.#spawn = spawnProcess;
    this.#events = events;
  }

  get state(): ChildState {
    return this.#state;
  }

  get process(): ChildProcess | undefined {
    return "process" in this.#state ? this.#state.process : undefined;
  }

  report(): SlotReport {
    return {
      name: this.slot.name,
      role: this.slot.role,
      state: STATE_WORDS[this.#state.kind],
      pid: this.process?.pid,
      startedAtMs: this.#startedAtMs,
      restarts: Math.max(0, this.#starts - 1),
      lastEnd: this.#lastEnd,
    };
  }

  start(): void {
    if (this.#closing || this.#state.kind !== "waiting") return;
    const startedMs = performance.now();
    this.#starts += 1;
    this.#startedAtMs = Date.now();
    const started = this.#spawn(this.slot);
    this.#state = { kind: "starting", process: started };
    started.on("message", (message) => this.#onMessage(started, message as ToParent));
    started.once("exit", (code, signal) => this.#onEnd(code, signal, performance.now() - startedMs));
    // Without a process there is no exit event; with one (a failed kill or send) there is nothing to do.
    started.once("error", () => {
      if (started.pid === undefined) this.#onEnd(null, null, 0);
    });
  }

  /** Sends a signal to the process, where there is one. */
  kill(signal: NodeJS.Signals): void {
    this.process?.kill(signal);
  }

  /** Kills it because somebody wants to see that: its next start need not wait as after a failure of its own. */
  killOnPurpose(): void {
    this.#backoff.reset();
    this.kill("SIGKILL");
  }

  /** Asks the process to hand over and end; resolves when it has. It is not started again. */
  drain(): Promise<void> {
    return this.#end(askToEnd);
  }

  /** Ends the process at once. */
  close(): Promise<void> {
    return this.#end((child) => child.kill("SIGKILL"));
  }

  async #end(how: (child: ChildProcess) => void): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#restart);
    const { process: child } = this;
    if (child === undefined) {
      this.#state = { kind: "closed" };
      return;
    }
    const ended = once(child, "exit");
    how(child);
    await ended;
  }

  #onMessage(child: ChildProcess, message: ToParent): void {
    switch (message.type) {
      case "ready":
        this.#state = { kind: "ready", process: child, ports: message.ports };
        this.#wasReady = true;
        this.#events.ready(this);
        return;
      case "draining":
        this.#state = { kind: "draining", process: child };
        return;
      case "notice":
        this.#events.notice(this, message.text);
        return;
      case "cannotStart":
        this.#events.cannotStart(this, message.text);
        return;
      case "killRouter": {
        const outcome = this.#events.killRouter(message.pid);
        const answer: RouterKillAnswer = { type: "routerKillAnswer", id: message.id, outcome };
        // One that is gone by now needs no answer.
        child.send(answer, () => {});
        return;
      }
      case "askSlots": {
        const answer: SlotsAnswer = { type: "slotsAnswer", id: message.id, slots: this.#events.slots() };
        child.send(answer, () => {});
        return;
      }
      case "connectionTaken":
        // Handoff hears it.
        return;
    }
  }

  #onEnd(code: number | null, signal: NodeJS.Signals | null, aliveMs: number): void {
    const wasReady = this.#wasReady;
    this.#wasReady = false;
    this.#lastEnd = { code, signal, atMs: Date.now() };
    this.#state = this.#closing ? { kind: "closed" } : { kind: "waiting" };
    if (aliveMs >= ALIVE_MS) this.#backoff.reset();
    const restartInMs = this.#closing ? undefined : this.#backoff.next();
    if (restartInMs !== undefined) this.#restart = setTimeout(() => this.start(), restartInMs);
    this.#events.ended(this, { code, signal, wasReady, restartInMs });
  }
}

/** Windows has no SIGTERM that a process could handle: there, losing its parent is what asks a process to end. */
function askToEnd(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  if (process.platform === "win32") child.disconnect();
  else child.kill("SIGTERM");
}
