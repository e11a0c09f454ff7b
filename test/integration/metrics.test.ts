// What processes measure, read as Prometheus reads it: from a fleet that does a little of everything, with names that
// cannot be overlooked.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { PAYLOAD_MARK } from "../../scripts/log-check.ts";
import { metricsPage, scrapeEveryKind, type Scrapes } from "../../scripts/metrics-page.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { grpcPublish, openGrpc } from "../harness/grpc-ears.ts";
import { publish } from "../harness/http.ts";
import { openSse } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const PROMTOOL = spawnSync("promtool", ["--version"]).status === 0;

describe("the metrics of every kind of process", () => {
  let scrapes: Scrapes;
  beforeAll(async () => {
    scrapes = await scrapeEveryKind();
  });

  test("are those of docs/metrics.md (npm run docs)", () => {
    expect(readFileSync(join(import.meta.dirname, "../../docs/metrics.md"), "utf8")).toBe(metricsPage(scrapes));
  });

  test.skipIf(!PROMTOOL)("pass promtool without a word (skipped where promtool is not there)", () => {
    for (const [variant, text] of Object.entries(scrapes)) {
      const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
      expect({ variant, status, said: `${stdout}${stderr}` }).toEqual({ variant, status: 0, said: "" });
    }
  });
});

/** Every name begins so; no process may show any of it. */
const MARK = "zzmark";
const PAYLOAD = PAYLOAD_MARK + MARK;
const TOPIC = `${MARK}.${MARK}topic`;
const TOPICS = [
  `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: ${MARK}, name: ${MARK}topic}
spec: {permissions: Public, channels: Dynamic, presence: Members}
`,
];

/** Topics and users of the crowd: labels that followed either would be as many series. */
const CROWD = 2_000;

/** Histograms of a message's way, each with the process that keeps it. */
const WAY = [
  ["gateway-0", 'earshot_edge_publish_seconds_count{door="http"'],
  ["gateway-0", 'earshot_edge_publish_seconds_count{door="websocket"'],
  ["gateway-0", 'earshot_edge_publish_seconds_count{door="grpc"'],
  ["gateway-0", "earshot_publish_hop_seconds_count"],
  ["router", "earshot_router_batch_wait_seconds_count"],
  ["router", "earshot_router_handed_on_seconds_count"],
  ["gateway-0", "earshot_gateway_link_delivery_seconds_count"],
  ["gateway-0", "earshot_gateway_fan_out_seconds_count"],
  ["gateway-0", "earshot_gateway_delivery_seconds_count"],
] as const;

