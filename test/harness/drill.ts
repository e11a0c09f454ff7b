// Owns: the setting of a drill: numbered messages at a steady rate over every door of every gateway, heard over
// WebSocket, SSE and gRPC at every gateway; and the figures of what an event did to them. Used by the tests of failures
// and by the bench that repeats them. Elsewhere: the processes (fleet.ts), the event.

import type { PeerEndpoint } from "#core/fleet/peers.ts";
import { EAR_KINDS, FollowingEar } from "./following-ear.ts";
import type { TestFleet } from "./fleet.ts";
import type { Gateways } from "./gateway-choice.ts";
import { type Door, type Heard, MessageCounter, type Told } from "./message-counter.ts";
import { allDoors } from "./publish-doors.ts";
import { signToken } from "./token.ts";
import { until } from "./until.ts";
import { call } from "./http.ts";

export const DRILL_TOPIC = "default.demo";

/** Messages that can sit in a process that is killed, and be lost or answered `publish_unknown`: those of 100 ms. */
export const IN_FLIGHT_MAX = 20;

/** Milliseconds without a message after a router's death: half of what a missed heartbeat takes. The design's 500 are the bench's. */
export const KILLED_SILENCE_MS = 1_500;

const PER_SECOND = 200;
/** Messages before an event: enough to be in the flow. */
const SETTLED = 200;
/** Milliseconds for what takes a moment on a machine of its own. */
const PATIENCE_MS = 60_000;

export interface DrillOptions {
  readonly topicId?: string;
  /** Characters that every message has beside its number. */
  readonly padding?: string;
}

export interface Figures {
  /** Messages published in all. */
  readonly published: number;
  /** Worst of all ears. */
  readonly lost: number;
  readonly doubled: number;
  readonly disordered: number;
  readonly overtaken: number;
  readonly longestSilenceMs: number;
  /** Gap notices an ear was told at most, by reason. */
  readonly gaps: Readonly<Record<string, number>>;
  /** Connections of ears that broke, and that were left as told. */
  readonly breaks: number;
  readonly moves: number;
  readonly told: Told;
}

/** The processes of a drill: a fleet of the harness, or an installation under its supervisor. */
export interface DrilledFleet extends Gateways {
  names(role: PeerEndpoint["role"]): readonly string[];
  http(gateway?: string): string;
  isRunning(name: string): boolean;
  peer(name: string): PeerEndpoint;
}

export class Drill<F extends DrilledFleet = TestFleet> {
  readonly fleet: F;
  readonly topicId: string;
  readonly counter = new MessageCounter();
  readonly #options: DrillOptions;
  #ears: readonly FollowingEar[] = [];
  #doors: readonly Door[] = [];
  #stopped: Promise<void> | undefined;

  private constructor(fleet: F, options: DrillOptions) {
    this.fleet = fleet;
    this.#options = options;
    this.topicId = options.topicId ?? DRILL_TOPIC;
  }

  /** Opens all ears and doors; resolves when messages are in the flow at every ear. */
  static async start<F extends DrilledFleet>(fleet: F, options: DrillOptions = {}): Promise<Drill<F>> {
    const drill = new Drill(fleet, options);
    await drill.#start();
    return drill;
  }

  get ears(): readonly FollowingEar[] {
    return this.#ears;
  }

  async #start(): Promise<void> {
    const { fleet, topicId, counter } = this;
    const ears = fleet
      .names("gateway")
      .flatMap((home) => EAR_KINDS.map((kind) => ({ kind, home, topicId, gateways: fleet })));
    this.#ears = await Promise.all(ears.map((options) => FollowingEar.open(options, counter)));
    this.#doors = allDoors(fleet, topicId, this.#options.padding);
    counter.start(PER_SECOND, this.#doors);
    await this.flows(SETTLED);
  }

  /** Resolves when every ear (or those given) has heard some more messages, of those published from now on. */
  async flows(count: number, ears: readonly string[] = this.counter.ears): Promise<void> {
    const { counter } = this;
    const from = counter.published;
    await until(
      () => ears.every((ear) => counter.received(ear, from) >= count),
      `${ears.join(", ")} hear ${count} more messages`,
      PATIENCE_MS,
    );
  }

