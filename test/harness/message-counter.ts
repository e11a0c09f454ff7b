// Owns: counting numbered messages: published at a rate through several doors in turn, heard by any number of ears; then
// what each ear lost, heard twice or out of order, how long nothing came, and what the publishers were told.
// What a publish was told decides what counts: taken (somebody was to hear it), unknown (may have been heard), refused.
// Elsewhere: how a door publishes (publish-doors.ts), how an ear hears (following-ear.ts).

import { setTimeout as delay } from "node:timers/promises";

/** What became of one publish. */
export type Outcome =
  | { readonly kind: "taken"; readonly deliveredTo: number }
  | { readonly kind: "error"; readonly code: string }
  /** The door died under the call: like publish_unknown, it may have been heard. */
  | { readonly kind: "broken"; readonly why: string };

/** One way in. */
export interface Door {
  readonly name: string;
  /** Messages that one call of it carries. */
  readonly size: number;
  /** Whether what it says is heard in the order in which it is said (one stream), while no process dies. */
  readonly ordered: boolean;
  /** Publishes numbers; resolves with one outcome each. Never rejects. */
  publish(numbers: readonly number[]): Promise<readonly Outcome[]>;
  close(): void;
}

/** Where an ear puts what it hears. */
export interface Hearing {
  /** `connection` tells its connections apart: order is that of each. */
  message(number: number, messageId: string, seq: number, connection: number): void;
  gap(reason: string, missed: number | undefined): void;
  /** It has no connection from now on, or has one again. */
  away(): void;
  back(): void;
}

/** What publishers were told through one door, or through all. */
export interface Told {
  readonly taken: number;
  /** Told `delivered_to: 0`. */
  readonly unheard: number;
  readonly unknown: number;
  /** By code of the answer. */
  readonly refused: Readonly<Record<string, number>>;
  /** Calls whose door died under them, by what was thrown: unknown too. */
  readonly broken: Readonly<Record<string, number>>;
}

export interface Heard {
  /** Numbers that were accepted and never came, but for those of a time without a connection. */
  readonly lost: readonly number[];
  /** Of a time without a connection, and not heard. */
  readonly missedAway: number;
  readonly doubled: readonly number[];
  /** Numbers whose `seq` was not above the one before, of the same incarnation. */
  readonly disordered: readonly number[];
  /** Numbers that came behind a later one of the same ordered door. */
  readonly overtaken: readonly number[];
  readonly received: number;
  /** Milliseconds of the longest time between two messages in a row. */
  readonly longestSilenceMs: number;
  /** Sum of `missed` of the gap frames, and their reasons. */
  readonly toldMissed: number;
  readonly gapReasons: readonly string[];
}

/** Milliseconds before a connection ended in which a message may have been on its way to it. */
const UNDER_WAY_MS = 1_000;

/** Milliseconds without a message after which no more is expected; on a busy machine clients are behind by so much. */
const QUIET_MS = 2_000;

/** Between two looks through everything that may be missing. */
const LOOK_MS = 100;

/** Between two looks at what is due, times the rate: a quarter of what lies between two messages. */
const PACE_MS = 250;

interface Published {
  readonly door: Door;
  readonly beganMs: number;
  outcome: Outcome | undefined;
}

interface HeardMessage {
  readonly number: number;
  readonly messageId: string;
  readonly seq: number;
  readonly connection: number;
}

interface Ear {
  /** The first number it is owed: it was subscribed before that one was published. */
  readonly from: number;
  /** When each number came first, and how often it came. */
  readonly came: Map<number, { readonly atMs: number; times: number }>;
  readonly disordered: number[];
  readonly overtaken: number[];
  /** Of each connection, the highest number of each ordered door and the highest `seq` of each incarnation. */
  readonly highest: Map<string, number>;
  readonly seqs: Map<string, number>;
  readonly aways: { readonly fromMs: number; toMs: number }[];
  incarnation: string;
  lastAtMs: number;
  longestSilenceMs: number;
  toldMissed: number;
  readonly gapReasons: string[];
}

export class MessageCounter {
  readonly #published: Published[] = [];
  readonly #ears = new Map<string, Ear>();
  #stop = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  /** Messages so far: the next one's number. */
  get published(): number {
    return this.#published.length;
  }

