// SSE and gRPC streams of a gateway, and clients of every kind that do not keep up.

import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { afterEach, describe, expect, it } from "vitest";
import { GrpcClient } from "#core/runtime/grpc.ts";
import type { Config } from "#core/runtime/settings.ts";
import { SubscribeRequestSchema, type SubscribeResponse, SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";
import { EDGE_SECRET } from "../harness/edge-stand-ins.ts";
import { LocalGateway } from "../harness/local-gateway.ts";
import { openSse, SseClient } from "../harness/sse.ts";
import { signToken, type TokenClaims } from "../harness/token.ts";
import { until } from "../harness/until.ts";

const TOPIC = "default.demo:42";

let local: LocalGateway | undefined;
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await local?.close();
  local = undefined;
});

async function open(settings: Partial<Config> = {}): Promise<LocalGateway> {
  local = await LocalGateway.open(settings);
  return local;
}

async function sse(gateway: LocalGateway, path: string, token?: string): Promise<SseClient> {
  const client = await SseClient.open(gateway.http, path, token);
  closers.push(() => client.close());
  return client;
}

function tokenOf(claims: TokenClaims): string {
  return signToken(claims, EDGE_SECRET);
}

const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

describe("SSE", () => {
  it("says when to retry, welcomes, and streams what WebSockets hear", async () => {
    const gateway = await open();
    const client = await sse(gateway, `/api/v1/topics/${TOPIC}/subscribe`);
    await client.frames.next({ type: "subscribed" });
    const { headers } = client.response;
    expect(headers.get("content-type")).toMatch(/^text\/event-stream/);
    expect(headers.get("cache-control")).toBe("no-store, no-transform");
    expect(headers.get("x-accel-buffering")).toBe("no");
    expect(headers.get("access-control-allow-origin")).toBe("*");
    const retry = Number(/^retry: (\d+)$/.exec(client.fields[0] ?? "")?.[1]);
    expect(retry).toBeGreaterThanOrEqual(1_000);
    expect(retry).toBeLessThanOrEqual(5_000);
    expect(client.fields.length).toBe(1);
    gateway.router.speak(TOPIC, { payload: { a: 1 } }, { payload: 2 });
    await client.frames.next((frame) => frame["payload"] === 2);
    expect(client.frames.all.map((frame) => frame.type)).toEqual(["welcome", "subscribed", "message", "message"]);
  });

  it("takes many topics, of which a bad one is an error event among the others", async () => {
    const gateway = await open();
    const client = await sse(gateway, `/api/v1/subscribe?topic_id=${TOPIC}&topic_id=default.unknown&presence=true`);
    expect(await client.frames.next({ type: "error" })).toMatchObject({
      topic_id: "default.unknown",
      code: "topic_not_found",
    });
    await client.frames.next({ type: "subscribed", topic_id: TOPIC });
    await client.frames.next({ type: "presence", topic_id: TOPIC });
  });

  it("answers what is wrong with its real status when no topic can be had", async () => {
    const gateway = await open();
    gateway.topics.add("default.inbox", { permissions: "PublishOnly" });
    const answers: [string, string | undefined, number, string][] = [
      ["/api/v1/topics/default.unknown/subscribe", undefined, 404, "topic_not_found"],
      ["/api/v1/topics/nonsense/subscribe", undefined, 422, "topic_id_invalid"],
      ["/api/v1/topics/default.inbox/subscribe", undefined, 401, "unauthenticated"],
      ["/api/v1/topics/default.inbox/subscribe", tokenOf({ sub: "alice" }), 403, "forbidden"],
      [`/api/v1/topics/${TOPIC}/subscribe`, "nonsense", 401, "unauthenticated"],
      [`/api/v1/topics/${TOPIC}/subscribe`, tokenOf({ sub: "alice", exp: inSeconds(-60) }), 401, "token_expired"],
      [`/api/v1/topics/${TOPIC}/subscribe?echo=maybe`, undefined, 422, "invalid_request"],
      ["/api/v1/subscribe", undefined, 422, "invalid_request"],
    ];
    for (const [path, token, status, code] of answers) {
      const response = await fetch(
        `${gateway.http}${path}`,
        token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } },
      );
      expect([path, response.status, ((await response.json()) as { code: string }).code]).toEqual([path, status, code]);
    }
    await until(() => gateway.gateway.sessions.size === 0, "nobody is left");
  });

  it("answers 200, when to come back, and the end, where the gateway takes no more", async () => {
    const gateway = await open({ connectionsMax: 1 });
    await openSse(gateway.http, TOPIC).then((client) => closers.push(() => client.close()));
    const client = await sse(gateway, `/api/v1/topics/${TOPIC}/subscribe`);
    await client.ended;
    expect(client.response.status).toBe(200);
    expect(client.fields[0]).toMatch(/^retry: \d+$/);
    expect(client.frames.all.map((frame) => frame.type)).toEqual(["reconnect"]);
    expect(client.frames.all[0]?.["delay_ms"]).toBeGreaterThanOrEqual(1_000);
  });

  it("ends after the error token_expired, and stays open after an unsubscribe", async () => {
    const gateway = await open();
    const expiring = await sse(gateway, `/api/v1/topics/${TOPIC}/subscribe`, tokenOf({ sub: "a", exp: inSeconds(2) }));
    const staying = await sse(gateway, `/api/v1/topics/${TOPIC}/subscribe`, tokenOf({ sub: "alice" }));
    await staying.frames.next({ type: "subscribed" });
    gateway.router.evict(TOPIC, { userId: "alice", reason: "requested" });
    await staying.frames.next({ type: "unsubscribed", reason: "requested" });
    await expiring.ended;
    expect(expiring.frames.all.at(-1)).toMatchObject({ type: "error", code: "token_expired" });
    expect(gateway.gateway.sessions.size).toBe(1);
  });

  it("serves a proxy that speaks HTTP/1.0", async () => {
    const gateway = await open();
    const socket = connectTcp(gateway.port, "127.0.0.1");
    closers.push(() => socket.destroy());
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
    });
    socket.write(`GET /api/v1/topics/${TOPIC}/subscribe HTTP/1.0\r\nhost: localhost\r\n\r\n`);
    await until(() => text.includes('"subscribed"'), "it is subscribed");
    expect(text).not.toMatch(/transfer-encoding/i);
    expect(text.slice(text.indexOf("\r\n\r\n") + 4)).toMatch(/^retry: \d+\n\ndata: \{"type":"welcome"/);
  });

  it("forgets a client that went away", async () => {
    const gateway = await open();
    const client = await openSse(gateway.http, TOPIC);
    await gateway.router.interest(TOPIC, 1);
    await client.close();
    await gateway.router.interest(TOPIC, 0);
    await until(() => gateway.gateway.sessions.size === 0, "it is forgotten");
  });
});

