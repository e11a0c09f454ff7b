// Clients that stop reading and clients that vanish, while 200 messages a second come in over every door and are heard
// over every transport at both gateways: nobody else notices, what they lost is told, and their places become free.
// Elsewhere: what each slowConsumer rule drops, to the message (contract-websocket-slow).

import { get } from "node:http";
import { afterEach, expect, test, vi } from "vitest";
import { Drill, DRILL_TOPIC, tellFigures } from "../harness/drill.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { Frames } from "../harness/frames.ts";
import { openGrpc } from "../harness/grpc-ears.ts";
import { call } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { RawWebSocket } from "../harness/raw-websocket.ts";
import { SilentProxy } from "../harness/silent-proxy.ts";
import { openSse } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

/** With 200 a second, 0.8 MB/s to everybody. */
const PADDING = "x".repeat(4_096);
/** More than 2 s of it: on a busy machine those who read are behind as well. */
const UNSENT_BYTES_MAX = 2 * 1024 * 1024;
/** Milliseconds until the kernel's buffers of a connection are full, and more was dropped. */
const FULL_MS = 120_000;

let fleet: TestFleet | undefined;
let drill: Drill | undefined;
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await drill?.close();
  await fleet?.close();
  [drill, fleet] = [undefined, undefined];
});

async function begin(spec: string, env: Readonly<Record<string, string>>, padding?: string) {
  fleet = await startFleet({ topics: [manifest(DRILL_TOPIC, spec)], env });
  drill = await Drill.start(fleet, padding === undefined ? {} : { padding });
  return { fleet, drill };
}

