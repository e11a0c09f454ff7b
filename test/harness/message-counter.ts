// Owns: counting numbered messages: published at a rate through one or several doors in turn, heard by any number of
// subscribers; then what each of them lost, heard twice or out of order, and how long nothing came.
// What a publish was told decides what counts: taken (somebody was to hear it), unknown (may have been heard), refused.

import { setTimeout as delay } from "node:timers/promises";
import type { Frames } from "./frames.ts";
import { type Answer, publish } from "./http.ts";

export interface Heard {
  /** Numbers that were taken and never came. */
  readonly lost: readonly number[];
  readonly doubled: readonly number[];
  /** Numbers whose `seq` was not above the one before, of the same incarnation (calls side by side have no order). */
  readonly disordered: readonly number[];
  readonly received: number;
  /** Milliseconds of the longest time between two messages in a row. */
  readonly longestSilenceMs: number;
  /** Sum of `missed` of the gap frames, and their reasons. */
  readonly toldMissed: number;
  readonly gapReasons: readonly string[];
}

/** Milliseconds that a message may be behind the answer to its publisher: both come from one moment by two ways. */
const UNDER_WAY_MS = 1_000;

/** One publish of a payload; resolves with the answer of the door. */
export type Door = (payload: { n: number }) => Promise<Answer>;

export function httpDoor(base: string, topicId: string, token?: string): Door {
  return (payload) => publish(base, topicId, payload, token === undefined ? {} : { token });
}

interface Ear {
  readonly numbers: number[];
  readonly disordered: number[];
  /** Highest `seq` heard of each incarnation. */
  readonly seqs: Map<string, number>;
  lastAtMs: number;
  longestSilenceMs: number;
  toldMissed: number;
  readonly gapReasons: string[];
}

export class MessageCounter {
  readonly taken = new Set<number>();
  /** Told `delivered_to: 0`. */
  readonly unheard = new Set<number>();
  readonly unknown = new Set<number>();
  /** By code of the answer (or what the call threw). */
  readonly refused = new Map<string, number>();
  readonly #ears = new Map<string, Ear>();
  readonly #topicId: string;
  #next = 0;
  #stop = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  constructor(topicId: string) {
    this.#topicId = topicId;
  }

  get published(): number {
    return this.#next;
  }

  /** Counts what a subscriber hears from now on. */
  listen(name: string, frames: Frames): void {
    const ear: Ear = {
      numbers: [],
      disordered: [],
      seqs: new Map(),
      lastAtMs: performance.now(),
      longestSilenceMs: 0,
      toldMissed: 0,
      gapReasons: [],
    };
    this.#ears.set(name, ear);
    frames.on((frame) => {
      if (frame["topic_id"] !== this.#topicId) return;
      if (frame.type === "gap") {
        ear.toldMissed += typeof frame["missed"] === "number" ? frame["missed"] : 0;
        ear.gapReasons.push(frame["reason"] as string);
      }
      if (frame.type !== "message") return;
      const nowMs = performance.now();
      if (ear.numbers.length > 0) ear.longestSilenceMs = Math.max(ear.longestSilenceMs, nowMs - ear.lastAtMs);
      ear.lastAtMs = nowMs;
      const { n } = frame["payload"] as { n: number };
      ear.numbers.push(n);
      const id = frame["message_id"] as string;
      const incarnation = id.slice(0, id.lastIndexOf("-"));
      const seq = frame["seq"] as number;
      if (seq <= (ear.seqs.get(incarnation) ?? -1)) ear.disordered.push(n);
      ear.seqs.set(incarnation, seq);
    });
  }

  /** Starts publishing `perSecond` messages a second through the doors in turn, until `stop`. */
  start(perSecond: number, doors: readonly Door[]): void {
    this.#stop = new AbortController();
    this.#loop = this.#publishAll(perSecond, doors, this.#stop.signal);
  }

  /** Stops publishing; resolves when every publish has its answer, and what is still under way to the ears came. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    const endsAt = performance.now() + UNDER_WAY_MS;
    while (performance.now() < endsAt && this.#isAnythingMissing()) await delay(1);
  }

  #isAnythingMissing(): boolean {
    return [...this.#ears.keys()].some((name) => this.heard(name).lost.length > 0);
  }

  /** How many messages an ear has heard. */
  received(name: string): number {
    return this.#ear(name).numbers.length;
  }

  heard(name: string): Heard {
    const ear = this.#ear(name);
    const times = new Map<number, number>();
    for (const number of ear.numbers) times.set(number, (times.get(number) ?? 0) + 1);
    return {
      lost: [...this.taken].filter((number) => !times.has(number)),
      doubled: [...times].filter(([, count]) => count > 1).map(([number]) => number),
      disordered: ear.disordered,
      received: ear.numbers.length,
      longestSilenceMs: Math.round(ear.longestSilenceMs),
      toldMissed: ear.toldMissed,
      gapReasons: ear.gapReasons,
    };
  }

  async #publishAll(perSecond: number, doors: readonly Door[], stopped: AbortSignal): Promise<void> {
    const startMs = performance.now();
    const answers: Promise<void>[] = [];
    let sent = 0;
    while (!stopped.aborted) {
      const due = Math.floor(((performance.now() - startMs) / 1000) * perSecond);
      for (; sent < due; sent++) {
        const door = doors[sent % doors.length];
        if (door !== undefined) answers.push(this.#publish(door));
      }
      await delay(1);
    }
    await Promise.all(answers);
  }

  async #publish(door: Door): Promise<void> {
    const number = this.#next;
    this.#next += 1;
    try {
      const { status, json } = await door({ n: number });
      if (status === 200) (json["delivered_to"] === 0 ? this.unheard : this.taken).add(number);
      else if (json["code"] === "publish_unknown") this.unknown.add(number);
      else this.#refuse(typeof json["code"] === "string" ? json["code"] : `status ${status}`);
    } catch (error) {
      // The door itself died under the call: like publish_unknown, it may have been heard.
      this.unknown.add(number);
      this.#refuse(`call failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #refuse(why: string): void {
    this.refused.set(why, (this.refused.get(why) ?? 0) + 1);
  }

  #ear(name: string): Ear {
    const ear = this.#ears.get(name);
    if (ear === undefined) throw new Error(`nobody listens as ${name}`);
    return ear;
  }
}