  get ears(): readonly string[] {
    return [...this.#ears.keys()];
  }

  /** Counts what a subscriber hears from now on. It is subscribed already. */
  listen(name: string): Hearing {
    const ear: Ear = {
      from: this.published,
      came: new Map(),
      disordered: [],
      overtaken: [],
      highest: new Map(),
      seqs: new Map(),
      aways: [],
      incarnation: "",
      lastAtMs: performance.now(),
      longestSilenceMs: 0,
      toldMissed: 0,
      gapReasons: [],
    };
    this.#ears.set(name, ear);
    return {
      message: (number, messageId, seq, connection) => this.#message(ear, { number, messageId, seq, connection }),
      gap: (reason, missed) => {
        ear.toldMissed += missed ?? 0;
        ear.gapReasons.push(reason);
      },
      away: () => ear.aways.push({ fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY }),
      back: () => {
        const last = ear.aways.at(-1);
        if (last !== undefined) last.toMs = performance.now();
      },
    };
  }

  /** Starts publishing `perSecond` messages a second through the doors in turn, until `stop`. */
  start(perSecond: number, doors: readonly Door[]): void {
    this.#stop = new AbortController();
    this.#loop = this.#publishAll(perSecond, doors, this.#stop.signal);
  }

  /**
   * Stops publishing; resolves when every publish has its answer, and everything came to the ears, or nothing has for
   * some time: what is missing then is lost.
   */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    const stoppedMs = performance.now();
    const lastMs = (): number => Math.max(stoppedMs, ...[...this.#ears.values()].map(({ lastAtMs }) => lastAtMs));
    while (this.#isAnythingMissing() && performance.now() < lastMs() + QUIET_MS) await delay(LOOK_MS);
  }

  #isAnythingMissing(): boolean {
    return this.ears.some((name) => this.heard(name).lost.length > 0);
  }

  /** How many messages that were published from number `from` on an ear has heard. */
  received(name: string, from = 0): number {
    const { came } = this.#ear(name);
    if (from === 0) return came.size;
    let count = 0;
    for (const number of came.keys()) if (number >= from) count += 1;
    return count;
  }

  /** Of the router that the last message of an ear came from. */
  incarnation(name: string): string {
    return this.#ear(name).incarnation;
  }

  heard(name: string): Heard {
    const ear = this.#ear(name);
    const { came, disordered, overtaken, longestSilenceMs, toldMissed, gapReasons } = ear;
    const lost: number[] = [];
    let missedAway = 0;
    for (let number = ear.from; number < this.published; number++) {
      const { outcome, beganMs } = this.#at(number);
      if (outcome?.kind !== "taken" || came.has(number)) continue;
      if (isAway(ear, beganMs)) missedAway += 1;
      else lost.push(number);
    }
    return {
      lost,
      missedAway,
      doubled: [...came].flatMap(([number, { times }]) => (times > 1 ? [number] : [])),
      disordered,
      overtaken,
      received: came.size,
      longestSilenceMs: Math.round(longestSilenceMs),
      toldMissed,
      gapReasons,
    };
  }

  /** What publishers were told, through all doors or some. */
  told(isCounted: (door: string) => boolean = () => true): Told {
    const none = (): Record<string, number> => ({});
    const told = { taken: 0, unheard: 0, unknown: 0, refused: none(), broken: none() };
    for (const { outcome, door } of this.#published) {
      if (outcome === undefined || !isCounted(door.name)) continue;
      if (outcome.kind === "taken") {
        told.taken += 1;
        if (outcome.deliveredTo === 0) told.unheard += 1;
        continue;
      }
      const isBroken = outcome.kind === "broken";
      const why = isBroken ? outcome.why : outcome.code;
      if (isBroken || why === "publish_unknown") told.unknown += 1;
      if (why === "publish_unknown") continue;
      const by = isBroken ? told.broken : told.refused;
      by[why] = (by[why] ?? 0) + 1;
    }
    return told;
  }

  /**
   * For every door and ear: milliseconds from the first publish begun after an event to the first one that is heard, of
   * those begun after it. What was refused or lost meanwhile makes it longer.
   */
  nextDeliveries(eventMs: number, counts: (door: string, ear: string) => boolean = () => true): readonly number[] {
    const first = new Map<Door, number>();
    for (const [number, { door, beganMs }] of this.#published.entries()) {
      if (beganMs >= eventMs && !first.has(door)) first.set(door, number);
    }
    const times: number[] = [];
    for (const [name, ear] of this.#ears) {
      const heardAtMs = new Map<Door, number>();
      for (const [number, { atMs }] of ear.came) {
        const { door } = this.#at(number);
        if (number >= (first.get(door) ?? Number.POSITIVE_INFINITY) && !heardAtMs.has(door)) heardAtMs.set(door, atMs);
      }
      for (const [door, number] of first) {
        if (!counts(door.name, name)) continue;
        times.push((heardAtMs.get(door) ?? Number.POSITIVE_INFINITY) - this.#at(number).beganMs);
      }
    }
    return times;
  }

  /** Milliseconds from a publish to its hearing, of all that were begun before some moment, at every ear. */
  deliveries(beforeMs: number): readonly number[] {
    const times: number[] = [];
    for (const { came } of this.#ears.values()) {
      for (const [number, { atMs }] of came) {
        const { beganMs } = this.#at(number);
        if (beganMs < beforeMs) times.push(atMs - beganMs);
      }
    }
    return times;
  }

  #message(ear: Ear, { number, messageId, seq, connection }: HeardMessage): void {
    const nowMs = performance.now();
    if (ear.came.size > 0) ear.longestSilenceMs = Math.max(ear.longestSilenceMs, nowMs - ear.lastAtMs);
    ear.lastAtMs = nowMs;
    ear.incarnation = messageId.slice(0, messageId.lastIndexOf("-"));
    if (!isAbove(ear.seqs, `${connection} ${ear.incarnation}`, seq)) ear.disordered.push(number);
    const { door } = this.#at(number);
    if (door.ordered && !isAbove(ear.highest, `${connection} ${door.name}`, number)) ear.overtaken.push(number);
    const known = ear.came.get(number);
    if (known === undefined) ear.came.set(number, { atMs: nowMs, times: 1 });
    else known.times += 1;
  }

  async #publishAll(perSecond: number, doors: readonly Door[], stopped: AbortSignal): Promise<void> {
    const startMs = performance.now();
    const answers: Promise<void>[] = [];
    let sent = 0;
    for (let turn = 0; !stopped.aborted; ) {
      const due = Math.floor(((performance.now() - startMs) / 1000) * perSecond);
      while (sent < due) {
        const door = doors[turn % doors.length];
        turn += 1;
        if (door === undefined) throw new Error("no doors");
        sent += door.size;
        answers.push(this.#publish(door));
      }
      await delay(Math.max(1, PACE_MS / perSecond));
    }
    await Promise.all(answers);
  }

  async #publish(door: Door): Promise<void> {
    const first = this.published;
    const numbers = Array.from({ length: door.size }, (_, index) => first + index);
    const beganMs = performance.now();
    const entries = numbers.map((): Published => ({ door, beganMs, outcome: undefined }));
    this.#published.push(...entries);
    const outcomes = await door.publish(numbers);
    for (const [index, entry] of entries.entries()) entry.outcome = outcomes[index];
  }

  #at(number: number): Published {
    const published = this.#published[number];
    if (published === undefined) throw new Error(`nobody published ${number}`);
    return published;
  }

  #ear(name: string): Ear {
    const ear = this.#ears.get(name);
    if (ear === undefined) throw new Error(`nobody listens as ${name}`);
    return ear;
  }
}

/** Whether a value is above the highest of its kind so far, which it then is. */
function isAbove(highest: Map<string, number>, kind: string, value: number): boolean {
  if (value <= (highest.get(kind) ?? -1)) return false;
  highest.set(kind, value);
  return true;
}

/** Whether a message may have passed while an ear had no connection. */
function isAway({ aways }: Ear, beganMs: number): boolean {
  return aways.some(({ fromMs, toMs }) => beganMs >= fromMs - UNDER_WAY_MS && beganMs <= toMs);
}
