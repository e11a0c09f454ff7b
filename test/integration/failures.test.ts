// Processes die while 200 messages a second flow through both gateways, and every message is counted. Nothing restarts
// what died here: a death lasts.

import { afterEach, beforeEach, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { call } from "../harness/http.ts";
import { type Heard, httpDoor, MessageCounter } from "../harness/message-counter.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const TOPIC = "default.demo";
const PER_SECOND = 200;
/** Messages before and after each event: enough to be in the flow. */
const SETTLED = 200;
/** What the design promises for a killed router (500 ms at p99), with room for a machine that runs other tests too. */
const KILLED_SILENCE_MS = 1_500;
const FROZEN_SILENCE_MS = 5_000;
/** Messages that can sit in a router that is killed: those of a few milliseconds. */
const IN_FLIGHT_MAX = 20;

let fleet: TestFleet;
let counter: MessageCounter;
let clients: readonly WebSocketClient[];

async function start(routers: number): Promise<void> {
  fleet = await startFleet({ routers });
  counter = new MessageCounter(TOPIC);
  clients = await Promise.all(
    fleet.names("gateway").map(async (gateway) => {
      const client = await openWebSocket(fleet.ws(gateway), { topics: [TOPIC] });
      counter.listen(gateway, client.frames);
      return client;
    }),
  );
}

beforeEach(() => start(2));
afterEach(async () => {
  await counter.stop();
  await fleet.close();
});

function flow(doors: readonly string[] = fleet.names("gateway")): void {
  counter.start(
    PER_SECOND,
    doors.map((gateway) => httpDoor(fleet.http(gateway), TOPIC)),
  );
}

/** Resolves when `count` more messages have reached an ear. */
async function heardMore(count: number, ear = "gateway-1"): Promise<void> {
  const before = counter.received(ear);
  await until(() => counter.received(ear) >= before + count, `${ear} hears ${count} more messages`, 20_000);
}

/** The router that sequences the topic now. */
function primary(): string {
  const last = clients[1]?.frames.of("message").at(-1);
  const id = last?.["message_id"];
  const incarnation = typeof id === "string" ? id.slice(0, id.lastIndexOf("-")) : "";
  const name = fleet
    .names("router")
    .find((router) => fleet.isRunning(router) && fleet.peer(router).incarnation === incarnation);
  if (name === undefined) throw new Error(`no router is ${incarnation}`);
  return name;
}

/** Incarnations that may carry the topic, primary first. */
async function routersOfTopic(): Promise<readonly string[]> {
  const token = signToken({ sub: "root", earshot: { manage: ["*"] } });
  const { json } = await call(fleet.http(), "GET", `/api/v1/topics/${TOPIC}/route`, { token });
  return (json["routers"] as { incarnation: string }[]).map(({ incarnation }) => incarnation);
}

function heardByAll(): readonly Heard[] {
  return fleet.names("gateway").map((gateway) => counter.heard(gateway));
}

/** Figures of one event, as a reader of the test's output wants them. */
function tell(event: string, figures: object): void {
  process.stdout.write(`figures: ${event}: ${JSON.stringify(figures)}\n`);
}

function summary(heard: Heard): object {
  return { ...heard, lost: heard.lost.length, doubled: heard.doubled.length, disordered: heard.disordered.length };
}

function expectNothingLost(): void {
  for (const heard of heardByAll()) {
    expect(heard).toMatchObject({ lost: [], doubled: [], disordered: [], gapReasons: [] });
  }
}

test("a router that is killed: the standby goes on at once, nothing is doubled, subscribers are told", async () => {
  flow();
  await heardMore(SETTLED);
  const victim = primary();
  fleet.kill(victim);
  await heardMore(2 * SETTLED);
  await counter.stop();
  for (const heard of heardByAll()) {
    tell("router killed", { ...summary(heard), unknown: counter.unknown.size, refused: [...counter.refused] });
    expect(heard.doubled).toEqual([]);
    expect(heard.lost.length).toBeLessThanOrEqual(IN_FLIGHT_MAX);
    expect(heard.longestSilenceMs).toBeLessThan(KILLED_SILENCE_MS);
    expect(heard.gapReasons).toEqual(["router_failover"]);
  }
  expect(counter.unknown.size).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  expect([...counter.refused.keys()]).toEqual([]);
});

test("a router that freezes: delivery goes on within 5 s, and its coming back doubles nothing", async () => {
  flow();
  await heardMore(SETTLED);
  const victim = primary();
  fleet.kill(victim, "SIGSTOP");
  await heardMore(2 * SETTLED);
  fleet.kill(victim, "SIGCONT");
  await heardMore(2 * SETTLED);
  await counter.stop();
  for (const heard of heardByAll()) {
    tell("router frozen", { ...summary(heard), unknown: counter.unknown.size, refused: [...counter.refused] });
    expect(heard.doubled).toEqual([]);
    expect(heard.longestSilenceMs).toBeLessThan(FROZEN_SILENCE_MS);
    expect(heard.gapReasons).toContain("router_failover");
  }
});

test("a router that is asked to stop: nothing is lost, doubled, disordered or disconnected", async () => {
  flow();
  await heardMore(SETTLED);
  const victim = primary();
  fleet.kill(victim, "SIGTERM");
  expect(await fleet.ended(victim)).toBe(0);
  await heardMore(SETTLED);
  await counter.stop();
  tell("router drained", summary(counter.heard("gateway-0")));
  expectNothingLost();
  expect(counter.unknown.size).toBe(0);
  expect([...counter.refused]).toEqual([]);
  expect(counter.unheard.size).toBe(0);
});

test("two routers of three that are asked to stop at once: nothing is lost, doubled or disconnected", async () => {
  await fleet.close();
  await start(3);
  flow();
  await heardMore(SETTLED);
  const first = primary();
  const second = fleet.names("router").find((router) => router !== first) ?? "";
  fleet.kill(first, "SIGTERM");
  fleet.kill(second, "SIGTERM");
  expect(await Promise.all([fleet.ended(first), fleet.ended(second)])).toEqual([0, 0]);
  await heardMore(SETTLED);
  await counter.stop();
  tell("two routers drained", summary(counter.heard("gateway-0")));
  for (const heard of heardByAll()) expect(heard).toMatchObject({ lost: [], doubled: [], gapReasons: [] });
  expect(counter.unknown.size).toBe(0);
  expect([...counter.refused]).toEqual([]);
});

test("a gateway that is killed: who is elsewhere notices nothing; its clients come back elsewhere", async () => {
  flow(["gateway-1"]);
  await heardMore(SETTLED);
  fleet.kill("gateway-0");
  await clients[0]?.closed;
  const again = await openWebSocket(fleet.ws("gateway-1"), { topics: [TOPIC] });
  const heardBefore = again.frames.all.length;
  await heardMore(SETTLED);
  expect(again.frames.all.length).toBeGreaterThan(heardBefore);
  await counter.stop();
  const heard = counter.heard("gateway-1");
  tell("gateway killed", summary(heard));
  expect(heard).toMatchObject({ lost: [], doubled: [], disordered: [], gapReasons: [] });
  expect(counter.unknown.size).toBe(0);
  expect([...counter.refused]).toEqual([]);
});

test("the operator killed: delivery goes on, also when a router dies then; only Topics cannot be made", async () => {
  flow();
  await heardMore(SETTLED);
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  await heardMore(SETTLED);
  const create = (): ReturnType<typeof call> =>
    call(fleet.http(), "POST", "/api/v1/topics", { body: { name: "later", permissions: "PUBLIC" } });
  expect((await create()).json).toMatchObject({ status: 503, code: "control_plane_unavailable", retryable: true });
  fleet.kill(primary());
  await heardMore(SETTLED);
  const late = await openWebSocket(fleet.ws("gateway-0"), { topics: [TOPIC] });
  await late.frames.next({ type: "message" });
  await fleet.start("operator-0");
  await until(async () => (await create()).status === 201, "a Topic can be made again");
  await heardMore(SETTLED);
  await counter.stop();
  for (const heard of heardByAll()) {
    tell("operator and router killed", { ...summary(heard), unknown: counter.unknown.size });
    expect(heard.doubled).toEqual([]);
    expect(heard.lost.length).toBeLessThanOrEqual(IN_FLIGHT_MAX);
    expect(heard.longestSilenceMs).toBeLessThan(KILLED_SILENCE_MS);
  }
});

test("a router that was killed and is back takes part again, and the next death is borne too", async () => {
  flow();
  await heardMore(SETTLED);
  const first = primary();
  fleet.kill(first);
  await fleet.ended(first);
  await heardMore(SETTLED);
  await fleet.start(first);
  const second = primary();
  expect(second).not.toBe(first);
  await until(async () => (await routersOfTopic()).includes(fleet.peer(first).incarnation), "it is in the map again");
  await heardMore(SETTLED);
  fleet.kill(second);
  await heardMore(SETTLED);
  await counter.stop();
  for (const heard of heardByAll()) {
    tell("both routers killed in turn", { ...summary(heard), refused: [...counter.refused] });
    expect(heard.doubled).toEqual([]);
    expect(heard.longestSilenceMs).toBeLessThan(KILLED_SILENCE_MS);
  }
});
