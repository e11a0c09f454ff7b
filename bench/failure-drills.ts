// Owns: the events of the failures bench: what is done, from when on deliveries are timed, and how everything gets whole
// again. Elsewhere: the flow of messages (test/harness/drill.ts), repeating and printing (failures.ts).

import { type Drill, DRILL_TOPIC, restart } from "../test/harness/drill.ts";
import type { FleetOptions } from "../test/harness/fleet.ts";
import { manifest } from "../test/harness/manifest.ts";
import { HAS_REDIS, RedisServer } from "../test/harness/redis.ts";
import { until } from "../test/harness/until.ts";

/** A row of the table: what it counts. */
export interface DrillRow {
  readonly label: string;
  /** The gateway whose doors and ears count; undefined: all. */
  readonly gateway?: string;
}

export interface DrillKind {
  readonly name: string;
  readonly what: string;
  /** Default: one row of its name that counts all. */
  readonly rows?: readonly DrillRow[];
  /** It takes long, and is done once. */
  readonly once?: boolean;
  /** Why it cannot be done on this machine. */
  readonly skipped?: string;
  /** Brings what its fleet needs beside itself; ended by `close`. Default: nothing. */
  open?(): Promise<FleetOptions>;
  close?(): Promise<void>;
  /** Does it, and resolves when all is whole again: with the moment of each event. */
  event(drill: Drill): Promise<readonly number[]>;
}

/** Messages after an event until it counts as over. */
const SETTLED = 200;

/** Milliseconds without an operator: longer than any timer of those that go on without it (heartbeats 3 s, gaps 10 s). */
const OPERATOR_GONE_MS = 60_000;

async function routerGone(drill: Drill, signal: NodeJS.Signals): Promise<readonly number[]> {
  const victim = drill.primary();
  const atMs = performance.now();
  drill.fleet.kill(victim, signal);
  await drill.fleet.ended(victim);
  await drill.flows(SETTLED);
  await restart(drill.fleet, victim);
  await drill.isMapped(victim);
  return [atMs];
}

async function routerFrozen(drill: Drill): Promise<readonly number[]> {
  const victim = drill.primary();
  const atMs = performance.now();
  drill.fleet.kill(victim, "SIGSTOP");
  await drill.flows(SETTLED);
  drill.fleet.kill(victim, "SIGCONT");
  await drill.flows(SETTLED);
  await drill.isMapped(victim);
  return [atMs];
}

async function gatewayGone(drill: Drill, signal: NodeJS.Signals): Promise<readonly number[]> {
  const atMs = performance.now();
  drill.fleet.kill("gateway-0", signal);
  await drill.fleet.ended("gateway-0");
  await drill.flows(SETTLED);
  await restart(drill.fleet, "gateway-0");
  return [atMs];
}

/** A router dies while there is no operator, which comes back after its minute. */
async function operatorGone(drill: Drill): Promise<readonly number[]> {
  const { fleet } = drill;
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  const endsAtMs = performance.now() + OPERATOR_GONE_MS;
  await drill.flows(SETTLED);
  const victim = drill.primary();
  const atMs = performance.now();
  fleet.kill(victim);
  await fleet.ended(victim);
  await until(() => performance.now() >= endsAtMs, "the minute is over", 2 * OPERATOR_GONE_MS);
  await restart(fleet, "operator-0");
  await fleet.start(victim);
  await drill.isMapped(victim);
  await drill.flows(SETTLED);
  return [atMs];
}

/** Redis dies, and comes back with nothing in it. */
function redisGone(): DrillKind {
  let redis: RedisServer | undefined;
  const topic = manifest(DRILL_TOPIC, "permissions: Public, presence: Members");
  return {
    name: "redis-gone",
    what: "SIGKILL to Redis, back and empty once messages were heard without it",
    ...(HAS_REDIS ? {} : { skipped: "there is no redis-server here" }),
    open: async () => {
      redis = await RedisServer.start();
      return { presence: false, topics: [topic], env: { EARSHOT_REDIS_URL: redis.url } };
    },
    event: async (drill) => {
      const atMs = performance.now();
      await redis?.kill();
      await drill.flows(SETTLED);
      await redis?.start();
      await drill.flows(SETTLED);
      return [atMs];
    },
    close: async () => redis?.close(),
  };
}

/** Rows of what happens at a gateway: to whoever is elsewhere, and to its own clients. */
function atGateway(name: string): readonly DrillRow[] {
  return [
    { label: `${name}, others`, gateway: "gateway-1" },
    { label: `${name}, its clients`, gateway: "gateway-0" },
  ];
}

export const DRILLS: readonly DrillKind[] = [
  {
    name: "router-killed",
    what: "SIGKILL to the topic's primary router",
    event: (drill) => routerGone(drill, "SIGKILL"),
  },
  {
    name: "router-frozen",
    what: "SIGSTOP to it, SIGCONT once messages flow again",
    event: routerFrozen,
  },
  {
    name: "router-drained",
    what: "SIGTERM to it",
    event: (drill) => routerGone(drill, "SIGTERM"),
  },
  {
    name: "routers-in-turn",
    what: "SIGKILL to it, and to the next one when the first is back in the list",
    event: async (drill) => [...(await routerGone(drill, "SIGKILL")), ...(await routerGone(drill, "SIGKILL"))],
  },
  {
    name: "gateway-killed",
    what: "SIGKILL to one gateway; its clients go to the other at once",
    rows: atGateway("gateway-killed"),
    event: (drill) => gatewayGone(drill, "SIGKILL"),
  },
  {
    name: "gateway-drained",
    what: "SIGTERM to one gateway; its clients move as they are told",
    rows: atGateway("gateway-drained"),
    event: (drill) => gatewayGone(drill, "SIGTERM"),
  },
  {
    name: "operator-gone",
    what: "SIGKILL to the operator, absent for a minute, in which a router is killed and stays dead",
    once: true,
    event: operatorGone,
  },
  redisGone(),
];
