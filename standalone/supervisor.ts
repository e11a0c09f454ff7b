// Owns: the processes of one machine as a whole: all of them started at once, each started again when it ends, all of
// them ended in order: gateways first (they move their clients), then routers (nobody asks them any more), then the
// rest. What a process says for the user becomes one line on the terminal, said once.
// Elsewhere: one process (child.ts), what is checked before (prepare.ts).

import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { KillOutcome, SlotReport } from "#core/runtime/parent.ts";
import { type PeerDirectory, watchPeers } from "#core/fleet/peers.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { createLog, type Log } from "#core/runtime/log.ts";
import { CannotStart, EXIT_CANNOT_START, EXIT_WRONG_SETTING } from "./cannot-start.ts";
import { Child, type ChildEnd, type ChildEvents } from "./child.ts";
import { closeDoors } from "./doors.ts";
import { Handoff } from "./handoff.ts";
import { Liveness } from "./liveness.ts";
import { Logs } from "./logs.ts";
import type { Prepared } from "./prepare.ts";
import { RouterKiller } from "./router-killer.ts";
import { type Role, slotsOf } from "./slots.ts";
import { spawnSlot } from "./spawn.ts";

/** Milliseconds beyond the drain time that gateways have to close their sockets. */
const GATEWAYS_EXTRA_MS = 500;
/** Milliseconds for routers once no gateway is left that could publish or be written to: there is nothing to hand over. */
const ROUTERS_MS = 500;
const REST_MS = 1_000;
/** Milliseconds after which a start that is not done says what it waits for. */
const PATIENCE_MS = 10_000;

export class Supervisor implements Component, ChildEvents {
  readonly #prepared: Prepared;
  readonly #say: (line: string) => void;
  readonly #logs: Logs;
  readonly #log: Log;
  readonly #peers: PeerDirectory;
  readonly #children: readonly Child[];
  readonly #liveness: Liveness;
  readonly #routerKiller: RouterKiller;
  #handoff: Handoff | undefined;
  readonly #started = Promise.withResolvers<void>();
  #running = false;
  /** Why a slot cannot start, in the words of its process. */
  readonly #reasons = new Map<string, string>();
  /** What the terminal was told of a slot, so that it is said once. */
  readonly #lastWords = new Map<string, string>();
  #stopping: Promise<void> | undefined;

  /** `say` puts one line on the user's terminal. */
  constructor(prepared: Prepared, say: (line: string) => void) {
    const { config, peersFolder } = prepared.installation;
    this.#prepared = prepared;
    this.#say = say;
    this.#logs = new Logs(join(config.state, "logs"));
    this.#logs.descriptorOf("supervisor");
    this.#log = createLog(config.logLevel, { role: "supervisor" }, this.#logs.pathOf("supervisor"));
    this.#peers = watchPeers(`folder:${peersFolder}`, this.#log);
    const spawnProcess = (slot: Child["slot"]): ChildProcess => spawnSlot(slot, this.#logs.descriptorOf(slot.name));
    this.#children = slotsOf(prepared.installation).map((slot) => new Child(slot, spawnProcess, this));
    this.#liveness = new Liveness(this.#children, this.#peers, this.#log);
    this.#routerKiller = new RouterKiller(this.#of("router"));
  }

  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Starts every process; resolves when all are ready. Rejects with CannotStart when one says that it cannot. */
  async start(): Promise<void> {
    const { doors, portSharing } = this.#prepared;
    if (portSharing === "handoff") {
      this.#handoff = new Handoff(doors, this.#of("gateway"), (gateway) => this.#liveness.answers(gateway));
    }
    for (const child of this.#children) child.start();
    const patience = setTimeout(() => this.#sayWhoIsMissing(), PATIENCE_MS);
    try {
      await this.#started.promise;
      this.#running = true;
    } finally {
      clearTimeout(patience);
    }
  }

  /** Hands over and ends everything, within the drain time and 3 s. */
  drain(deadlineMs: number): Promise<void> {
    this.#stopping ??= this.#stop(deadlineMs);
    return this.#stopping;
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.close()));
    await this.#liveness.close();
    await this.#handoff?.close();
    closeDoors(this.#prepared.doors);
    await this.#peers.close();
    this.#log.info("all processes ended");
    await this.#logs.close();
    this.#prepared.lock.release();
  }

  ready(child: Child): void {
    this.#lastWords.delete(child.slot.name);
    this.#reasons.delete(child.slot.name);
    this.#log.info({ process: child.slot.name, pid: child.process?.pid }, "process ready");
    // The ports are the gateways' own from now on.
    if (child.slot.role === "gateway" && this.#handoff === undefined) closeDoors(this.#prepared.doors);
    if (this.#children.every(({ state }) => state.kind === "ready")) this.#started.resolve();
  }

  notice(_child: Child, text: string): void {
    this.#say(text);
  }

  cannotStart(child: Child, text: string): void {
    this.#reasons.set(child.slot.name, text);
    if (this.#running) this.#sayOnce(child.slot.name, text);
  }

  killRouter(pid: number): KillOutcome {
    const outcome = this.#routerKiller.kill(pid);
    this.#log.warn({ pid, outcome }, "a router was to be killed");
    return outcome;
  }

  slots(): readonly SlotReport[] {
    return this.#children.map((child) => child.report());
  }

  ended(child: Child, end: ChildEnd): void {
    const { name } = child.slot;
    this.#log.warn({ process: name, ...end }, "process ended");
    if (end.restartInMs === undefined || end.wasReady) return;
    const reason = this.#reasons.get(name);
    const how = end.signal === null ? `exit code ${end.code}` : end.signal;
    const words = reason ?? `${name} ended (${how}) before it was ready; why is in ${this.#logs.pathOf(name)}`;
    // A start gives up at once where the process knows why, and at the second time where it does not.
    const knows = reason !== undefined || this.#lastWords.get(name) === words;
    if (this.#running || !knows) this.#sayOnce(name, words);
    else this.#started.reject(new CannotStart(words, reason === undefined ? EXIT_CANNOT_START : EXIT_WRONG_SETTING));
  }

  async #stop(deadlineMs: number): Promise<void> {
    this.#log.info({ deadlineMs }, "all processes are told to end");
    await this.#handoff?.drain();
    await this.#drainAll(["gateway"], deadlineMs + GATEWAYS_EXTRA_MS);
    await this.#drainAll(["router"], ROUTERS_MS);
    await this.#drainAll(["operator", "presence"], REST_MS);
    await this.close();
  }

  async #drainAll(roles: readonly Role[], limitMs: number): Promise<void> {
    const ended = Promise.all(roles.flatMap((role) => this.#of(role)).map((child) => child.drain()));
    await Promise.race([ended, delay(limitMs, undefined, { ref: false })]);
  }

  #of(role: Role): readonly Child[] {
    return this.#children.filter((child) => child.slot.role === role);
  }

  #sayOnce(name: string, text: string): void {
    if (this.#lastWords.get(name) === text) return;
    this.#lastWords.set(name, text);
    this.#say(text);
  }

  #sayWhoIsMissing(): void {
    const missing = this.#children.filter(({ state }) => state.kind !== "ready").map(({ slot }) => slot.name);
    this.#say(
      `Still waiting for ${missing.join(", ")}; their logs are in ${join(this.#prepared.installation.config.state, "logs")}`,
    );
  }
}