async function metric(fleet: TestFleet, name: string): Promise<number> {
  const text = await fleet.metrics("gateway-0");
  const values = text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([\\d.e+]+)$`, "gm"));
  return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** An SSE stream that can stop reading. */
function hearSse(url: string): { frames: Frames; pause(): void; resume(): void; close(): void } {
  const frames = new Frames();
  let rest = "";
  const request = get(url, (response) => {
    response.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data: ")) frames.add(line.slice("data: ".length));
    });
  });
  request.on("error", () => undefined);
  return {
    frames,
    pause: () => request.socket?.pause(),
    resume: () => request.socket?.resume(),
    close: () => request.destroy(),
  };
}

/** Nobody of the drill lost, was told, or had to come again; every publish was taken. */
function expectUnmoved(drill: Drill, event: string): void {
  const figures = drill.figures();
  tellFigures(event, figures);
  expect(figures).toMatchObject({ lost: 0, doubled: 0, disordered: 0, overtaken: 0, gaps: {}, breaks: 0 });
  expect(figures.told).toEqual({ taken: figures.published, unheard: 0, unknown: 0, refused: {}, broken: {} });
}

/** Checks that each `seq` follows the one before, or that a gap told how many are missing between; tells how many. */
function missedBetween(frames: Frames): number {
  let last: number | undefined;
  let missed = 0;
  let missedInAll = 0;
  for (const frame of frames.all) {
    if (frame.type === "gap") {
      expect(frame["reason"]).toBe("slow_consumer");
      missed += frame["missed"] as number;
    }
    if (frame.type !== "message") continue;
    const seq = frame["seq"] as number;
    if (last !== undefined) expect(seq).toBe(last + missed + 1);
    last = seq;
    missedInAll += missed;
    missed = 0;
  }
  return missedInAll;
}

test("clients that do not read: others are not slowed, memory stays below its cap, and they are told what they missed", async () => {
  const spec = "permissions: Public, delivery: {slowConsumer: DropOldest}";
  const { fleet, drill } = await begin(spec, { EARSHOT_UNSENT_BYTES: String(UNSENT_BYTES_MAX) }, PADDING);
  const deaf = await RawWebSocket.open(fleet.ws(), `/ws/subscribe?topic_id=${DRILL_TOPIC}`);
  const deafSse = hearSse(`${fleet.http()}/api/v1/topics/${DRILL_TOPIC}/subscribe`);
  closers.push(
    () => deaf.destroy(),
    () => deafSse.close(),
  );
  for (const { frames } of [deaf, deafSse]) await frames.next({ type: "subscribed" });
  deaf.socket.pause();
  deafSse.pause();
  let unsentMost = 0;
  await until(
    async () => {
      unsentMost = Math.max(unsentMost, await metric(fleet, "earshot_gateway_unsent_bytes"));
      return (await metric(fleet, "earshot_gateway_dropped_total")) > 400;
    },
    "400 messages were dropped",
    FULL_MS,
  );
  await drill.flows(200);
  await drill.stop();
  expectUnmoved(drill, "clients that do not read");
  // Each may have its cap unsent, and one message more.
  tellFigures("unsent bytes at most, of two deaf clients", { unsentMost, cap: 2 * UNSENT_BYTES_MAX });
  expect(unsentMost).toBeLessThanOrEqual(2 * (UNSENT_BYTES_MAX + 2 * PADDING.length));

  deaf.socket.resume();
  deafSse.resume();
  await call(fleet.http(), "POST", `/api/v1/topics/${DRILL_TOPIC}/publish`, { body: { payload: { end: true } } });
  for (const { frames } of [deaf, deafSse]) {
    await frames.next((frame) => (frame["payload"] as { end?: true } | undefined)?.end === true);
    expect(missedBetween(frames)).toBeGreaterThan(0);
  }
});

test("a client that does not read where the Topic says Disconnect: is ended 3103, and nobody else notices", async () => {
  const spec = "permissions: Public, delivery: {slowConsumer: Disconnect}";
  const { fleet, drill } = await begin(spec, { EARSHOT_UNSENT_BYTES: String(UNSENT_BYTES_MAX) }, PADDING);
  const deaf = await RawWebSocket.open(fleet.ws(), `/ws/subscribe?topic_id=${DRILL_TOPIC}`);
  closers.push(() => deaf.destroy());
  await deaf.frames.next({ type: "subscribed" });
  const before = await metric(fleet, "earshot_gateway_connections");
  deaf.socket.pause();
  await until(async () => (await metric(fleet, "earshot_gateway_connections")) < before, "its place is free", FULL_MS);
  await drill.flows(200);
  await drill.stop();
  expectUnmoved(drill, "a client that does not read, Disconnect");
  deaf.socket.resume();
  expect(await deaf.closed()).toBe(3103);
});

const VANISHING = ["by-websocket", "by-sse", "by-grpc"];

test("clients that vanish without a word: connections end by what is not answered or taken, presence leaves, counts go down", async () => {
  const spec = "permissions: Public, presence: Members";
  const { fleet, drill } = await begin(spec, { EARSHOT_PING_INTERVAL: "2s" }, PADDING);
  const http = await SilentProxy.listen(Number(new URL(fleet.http()).port));
  const grpc = await SilentProxy.listen(Number(new URL(`http://${fleet.grpc()}`).port));
  closers.push(
    () => http.close(),
    () => grpc.close(),
  );
  const observer = await openWebSocket(fleet.ws("gateway-1"), { topics: [DRILL_TOPIC], query: "presence=true" });
  closers.push(() => observer.close());
  const count = async (): Promise<unknown> =>
    (await call(fleet.http("gateway-1"), "GET", `/api/v1/topics/${DRILL_TOPIC}`)).json["subscriber_count"];
  /** Who of them was told to have come, or to have left. */
  const told = (field: "joined" | "left"): readonly string[] => {
    const users = observer.frames.of("presence").flatMap((frame) => (frame[field] ?? []) as { user_id: string }[]);
    return VANISHING.filter((name) => users.some(({ user_id: userId }) => userId === name));
  };
  const others = Number(await count());
  const held = await metric(fleet, "earshot_gateway_connections");

  const [byWebSocket = "", bySse = "", byGrpc = ""] = VANISHING.map((sub) => signToken({ sub }));
  const socket = await openWebSocket(`ws://127.0.0.1:${http.port}`, { topics: [DRILL_TOPIC], token: byWebSocket });
  const stream = await openSse(`http://127.0.0.1:${http.port}`, DRILL_TOPIC, bySse);
  const ears = await openGrpc(`127.0.0.1:${grpc.port}`, [DRILL_TOPIC], { token: byGrpc });
  closers.push(
    () => socket.close(),
    () => stream.close(),
    () => ears.close(),
  );
  await until(() => told("joined").length === VANISHING.length, "their presence is told");
  await until(async () => (await count()) === others + VANISHING.length, "they count");
  await drill.flows(200);

  http.fallSilent();
  grpc.fallSilent();
  // The WebSocket ends after 6 s without a pong; streams 5 s after the buffers on their way are full.
  await until(() => told("left").includes("by-websocket"), "the WebSocket's presence leaves", FULL_MS);
  await until(() => told("left").length === VANISHING.length, "everybody's presence leaves", FULL_MS);
  await until(async () => (await count()) === others, "they count no more");
  await until(async () => (await metric(fleet, "earshot_gateway_connections")) === held, "their places are free");
  await drill.flows(200);
  await drill.stop();
  expectUnmoved(drill, "clients that vanished");
});
