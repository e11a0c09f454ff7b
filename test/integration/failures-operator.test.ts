// The operator dies and stays away while 200 messages a second come in over every door and are heard over every transport
// at both gateways. Absent for longer than the longest timer of who goes on without it: the 10 s in which a router's death
// is told as `gap` (heartbeats take 3 s, what a map dropped is withdrawn after 5 s). The whole minute is the bench's.

import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { Drill, DRILL_TOPIC, IN_FLIGHT_MAX, KILLED_SILENCE_MS, restart, tellFigures } from "../harness/drill.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { grpcPublish, openGrpc } from "../harness/grpc-ears.ts";
import { type Answer, call } from "../harness/http.ts";
import { until } from "../harness/until.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const SETTLED = 200;
const ABSENT_MS = 12_000;

let fleet: TestFleet;
let drill: Drill;
/** Ports on which routers serve services of the cluster, as in Kubernetes. */
let ports: Readonly<Record<string, number>>;
beforeEach(async () => {
  ports = { "router-0": await freePort(), "router-1": await freePort() };
  fleet = await startFleet({
    envOf: (name): Record<string, string> => {
      const port = ports[name];
      return port === undefined ? {} : { EARSHOT_GRPC_PORT: String(port) };
    },
  });
  drill = await Drill.start(fleet);
});
afterEach(async () => {
  await drill.close();
  await fleet.close();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const TOPICS = "/api/v1/topics";
const make = (name: string, gateway = "gateway-0"): Promise<Answer> =>
  call(fleet.http(gateway), "POST", TOPICS, { body: { name, permissions: "PUBLIC" } });
const change = (name: string): Promise<Answer> =>
  call(fleet.http(), "PATCH", `${TOPICS}/default.${name}`, { body: { permissions: "PRIVATE" } });
const remove = (name: string): Promise<Answer> => call(fleet.http(), "DELETE", `${TOPICS}/default.${name}`);

/** Publishes at a router's own port, as a service in the cluster does; resolves with `delivered_to`. */
async function publishAtRouter(router: string): Promise<number> {
  const client = new GrpcClient(`127.0.0.1:${ports[router]}`);
  try {
    const payload = JSON.stringify({ n: 0 });
    const topicId = `${DRILL_TOPIC}:at-router`;
    const { deliveredTo } = await grpcPublish(client, { topicId, content: { case: "payload", value: payload } });
    return Number(deliveredTo);
  } finally {
    client.close();
  }
}

test("the operator killed and absent: messages go on, through a router's death too; only Topics cannot be changed", async () => {
  expect((await make("early")).status).toBe(201);
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  const endsAtMs = performance.now() + ABSENT_MS;
  const unavailable = { status: 503, code: "control_plane_unavailable", retryable: true };
  for (const gateway of fleet.names("gateway")) expect((await make("later", gateway)).json).toMatchObject(unavailable);
  expect((await change("early")).json).toMatchObject(unavailable);
  expect((await remove("early")).json).toMatchObject(unavailable);
  await drill.flows(SETTLED);
  const victim = drill.primary();
  fleet.kill(victim);
  await fleet.ended(victim);
  await drill.flows(SETTLED);

  // Whoever starts meanwhile gets Topics and map from a router, and serves: the router at its own port, though no map
  // names it (and so it does not call itself ready).
  fleet.launch(victim);
  const late = await fleet.add("gateway");
  const ears = await openGrpc(fleet.grpc(late), [`${DRILL_TOPIC}:at-router`]);
  await until(() => publishAtRouter(victim).catch(() => 0), "the router that started meanwhile hands on a publish");
  await ears.next("message");
  expect(await fleet.notReady(victim)).toEqual(["no shard map names this router yet"]);
  await until(() => performance.now() >= endsAtMs, "the operator was away for long enough", 2 * ABSENT_MS);
  await drill.flows(SETTLED);
  expect((await make("later")).json).toMatchObject(unavailable);

  await fleet.start("operator-0");
  await until(async () => (await make("later")).status === 201, "a Topic can be made again");
  expect((await change("early")).status).toBe(200);
  expect((await remove("early")).status).toBe(204);
  await drill.isMapped(victim);
  await drill.flows(SETTLED);
  await drill.stop();
  ears.close();
  const figures = drill.figures();
  tellFigures("operator absent, router killed meanwhile", figures);
  expect(figures).toMatchObject({ doubled: 0, breaks: 0, told: { unheard: 0, refused: {} } });
  expect(figures.lost).toBeLessThanOrEqual(IN_FLIGHT_MAX);
  expect(figures.longestSilenceMs).toBeLessThan(KILLED_SILENCE_MS);
  for (const { lost, gapReasons } of drill.heard())
    if (lost.length > 0) expect(gapReasons).toContain("router_failover");
});

test("the operator killed and started again while nothing else happens: nobody notices", async () => {
  fleet.kill("operator-0");
  await drill.flows(SETTLED);
  await restart(fleet, "operator-0");
  await until(async () => (await make("later")).status === 201, "a Topic can be made again");
  await drill.flows(SETTLED);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("operator killed and back", figures);
  expect(figures).toMatchObject({ lost: 0, doubled: 0, disordered: 0, overtaken: 0, gaps: {}, breaks: 0 });
  expect(figures.told).toEqual({ taken: figures.published, unheard: 0, unknown: 0, refused: {}, broken: {} });
});