interface GrpcEars {
  readonly events: SubscribeResponse["event"][];
  readonly ended: Promise<{ code: number; details: string }>;
  readonly call: { cancel(): void; pause(): unknown; resume(): unknown };
}

function grpcSubscribe(gateway: LocalGateway, topicIds: string[], token?: string, presence = false): GrpcEars {
  const client = new GrpcClient(gateway.grpc, token);
  const request = create(SubscribeRequestSchema, { topicIds, presence });
  const call = client.serverStream(SubscriberService.method.subscribe, request);
  const events: SubscribeResponse["event"][] = [];
  call.on("data", (response: SubscribeResponse) => events.push(response.event));
  call.on("error", () => undefined);
  const ended = new Promise<{ code: number; details: string }>((resolve) => call.on("status", resolve));
  closers.push(() => {
    call.cancel();
    client.close();
  });
  return { events, ended, call };
}

describe("gRPC subscribe", () => {
  it("streams typed events in order, with payloads as they were spoken", async () => {
    const gateway = await open();
    const { events } = grpcSubscribe(gateway, [TOPIC, "default.unknown"], tokenOf({ sub: "alice" }), true);
    await until(() => events.some((event) => event.case === "subscribed"), "it is subscribed");
    gateway.router.speak(TOPIC, { payload: { b: [1, 2], a: '","payload":' } });
    await until(() => events.some((event) => event.case === "message"), "it hears");
    expect(events.map((event) => event.case)).toEqual(["welcome", "error", "subscribed", "presence", "message"]);
    expect(events[0]?.value).toMatchObject({ userId: "alice" });
    expect(events[4]?.value).toMatchObject({
      topicId: TOPIC,
      messageId: "router0-1",
      seq: 1n,
      publisherId: "bob",
      content: { case: "payload", value: '{"b":[1,2],"a":"\\",\\"payload\\":"}' },
    });
  });

  it("fails when no topic can be had", async () => {
    const gateway = await open();
    expect(await grpcSubscribe(gateway, ["default.unknown"]).ended).toMatchObject({ code: 5 });
    expect(await grpcSubscribe(gateway, []).ended).toMatchObject({ code: 3 });
    expect(await grpcSubscribe(gateway, [TOPIC], "nonsense").ended).toMatchObject({ code: 16 });
    const many = Array.from({ length: 129 }, (_, index) => `default.demo:${index}`);
    expect(await grpcSubscribe(gateway, many).ended).toMatchObject({ code: 3 });
  });

  it("is refused where the gateway takes no more, and gives its place back when cancelled", async () => {
    const gateway = await open({ connectionsMax: 1 });
    const first = grpcSubscribe(gateway, [TOPIC]);
    await until(() => first.events.some((event) => event.case === "subscribed"), "it is subscribed");
    expect(await grpcSubscribe(gateway, [TOPIC]).ended).toMatchObject({ code: 14 });
    first.call.cancel();
    await until(() => gateway.gateway.sessions.size === 0, "its place is free");
    const second = grpcSubscribe(gateway, [TOPIC]);
    await until(() => second.events.some((event) => event.case === "subscribed"), "the next one is taken");
  });

  it("ends with token_expired when its token does", async () => {
    const gateway = await open();
    const { ended, events } = grpcSubscribe(gateway, [TOPIC], tokenOf({ sub: "alice", exp: inSeconds(2) }));
    expect(await ended).toMatchObject({ code: 16 });
    expect(events.some((event) => event.case === "unsubscribed")).toBe(true);
  });
});

