// The canary beside a real fleet: what it counts is what happened, whatever dies, and what is planned costs it nothing.

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Canary, type CanaryOptions } from "../harness/canary.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { openGrpc } from "../harness/grpc-ears.ts";
import { publish } from "../harness/http.ts";
import { metricIn } from "../harness/metrics.ts";
import { RoundRobin } from "../harness/round-robin.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

const TOPIC = "default.canary";
const MANIFEST = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: canary}
spec: {publishers: [{kind: User, name: canary}], subscribers: [{kind: User, name: canary}]}
`;

describe("the canary of a fleet", () => {
  let fleet: TestFleet;
  let service: RoundRobin;
  let canary: Canary | undefined;
  let tokenFile: string;

  beforeEach(async () => {
    fleet = await startFleet({ topics: [MANIFEST] });
    service = await RoundRobin.listen(fleet.names("gateway").map((name) => Number(fleet.grpc(name).split(":")[1])));
    tokenFile = join(fleet.folder, "token");
    writeFileSync(tokenFile, signToken({ sub: "canary" }));
  });

  afterEach(async () => {
    await canary?.close();
    canary = undefined;
    service?.close();
    await fleet?.close();
  });

  async function startCanary(options: Partial<CanaryOptions> = {}): Promise<Canary> {
    const { address } = service;
    canary = await Canary.start({
      folder: fleet.folder,
      topic: TOPIC,
      publish: address,
      subscribe: address,
      tokenFile,
      ...options,
    });
    return canary;
  }

  /** Waits until it has heard so many more messages. */
  async function hearsMore(one: Canary, count = 10): Promise<void> {
    const { heard } = await one.counts();
    await until(async () => (await one.counts()).heard >= heard + count, `${count} more are heard`, 60_000);
  }

  test("all that it sends is heard, and timed", async () => {
    const one = await startCanary();
    const ears = await openGrpc(fleet.grpc("gateway-1"), [TOPIC], { token: signToken({ sub: "canary" }) });
    await hearsMore(one, 20);
    const text = await one.metrics();
    expect(metricIn(text, "earshot_canary_heard_seconds_count")).toBe(metricIn(text, "earshot_canary_heard_total"));
    expect(metricIn(text, "earshot_canary_heard_seconds_bucket", 'le="0.05"')).toBeGreaterThanOrEqual(0);
    const { sent, heard, missed, refused, open, listening } = await one.counts();
    expect({ missed, refused, listening, sum: heard + open }).toEqual({
      missed: 0,
      refused: 0,
      listening: 1,
      sum: sent,
    });
    expect(await one.readiness()).toEqual({ status: 200, reasons: [] });
    // Somebody else hears the same, each once.
    const numbers = ears
      .of("message")
      .map(({ content }) => (JSON.parse(String(content.value)) as { number: number }).number);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers.length).toBeGreaterThan(10);
    ears.close();
    expect(await one.stop()).toBe(0);
  });

  test("what others say on its topic is not counted", async () => {
    const one = await startCanary();
    await hearsMore(one, 1);
    const token = signToken({ sub: "canary" });
    for (const payload of ["hello", 5, null, { canary: "somebody else", number: 1 }, { canary: 1 }]) {
      expect((await publish(fleet.http(), TOPIC, payload, { token })).status).toBe(200);
    }
    await hearsMore(one, 5);
    const { sent, heard, missed, refused, open } = await one.counts();
    expect({ missed, refused, sum: heard + open }).toEqual({ missed: 0, refused: 0, sum: sent });
  });

  test("a router that dies costs it no more than what was on its way, and each message is counted once", async () => {
    const one = await startCanary();
    await hearsMore(one);
    for (const name of fleet.names("router")) {
      fleet.kill(name);
      await fleet.ended(name);
      await hearsMore(one);
      await fleet.start(name);
      await until(async () => (await fleet.notReady(name)).length === 0, `${name} is warm`, 60_000);
      await hearsMore(one);
    }
    // What is not heard is judged 5 s after it was sent.
    await until(async () => (await one.counts()).open <= 1, "all but the newest is judged", 60_000);
    const { sent, heard, missed, refused, open } = await one.counts();
    expect(heard + missed + refused + open).toBe(sent);
    // One message is on its way at a time; with two deaths, one each at most, and one that a slow machine holds up.
    expect(missed + refused).toBeLessThanOrEqual(4);
  });

  test("a gateway that leaves is left before it goes: nothing is missed", async () => {
    const one = await startCanary();
    await hearsMore(one);
    for (const name of fleet.names("gateway")) {
      fleet.kill(name, "SIGTERM");
      await fleet.ended(name);
      await fleet.start(name);
    }
    await hearsMore(one);
    const { missed, listening } = await one.counts();
    expect({ missed, listening }).toEqual({ missed: 0, listening: 1 });
  });

  test("with no gateway it is not ready, misses or is refused everything, and is back by itself", async () => {
    const one = await startCanary();
    await hearsMore(one);
    const before = await one.counts();
    for (const name of fleet.names("gateway")) fleet.kill(name);
    await until(async () => (await one.counts()).listening === 0, "nobody listens");
    expect(await one.readiness()).toEqual({ status: 503, reasons: ["not listening"] });
    await until(async () => (await one.counts()).refused > before.refused, "a message is refused", 60_000);
    await Promise.all(fleet.names("gateway").map((name) => fleet.start(name)));
    await hearsMore(one);
    expect((await one.readiness()).status).toBe(200);
    // Once each, however often it tried.
    expect(one.said("stream of the canary ended")).toHaveLength(1);
    expect(one.said("publish was not taken")).toHaveLength(1);
    expect(one.said("publishes are taken again")).toHaveLength(1);
  });

  test("a token that is renewed is taken without a message missed", async () => {
    const one = await startCanary();
    await hearsMore(one);
    writeFileSync(tokenFile, signToken({ sub: "canary", groups: ["renewed"] }));
    await until(() => one.said("canary listens").length === 2, "it listens by the new token", 60_000);
    await hearsMore(one);
    expect(await one.counts()).toMatchObject({ missed: 0, refused: 0, listening: 1 });
  });

  test("without the right to, it says so and speaks to nobody", async () => {
    writeFileSync(tokenFile, signToken({ sub: "stranger" }));
    const one = await startCanary();
    await until(() => one.said("stream of the canary ended").length === 1, "it is refused");
    expect(one.said("stream of the canary ended")[0]?.["cause"]).toContain("topic_not_found");
    expect(await one.counts()).toMatchObject({ sent: 0, listening: 0 });
  });
});

test("a setting that is missing is named", () => {
  const entry = join(import.meta.dirname, "../../canary/main.ts");
  const env = { PATH: process.env["PATH"], EARSHOT_CANARY_TOPIC: TOPIC, EARSHOT_CANARY_PUBLISH: "localhost:8081" };
  const { status, stderr } = spawnSync(process.execPath, [entry], { env, encoding: "utf8" });
  expect({ status, stderr }).toEqual({
    status: 2,
    stderr: "canarySubscribe (--canary-subscribe, EARSHOT_CANARY_SUBSCRIBE) must be set\n",
  });
});