describe("a busy fleet", () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet({
      topics: TOPICS,
      env: { EARSHOT_REQUESTS_PER_SECOND_PER_ADDRESS: "1000000", EARSHOT_UPGRADES_PER_SECOND: "1000000" },
    });
  });
  afterAll(() => fleet?.close());

  const names = (): readonly string[] =>
    ["operator", "router", "gateway", "presence"].flatMap((role) => fleet.names(role as "router"));

  /** Sum of all series whose line begins so, over the processes whose name begins so. */
  async function sum(process: string, start: string): Promise<number> {
    let total = 0;
    for (const name of names().filter((one) => one.startsWith(process))) {
      for (const line of (await fleet.metrics(name)).split("\n")) {
        if (line.startsWith(start)) total += Number(line.slice(line.lastIndexOf(" ") + 1));
      }
    }
    return total;
  }

  async function seriesOf(name: string): Promise<number> {
    return (await fleet.metrics(name)).split("\n").filter((line) => line !== "" && !line.startsWith("#")).length;
  }

  /** Speaks over every door and hears on every transport. */
  async function everything(user: string, channel: string): Promise<void> {
    const token = signToken({ sub: user });
    const topicId = `${TOPIC}:${channel}`;
    const socket = await openWebSocket(fleet.ws(), { topics: [topicId], token, query: "presence=true" });
    const events = await openSse(fleet.http("gateway-1"), topicId, token);
    const ears = await openGrpc(fleet.grpc(), [topicId], { token });
    const client = new GrpcClient(fleet.grpc(), token);
    socket.send({ type: "publish", topic_id: topicId, payload: PAYLOAD });
    await publish(fleet.http(), topicId, PAYLOAD, { token });
    await grpcPublish(client, { topicId, content: { case: "payload", value: JSON.stringify(PAYLOAD) } });
    await until(() => events.frames.of("message").length === 3, "everything is heard");
    client.close();
    ears.close();
    await Promise.all([socket.close(), events.close()]);
  }

  test("shows no topic, channel, user, token, address or payload, and every part of a message's way", async () => {
    await everything(`${MARK}user`, `${MARK}channel`);
    await publish(fleet.http(), TOPIC, 1, { token: "eyJhbGciOiJIUzI1NiJ9.e30.zzmark" });
    for (const [process, series] of WAY) {
      await until(async () => (await sum(process, series)) > 0, `${series} moves at ${process}`);
    }
    for (const name of names()) {
      const text = await fleet.metrics(name);
      expect(text).not.toContain(MARK);
      expect(text).not.toMatch(/eyJ|127\.0\.0\.1|::1/);
      expect(text.match(/ (?:NaN|undefined)$/m)).toBeNull();
    }
  });

  test("has no more series for 2,000 topics and users than for one", async () => {
    const before = new Map<string, number>();
    for (const name of names()) before.set(name, await seriesOf(name));
    const base = fleet.http();
    for (let from = 0; from < CROWD; from += 100) {
      const calls = Array.from({ length: 100 }, (_, index) => {
        const token = signToken({ sub: `user-${from + index}` });
        return publish(base, `${TOPIC}:room-${from + index}`, index, { token });
      });
      for (const { status } of await Promise.all(calls)) expect(status).toBe(200);
    }
    expect(
      await sum("gateway-0", 'earshot_edge_publishes_total{door="http",outcome="accepted"'),
    ).toBeGreaterThanOrEqual(CROWD);
    for (const name of names())
      expect({ name, series: await seriesOf(name) }).toEqual({ name, series: before.get(name) });
  });

  test("tells that everybody has the map and every link is up; and, when a router dies, what that changes", async () => {
    const state = async (): Promise<object> => ({
      behind: await sum("operator", "earshot_operator_processes_behind"),
      out: await sum("operator", 'earshot_operator_shards{owners="0"'),
      whole: await sum("operator", 'earshot_operator_shards{owners="2"'),
      alive: await sum("gateway", 'earshot_gateway_links{state="alive"'),
      silent: (await sum("gateway", "earshot_gateway_link_silence_seconds")) < 30,
      operators: await sum("", 'earshot_sync_sources{kind="operator"'),
      unreachable: await sum("gateway", "earshot_publish_unreachable_shards"),
    });
    const well = { behind: 0, out: 0, whole: 1_024, alive: 4, silent: true, operators: 4, unreachable: 0 };
    await until(async () => JSON.stringify(await state()) === JSON.stringify(well), "all is well", 30_000);
    const epoch = await sum("operator", "earshot_operator_epoch");
    expect(await sum("", "earshot_sync_epoch")).toBe(4 * epoch);
    expect(await sum("", "earshot_sync_acked_epoch")).toBe(4 * epoch);
    fleet.kill("router-0");
    await fleet.ended("router-0");
    await until(
      async () => (await sum("gateway", "earshot_gateway_links_ended_total")) === 2,
      "both gateways lost a link",
    );
    expect(await sum("gateway", 'earshot_gateway_links_ended_total{reason="broken"')).toBe(2);
    await fleet.start("router-0");
    await until(async () => JSON.stringify(await state()) === JSON.stringify(well), "all is well again", 60_000);
  });

  test("logs nothing for a message, and nothing that was said or who proved to be who", async () => {
    const token = signToken({ sub: `${MARK}user` });
    const linesOf = (): number => names().reduce((lines, name) => lines + fleet.logs(name).split("\n").length, 0);
    const before = linesOf();
    for (let index = 0; index < 1_000; index++) await publish(fleet.http(), TOPIC, PAYLOAD, { token });
    expect(linesOf() - before).toBeLessThan(20);
    for (const name of names()) expect(fleet.logs(name)).not.toMatch(/payload-must-not-be-logged|zzmarkuser|eyJ/);
  });
});