/** A WebSocket client that reads nothing until it is told to. */
async function deafWebSocket(gateway: LocalGateway): Promise<{ socket: Socket; text: () => string }> {
  const socket = connectTcp(gateway.port, "127.0.0.1");
  closers.push(() => socket.destroy());
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.write(
    `GET /ws/subscribe?topic_id=${TOPIC} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  const text = (): string => Buffer.concat(chunks).toString("latin1");
  await until(() => text().includes('"subscribed"'), "it is subscribed");
  socket.pause();
  return { socket, text };
}

/** Speaks numbered messages of 32 KiB until the gateway has dropped some. */
async function speakUntilDropped(gateway: LocalGateway): Promise<number> {
  const dropped = async (): Promise<number> => {
    const metric = await gateway.registry.getSingleMetric("earshot_gateway_dropped_total")?.get();
    return (metric?.values ?? []).reduce((sum, { value }) => sum + value, 0);
  };
  let spoken = 0;
  while ((await dropped()) < 20) {
    for (let index = 0; index < 10; index++) {
      spoken += 1;
      gateway.router.speak(TOPIC, { payload: `${spoken}:${"x".repeat(32_768)}` });
    }
    const { length } = gateway.router.batchConfirms;
    await until(() => gateway.router.batchConfirms.length > length, "they were handed on");
  }
  return spoken;
}

describe("a client that does not read", () => {
  it("loses the oldest, is told how many, and loses nobody else's time", async () => {
    const gateway = await open({ unsentBytes: 256 * 1024 });
    const other = await openSse(gateway.http, TOPIC);
    closers.push(() => other.close());
    const { socket, text } = await deafWebSocket(gateway);
    const spoken = await speakUntilDropped(gateway);
    await until(() => other.frames.of("message").length === spoken, "the other heard everything");
    socket.resume();
    await until(() => text().includes(`"payload":"${spoken}:`), "it heard the last one");
    const heard = [...text().matchAll(/"payload":"(\d+):/g)].map((match) => Number(match[1]));
    const missed = [...text().matchAll(/"missed":(\d+),"reason":"slow_consumer"/g)].map((match) => Number(match[1]));
    expect(heard.length + missed.reduce((sum, count) => sum + count, 0)).toBe(spoken);
    expect(heard).toEqual(heard.toSorted((a, b) => a - b));
    expect(missed.length).toBeGreaterThan(0);
    const unsent = await gateway.registry.getSingleMetric("earshot_gateway_unsent_bytes")?.get();
    expect(unsent?.values[0]?.value).toBe(0);
  });

  it("is ended 3103 where its Topic says so", async () => {
    const gateway = await open({ unsentBytes: 256 * 1024 });
    gateway.topics.add("default.demo", { permissions: "Public", channels: "Dynamic", slowConsumer: "Disconnect" });
    const { socket, text } = await deafWebSocket(gateway);
    for (let batch = 0; gateway.gateway.sessions.size > 0; batch++) {
      expect(batch).toBeLessThan(10_000);
      gateway.router.speak(TOPIC, { payload: "x".repeat(32_768) });
      await until(() => gateway.router.batchConfirms.at(-1) === BigInt(batch + 1), "it was handed on");
    }
    socket.resume();
    await once(socket, "close");
    // The close frame is the last one: 0x88, length, 3103.
    const end = text().lastIndexOf("\x88");
    expect(Buffer.from(text().slice(end + 2, end + 4), "latin1").readUInt16BE(0)).toBe(3103);
  });

  it("over gRPC is held by flow control, loses the oldest and is told", async () => {
    const gateway = await open({ unsentBytes: 256 * 1024 });
    const { events, call } = grpcSubscribe(gateway, [TOPIC]);
    await until(() => events.some((event) => event.case === "subscribed"), "it is subscribed");
    call.pause();
    const spoken = await speakUntilDropped(gateway);
    call.resume();
    const heard = (): number => events.filter((event) => event.case === "message").length;
    const missed = (): number =>
      events.reduce((sum, event) => sum + (event.case === "gap" ? Number(event.value.missed ?? 0n) : 0), 0);
    await until(() => heard() + missed() === spoken, "every message was heard or told as missed");
    expect(missed()).toBeGreaterThan(0);
  });
});
