// Several operators, whatever happens to their ways, clocks and themselves: never do two of them lead at the same moment,
// and when things are well again, one does.

import * as fc from "fast-check";
import pino from "pino";
import { expect, test } from "vitest";
import { createRegistry } from "#core/runtime/metrics.ts";
import { LeaderElector } from "../../operator/kube/leader.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { LeaseServer, type WayFault } from "../harness/lease-server.ts";
import { settled } from "../harness/settled.ts";

const STEP_MS = 100;

type Mishap =
  | { readonly what: "way"; readonly who: number; readonly fault: WayFault | undefined }
  | { readonly what: "asleep"; readonly who: number; readonly ms: number }
  | { readonly what: "wall clock"; readonly who: number; readonly byMs: number }
  | { readonly what: "restart"; readonly who: number };

class SkewedClock extends HandClock {
  skewMs = 0;

  override now(): number {
    return super.now() + this.skewMs;
  }
}

class Process {
  readonly clock = new SkewedClock();
  fault: WayFault | undefined;
  asleepMs = 0;
  #sleptMs = 0;
  #starts = 0;
  readonly #server: LeaseServer;
  readonly #name: string;
  #elector: LeaderElector;

  constructor(server: LeaseServer, name: string) {
    this.#server = server;
    this.#name = name;
    this.#elector = this.#start();
  }

  /** Whether it would do now what only a leader may. One that is asleep does nothing. */
  get acts(): boolean {
    return this.asleepMs <= 0 && this.#elector.leading;
  }

  /** Lets time pass; true where it led at any moment at which it could do something. */
  pass(ms: number): boolean {
    if (this.asleepMs > 0) {
      this.asleepMs -= ms;
      this.#sleptMs += ms;
      if (this.asleepMs > 0) return false;
      // The first that runs when it wakes.
      let led = false;
      this.clock.after(0, () => (led = this.#elector.leading));
      this.clock.freeze(this.#sleptMs);
      this.#sleptMs = 0;
      return led;
    }
    this.clock.advance(ms);
    return this.#elector.leading;
  }

  /** It dies without a word, and begins anew as somebody else. */
  restart(): void {
    this.fault = { kind: "request lost" };
    void this.#elector.close();
    this.fault = undefined;
    this.#elector = this.#start();
  }

  async close(): Promise<void> {
    await this.#elector.close();
  }

  #start(): LeaderElector {
    this.#starts += 1;
    const elector = new LeaderElector({
      api: this.#server.api(this.clock, () => this.fault),
      namespace: "here",
      name: "earshot",
      identity: `${this.#name}-${this.#starts}`,
      clock: this.clock,
      log: pino({ level: "silent" }),
      registry: createRegistry("operator"),
      onChange: () => undefined,
    });
    elector.start();
    return elector;
  }
}

const who = fc.integer({ min: 0, max: 2 });
const fault: fc.Arbitrary<WayFault | undefined> = fc.oneof(
  fc.constant(undefined),
  fc.constantFrom<WayFault>({ kind: "request lost" }, { kind: "answer lost" }, { kind: "refused", status: 500 }),
  fc.integer({ min: 100, max: 9_000 }).map((ms): WayFault => ({ kind: "late", ms })),
);
const mishap: fc.Arbitrary<Mishap> = fc.oneof(
  fc.record({ what: fc.constant("way" as const), who, fault }),
  fc.record({ what: fc.constant("asleep" as const), who, ms: fc.integer({ min: 500, max: 30_000 }) }),
  fc.record({ what: fc.constant("wall clock" as const), who, byMs: fc.integer({ min: -1e8, max: 1e8 }) }),
  fc.record({ what: fc.constant("restart" as const), who }),
);
const story = fc.array(fc.tuple(mishap, fc.integer({ min: 1, max: 120 })), { minLength: 3, maxLength: 12 });

function befall(process: Process | undefined, event: Mishap): void {
  if (process === undefined) return;
  switch (event.what) {
    case "way":
      process.fault = event.fault;
      return;
    case "asleep":
      process.asleepMs = Math.max(process.asleepMs, event.ms);
      return;
    case "wall clock":
      process.clock.skewMs += event.byMs;
      return;
    case "restart":
      if (process.asleepMs <= 0) process.restart();
  }
}

/** One step for all; how many of them led in it. */
async function step(processes: readonly Process[]): Promise<number> {
  let leaders = 0;
  for (const process of processes) if (process.pass(STEP_MS)) leaders += 1;
  await settled();
  return Math.max(leaders, processes.filter(({ acts }) => acts).length);
}

test("never do two lead at the same moment, and afterwards one does", async () => {
  await fc.assert(
    fc.asyncProperty(story, async (events) => {
      const server = new LeaseServer();
      const processes = ["a", "b", "c"].map((name) => new Process(server, name));
      for (const [event, steps] of events) {
        befall(processes[event.who], event);
        for (let count = 0; count < steps; count++) expect(await step(processes)).toBeLessThanOrEqual(1);
      }
      for (const process of processes) {
        process.fault = undefined;
        process.asleepMs = Math.min(process.asleepMs, STEP_MS);
      }
      for (let count = 0; count < 400; count++) expect(await step(processes)).toBeLessThanOrEqual(1);
      expect(processes.filter(({ acts }) => acts)).toHaveLength(1);
      await Promise.all(processes.map((process) => process.close()));
    }),
    { numRuns: 200 },
  );
}, 240_000);