  /** The router that sequences the topic now. */
  primary(): string {
    const { fleet, counter } = this;
    const incarnation = counter.incarnation(counter.ears[0] ?? "");
    const name = fleet
      .names("router")
      .find((router) => fleet.isRunning(router) && fleet.peer(router).incarnation === incarnation);
    if (name === undefined) throw new Error(`no router is ${incarnation}`);
    return name;
  }

  /** Resolves when a router that runs is in the topic's list, with a second one beside it. */
  async isMapped(router: string): Promise<void> {
    const { incarnation } = this.fleet.peer(router);
    const isThere = async (): Promise<boolean> => {
      const routers = await this.#routersOfTopic();
      return routers.length > 1 && routers.includes(incarnation);
    };
    await until(isThere, `${router} is in the list of the topic`, PATIENCE_MS);
  }

  /** Ends the flow; resolves when every answer is there. The ears stay open. */
  stop(): Promise<void> {
    this.#stopped ??= this.counter.stop();
    return this.#stopped;
  }

  async close(): Promise<void> {
    for (const ear of this.#ears) ear.close();
    await this.stop();
    for (const door of this.#doors) door.close();
  }

  heard(gateway?: string): readonly Heard[] {
    return this.#of(gateway).map(({ name }) => this.counter.heard(name));
  }

  /** Of all ears and doors, or those that began at one gateway. */
  figures(gateway?: string): Figures {
    const heard = this.heard(gateway);
    const worst = (of: (one: Heard) => number): number => Math.max(...heard.map(of));
    const gaps: Record<string, number> = {};
    for (const reason of new Set(heard.flatMap(({ gapReasons }) => gapReasons))) {
      gaps[reason] = worst(({ gapReasons }) => gapReasons.filter((one) => one === reason).length);
    }
    return {
      published: this.counter.published,
      lost: worst(({ lost }) => lost.length),
      doubled: worst(({ doubled }) => doubled.length),
      disordered: worst(({ disordered }) => disordered.length),
      overtaken: worst(({ overtaken }) => overtaken.length),
      longestSilenceMs: worst(({ longestSilenceMs }) => longestSilenceMs),
      gaps,
      breaks: this.#of(gateway).reduce((sum, { breaks }) => sum + breaks, 0),
      moves: this.#of(gateway).reduce((sum, { moves }) => sum + moves, 0),
      told: this.counter.told((door) => isAt(door, gateway)),
    };
  }

  /** For every door and ear of all gateways, or of one; see MessageCounter. */
  nextDeliveries(eventMs: number, gateway?: string): readonly number[] {
    return this.counter.nextDeliveries(eventMs, (door, ear) => isAt(door, gateway) && isAt(ear, gateway));
  }

  #of(gateway: string | undefined): readonly FollowingEar[] {
    return this.#ears.filter(({ name }) => isAt(name, gateway));
  }

  async #routersOfTopic(): Promise<readonly string[]> {
    const token = signToken({ sub: "root", earshot: { manage: ["*"] } });
    const { json } = await call(this.fleet.http(), "GET", `/api/v1/topics/${this.topicId}/route`, { token });
    return (json["routers"] as { incarnation: string }[]).map(({ incarnation }) => incarnation);
  }
}

/** Whether a door or an ear began at a gateway; undefined: at any. */
function isAt(name: string, gateway: string | undefined): boolean {
  return gateway === undefined || name.endsWith(` at ${gateway}`);
}

/** Waits until a process has ended, and starts it again; resolves when it is ready. */
export async function restart(fleet: TestFleet, name: string): Promise<void> {
  await fleet.ended(name);
  await fleet.start(name);
}

/** Figures of one event, as a reader of the test's output wants them. */
export function tellFigures(event: string, figures: object): void {
  process.stdout.write(`figures: ${event}: ${JSON.stringify(figures)}\n`);
}
