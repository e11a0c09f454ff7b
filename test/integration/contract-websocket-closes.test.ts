// Every end that a WebSocket can have by the table of closes, each brought about by what a real client may do, and the
// upgrades that are refused. Whatever one client does, the gateway serves the others.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CLOSES } from "#core/domain/closes.ts";
import { CONTROL_FLOOD_SECONDS } from "#core/domain/limits.ts";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { GrpcEars } from "../harness/grpc-ears.ts";
import { publish } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { maskedFrame, RawWebSocket } from "../harness/raw-websocket.ts";
import { SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, WebSocketClient } from "../harness/websocket.ts";

const TOPIC = "default.demo:closes";
const DEMO = manifest("default.demo", "permissions: Public, channels: Dynamic");
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

const TEXT = 0x81;
const PING = 0x89;

describe("where anybody may come in", () => {
  let fleet: TestFleet;
  let witness: WebSocketClient;
  let pid: number;

  beforeAll(async () => {
    const env = { EARSHOT_PING_INTERVAL: "2s", EARSHOT_CONNECTIONS_PER_PRINCIPAL: "2" };
    fleet = await startFleet({ routers: 1, gateways: 1, presence: false, topics: [DEMO], env });
    witness = await openWebSocket(fleet.ws(), { topics: [TOPIC] });
    pid = fleet.pid("gateway-0");
  });
  afterAll(async () => {
    await fleet?.close();
  });

  /** Opens a connection, does what `act` does, and tells the code that it is closed with and what was said before. */
  async function closeOf(act: (client: RawWebSocket) => void): Promise<{ code: number | undefined; said: unknown[] }> {
    const client = await RawWebSocket.open(fleet.ws());
    await client.frames.next({ type: "welcome" });
    act(client);
    const code = await client.closed();
    expect(Buffer.byteLength(client.closeReason)).toBeLessThanOrEqual(123);
    const said = client.frames.all.slice(1).map((frame) => frame["code"] ?? frame.type);
    return { code, said };
  }

  const frame = (first: number, ...payload: number[]): Buffer => maskedFrame(first, Buffer.from(payload));
  const broken: [string, Buffer][] = [
    ["a reserved bit", frame(0xc1, 0x7b, 0x7d)],
    ["an unknown opcode", frame(0x83)],
    ["no mask", Buffer.from([TEXT, 2, 0x7b, 0x7d])],
    ["a fragmented ping", frame(0x09)],
    ["a ping of 126 bytes", maskedFrame(PING, Buffer.alloc(126))],
    ["a continuation of nothing", frame(0x80, 0x20)],
    ["a new message within a fragmented one", Buffer.concat([frame(0x01, 0x20), frame(0x01, 0x20)])],
    ["a close of one byte", frame(0x88, 3)],
    ["a close with a code that nobody may send", frame(0x88, 3, 0xed)],
  ];
  test.each(broken)("1002: %s", async (_what, bytes) => {
    expect(await closeOf((client) => client.write(bytes))).toEqual({ code: 1002, said: [] });
  });

  test("1003: a binary frame, even with a message of this protocol in it", async () => {
    const bytes = maskedFrame(0x82, '{"type":"ping"}');
    expect(await closeOf((client) => client.write(bytes))).toEqual({ code: 1003, said: [] });
  });

  const notUtf8: [string, Buffer][] = [
    ["bytes that are none", frame(TEXT, 0xff, 0xfe)],
    ["a character cut off", frame(TEXT, 0x22, 0xc3)],
    ["a surrogate", frame(TEXT, 0x22, 0xed, 0xa0, 0x80, 0x22)],
    ["an overlong slash", frame(TEXT, 0xc0, 0xaf)],
    ["spread over fragments", Buffer.concat([frame(0x01, 0xc3), frame(0x80, 0x28)])],
  ];
  test.each(notUtf8)("1007: %s", async (_what, bytes) => {
    expect(await closeOf((client) => client.write(bytes))).toEqual({ code: 1007, said: [] });
  });

  test("1009: a frame one byte past 4/3 of the largest message and 4 KiB, told from its head; at the limit it is taken", async () => {
    const limit = Math.ceil((65_536 * 4) / 3) + 4_096;
    const client = await RawWebSocket.open(fleet.ws());
    const text = `{"type":"ping","id":"whole"${" ".repeat(limit - 28)}}`;
    expect(text.length).toBe(limit);
    client.send(text);
    await client.frames.next({ type: "pong", id: "whole" });
    const halves = [maskedFrame(0x01, text.slice(0, 50_000)), maskedFrame(0x80, text.slice(50_000))];
    client.write(Buffer.concat(halves));
    await until(() => client.frames.of("pong").length === 2, "fragments of a message at the limit are taken");
    const head = maskedFrame(TEXT, `${text} `).subarray(0, 14);
    client.write(head);
    expect(await client.closed()).toBe(1009);
    const fragments = await closeOf((other) => {
      other.write(maskedFrame(0x01, text));
      other.write(maskedFrame(0x80, " "));
    });
    expect(fragments.code).toBe(1009);
  });

  test("1009: more fragments than anybody needs", async () => {
    const many = Array.from({ length: 100 }, () => frame(0x00, 0x20));
    const { code } = await closeOf((client) => client.write(Buffer.concat([frame(0x01, 0x20), ...many])));
    expect(code).toBe(1009);
  });

  const foreign = [
    "",
    " ",
    "x",
    "{",
    "[]",
    "[{}]",
    "1",
    "null",
    '"ping"',
    '{"type":"ping"}{',
    "{'type':'ping'}",
    "\ufeff",
  ];
  test.each(foreign)("4400: %j", async (text) => {
    const { code, said } = await closeOf((client) => client.send(text));
    expect({ code, said }).toEqual({ code: 4400, said: ["invalid_json"] });
  });

  test("an error, no close: JSON that is nested too deep, or has a name twice", async () => {
    const client = await RawWebSocket.open(fleet.ws());
    const deep = `{"type":"publish","topic_id":"${TOPIC}","payload":${"[".repeat(200)}${"]".repeat(200)}}`;
    client.send(deep);
    client.send('{"type":"ping","type":"ping"}');
    client.send({ type: "ping" });
    await client.frames.next({ type: "pong" });
    expect(client.frames.of("error").map((error) => error["code"])).toEqual(["invalid_request", "invalid_request"]);
    client.destroy();
  });

  test("4401: a token that is bad, however it was sent, told before", async () => {
    for (const path of ["/ws/subscribe?token=bad", "/ws/subscribe?token=a&token=b"]) {
      const client = await RawWebSocket.open(fleet.ws(), path);
      expect([client.status, await client.closed()]).toEqual([101, 4401]);
      expect(client.frames.all).toMatchObject([{ type: "error", code: "unauthenticated", retryable: false }]);
    }
    for (const authorization of ["Bearer bad", "Basic YTpi", "Bearer"]) {
      const client = await RawWebSocket.open(fleet.ws(), "/ws/subscribe", { headers: { authorization } });
      expect([authorization, await client.closed()]).toEqual([authorization, 4401]);
    }
    const nameless = await RawWebSocket.open(fleet.ws(), "/ws/subscribe?token=", { headers: { authorization: "" } });
    await nameless.frames.next({ type: "welcome" });
    nameless.destroy();
  });

  test("3101: a token that has expired, told before", async () => {
    const token = signToken({ sub: "alice", exp: inSeconds(-1) });
    const client = new WebSocketClient(fleet.ws(), { token });
    expect((await client.closed).code).toBe(3101);
    expect(client.frames.all).toMatchObject([{ type: "error", code: "token_expired", retryable: false }]);
  });

  test("1013: one connection more than a user may hold, told before; a refreshed token is not one more", async () => {
    const alice = (info: string): string => signToken({ sub: "alice", earshot: { info } });
    const first = await openWebSocket(fleet.ws(), { token: alice("a") });
    const second = await openWebSocket(fleet.ws(), { token: alice("a") });
    const third = new WebSocketClient(fleet.ws(), { token: alice("a") });
    expect((await third.closed).code).toBe(1013);
    expect(third.frames.all).toMatchObject([
      { type: "error", code: "overloaded", retryable: true },
      { type: "reconnect", closes_in_ms: 0 },
    ]);
    second.send({ type: "token", id: "new name", token: alice("b") });
    expect(await second.frames.next((one) => one["id"] === "new name")).toMatchObject({ type: "token" });
    await first.close();
    await until(async () => {
      const next = new WebSocketClient(fleet.ws(), { token: alice("a") });
      const taken = await Promise.race([next.closed.then(() => false), next.frames.next({ type: "welcome" })]);
      if (taken !== false) await next.close();
      return taken !== false;
    }, "its place is free again");
    await second.close();
  });

  test("a close of the client's is answered with the same code", async () => {
    for (const code of [1000, 1001, 4999]) {
      const closing = Buffer.alloc(2);
      closing.writeUInt16BE(code);
      expect((await closeOf((client) => client.write(maskedFrame(0x88, closing)))).code).toBe(code);
    }
  });

  test("pings of a client are answered with their bytes, before and between frames", async () => {
    const client = await RawWebSocket.open(fleet.ws());
    client.write(maskedFrame(PING, "are you there"));
    await until(() => client.pongs === 1, "a pong comes");
    expect(client.lastPong).toBe("are you there");
    client.write(Buffer.concat([maskedFrame(0x01, '{"type":'), maskedFrame(PING, ""), maskedFrame(0x80, '"ping"}')]));
    await client.frames.next({ type: "pong" });
    expect(client.pongs).toBe(2);
    client.destroy();
  });

  describe.concurrent("in time", () => {
    test("3102: a client that answers no ping, while one that only answers pings stays", async () => {
      const silent = await RawWebSocket.open(fleet.ws(), "/ws/subscribe", { answersPings: false });
      const living = await RawWebSocket.open(fleet.ws());
      expect(await silent.frames.next({ type: "welcome" })).toMatchObject({ ping_interval_ms: 2_000 });
      expect(await silent.closed()).toBe(3102);
      expect(silent.pings).toBe(2);
      await until(() => living.pings >= 4, "the other is pinged on");
      expect(living.closeCode).toBeUndefined();
      living.destroy();
    });

    test("3102: a client that sends nothing but speech is alive", async () => {
      const talking = await RawWebSocket.open(fleet.ws(), "/ws/subscribe", { answersPings: false });
      let sent = 0;
      await until(() => {
        if (talking.frames.of("pong").length === sent) {
          talking.send({ type: "ping" });
          sent += 1;
        }
        return talking.pings >= 4;
      }, "it was pinged four times");
      expect(talking.closeCode).toBeUndefined();
      talking.destroy();
    });

    test("4429: ten seconds of too much in a row, each told once; what fits is answered meanwhile", async () => {
      const client = await RawWebSocket.open(fleet.ws());
      const talking = setInterval(() => {
        for (let count = 0; count < 100; count++) client.send({ type: "ping" });
      }, 100);
      const code = await client.closed();
      clearInterval(talking);
      expect(code).toBe(4429);
      const errors = client.frames.of("error").map((error) => error["code"]);
      expect(errors).toEqual(Array.from({ length: CONTROL_FLOOD_SECONDS }, () => "rate_limited"));
      expect(client.frames.of("pong").length).toBeGreaterThanOrEqual(256);
      expect(client.frames.of("pong").length).toBeLessThan(256 + 100 * (CONTROL_FLOOD_SECONDS + 2));
    });

    test("4429: also by pings of the WebSocket itself, of a client that reads nothing", async () => {
      const client = await RawWebSocket.open(fleet.ws());
      await client.frames.next({ type: "welcome" });
      const pings = Buffer.concat(Array.from({ length: 100 }, () => maskedFrame(PING, Buffer.alloc(125))));
      const talking = setInterval(() => client.write(pings), 100);
      const code = await client.closed();
      clearInterval(talking);
      expect(code).toBe(4429);
      expect(client.pongs).toBeLessThan(256 + 100 * (CONTROL_FLOOD_SECONDS + 2));
    });
  });

  test("a burst of 256 control messages passes whole, and of one more than the bucket holds one is dropped and told", async () => {
    const client = await RawWebSocket.open(fleet.ws());
    await client.frames.next({ type: "welcome" });
    const frames = Array.from({ length: 400 }, (_, id) => maskedFrame(TEXT, `{"type":"ping","id":"${id}"}`));
    client.write(Buffer.concat(frames.slice(0, 256)));
    await client.frames.next({ type: "pong", id: "255" });
    expect(client.frames.of("error")).toEqual([]);
    const other = await RawWebSocket.open(fleet.ws());
    await other.frames.next({ type: "welcome" });
    other.write(Buffer.concat(frames));
    const error = await other.frames.next({ type: "error" });
    expect(error).toMatchObject({ code: "rate_limited", retryable: true });
    expect(Object.keys(error)).toEqual(["type", "code", "message", "retryable"]);
    const before = other.frames.all.indexOf(error);
    // Some refill while the machine reads them; the bucket is no smaller than its burst.
    expect(before - 1).toBeGreaterThanOrEqual(256);
    other.send({ type: "ping", id: "later" });
    await until(() => {
      other.send({ type: "ping", id: "later" });
      return other.frames.of("pong").some((pong) => pong["id"] === "later");
    }, "it goes on");
    client.destroy();
    other.destroy();
  });

  test("through all of it one connection was served, by the same process, and no place was lost", async () => {
    await publish(fleet.http(), TOPIC, "still here");
    await witness.frames.next({ payload: "still here" });
    expect(fleet.pid("gateway-0")).toBe(pid);
    expect(fleet.isRunning("gateway-0")).toBe(true);
    await witness.close();
    await until(async () => {
      const metrics = await fleet.metrics("gateway-0");
      return /earshot_gateway_connections\{transport="websocket",role="gateway"\} 0/.test(metrics);
    }, "nobody is left");
    const logs = fleet.logs("gateway-0");
    expect(logs).not.toMatch(/"level":(50|60)/);
  });

  test("the codes tried here, expiry and drain elsewhere, and 4403, which nothing produces yet, are the whole table", () => {
    const tried = [1002, 1003, 1007, 1009, 1013, 3101, 3102, 4400, 4401, 4429];
    const elsewhere = [1012, 3103];
    const unreachable = [4403];
    const all = new Set([...tried, ...elsewhere, ...unreachable]);
    expect(new Set(Object.keys(CLOSES).map(Number))).toEqual(all);
  });
});

describe("where a token is needed", () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    const env = { EARSHOT_ANONYMOUS: "false" };
    fleet = await startFleet({ routers: 1, gateways: 1, presence: false, topics: [DEMO], env });
  });
  afterAll(async () => {
    await fleet?.close();
  });

  test("the first frame may be the token: nothing is said before, then welcome, the URL's topics, the held frames", async () => {
    const client = await RawWebSocket.open(fleet.ws(), `/ws/subscribe?topic_id=${TOPIC}`);
    client.send({ type: "token", id: "t", token: signToken({ sub: "alice" }) });
    client.send({ type: "ping", id: "after" });
    await client.frames.next({ type: "subscribed", topic_id: TOPIC });
    await client.frames.next({ type: "pong", id: "after" });
    expect(client.frames.all[0]).toMatchObject({ type: "welcome", user_id: "alice" });
    expect(client.frames.of("token")).toEqual([]);
    client.destroy();
  });

  test("any other first frame is 4401, as is a bad token; an expired one is 3101", async () => {
    const rows: [object, number, string][] = [
      [{ type: "ping" }, 4401, "unauthenticated"],
      [{ type: "subscribe", topic_id: TOPIC }, 4401, "unauthenticated"],
      [{ type: "publish", topic_id: TOPIC, payload: 1 }, 4401, "unauthenticated"],
      [{ type: "token", token: "bad" }, 4401, "unauthenticated"],
      [{ type: "token", token: signToken({ sub: "alice", exp: 1 }) }, 3101, "token_expired"],
    ];
    for (const [frame, code, error] of rows) {
      const client = await RawWebSocket.open(fleet.ws());
      client.send(frame);
      expect(await client.closed(), JSON.stringify(frame)).toBe(code);
      expect(client.frames.all).toMatchObject([{ type: "error", code: error }]);
    }
  });

  test("a frame that is none of ours is told, and the token may still come", async () => {
    const client = await RawWebSocket.open(fleet.ws());
    client.send({ type: "token" });
    client.send({ type: "token", token: signToken({ sub: "alice" }) });
    await client.frames.next({ type: "welcome" });
    expect(client.frames.all.map((frame) => frame["code"] ?? frame.type)).toEqual(["invalid_request", "welcome"]);
    client.destroy();
  });

  test("a token that does not come within 5 s is 4401", async () => {
    const startMs = performance.now();
    const client = await RawWebSocket.open(fleet.ws(), `/ws/subscribe?topic_id=${TOPIC}`);
    expect(await client.closed()).toBe(4401);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(5_000);
    expect(client.frames.all).toMatchObject([{ type: "error", code: "unauthenticated" }]);
    const { json } = await publish(fleet.http(), TOPIC, 1, { token: signToken({ sub: "alice" }) });
    expect(json["delivered_to"]).toBe(0);
  });
});

describe("where few may come in, and not from everywhere", () => {
  const MAX = 6;
  let fleet: TestFleet;
  beforeAll(async () => {
    const env = {
      EARSHOT_CONNECTIONS_MAX: String(MAX),
      EARSHOT_ALLOWED_ORIGINS: "https://good.example",
      EARSHOT_CONNECTION_MAX_AGE: "3s",
    };
    fleet = await startFleet({ routers: 1, gateways: 1, presence: false, topics: [DEMO], env });
  });
  afterAll(async () => {
    await fleet?.close();
  });

  const connections = async (): Promise<number> => {
    const metrics = await fleet.metrics("gateway-0");
    const values = metrics.matchAll(/^earshot_gateway_connections\{[^}]*\} (\d+)$/gm);
    return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
  };

  const grpcConnections = async (): Promise<number> =>
    Number(/^earshot_grpc_connections\{[^}]*\} (\d+)$/m.exec(await fleet.metrics("gateway-0"))?.[1]);

  test("an upgrade elsewhere is 404, from a foreign origin 403, and neither takes a place", async () => {
    const rows: [string, Record<string, string>, number][] = [
      ["/ws", {}, 404],
      ["/ws/subscribe/", {}, 404],
      ["/api/v1/topics", {}, 404],
      ["/ws/subscribe", { origin: "https://bad.example" }, 403],
      ["/ws/subscribe", { origin: "https://good.example.bad" }, 403],
      ["/ws/subscribe", { origin: "http://good.example" }, 403],
      ["/ws/subscribe", { origin: "null" }, 403],
      ["/ws/subscribe", { origin: "https://good.example" }, 101],
      ["/ws/subscribe", {}, 101],
      ["/ws/subscribe", { "sec-websocket-version": "12" }, 400],
      ["/ws/subscribe", { "sec-websocket-key": "short" }, 400],
    ];
    for (const [path, headers, status] of rows) {
      const client = await RawWebSocket.open(fleet.ws(), path, { headers });
      expect(client.status, `${path} ${JSON.stringify(headers)}`).toBe(status);
      client.destroy();
    }
    await until(async () => (await connections()) === 0, "no place is taken");
  });

  test("compression is offered in vain: every recipient gets the same bytes", async () => {
    const headers = { "sec-websocket-extensions": "permessage-deflate; client_max_window_bits" };
    const client = await RawWebSocket.open(fleet.ws(), "/ws/subscribe", { headers });
    expect(client.head).not.toMatch(/sec-websocket-extensions/i);
    client.destroy();
    await until(async () => (await connections()) === 0, "it is gone");
  });

  test("at the limit every place is taken over whatever door; one more is turned away before its token is looked at", async () => {
    const taken: { close(): unknown }[] = [];
    for (let index = 0; index < MAX - 2; index++) taken.push(await openWebSocket(fleet.ws(), { topics: [TOPIC] }));
    const sse = await SseClient.open(fleet.http(), `/api/v1/topics/${TOPIC}/subscribe`);
    await sse.frames.next({ type: "subscribed" });
    const ears = new GrpcEars(fleet.grpc(), [TOPIC]);
    await ears.next("subscribed");
    taken.push(sse, ears);
    const refused = await RawWebSocket.open(fleet.ws(), "/ws/subscribe?token=bad");
    expect(refused.status).toBe(503);
    expect(refused.head).toMatch(/\r\nretry-after: [1-9]\d*(\r\n|$)/i);
    for (const token of [undefined, "bad"]) {
      const away = await SseClient.open(fleet.http(), `/api/v1/topics/${TOPIC}/subscribe`, token);
      await away.ended;
      expect(away.response.status).toBe(200);
      expect(away.response.headers.get("content-type")).toMatch(/^text\/event-stream/);
      expect(away.fields).toMatchObject([expect.stringMatching(/^retry: [1-5]\d{3}$/)]);
      const [frame, ...others] = away.frames.all;
      expect(Object.keys(frame ?? {})).toEqual(["type", "delay_ms", "closes_in_ms"]);
      expect(frame).toMatchObject({ type: "reconnect" });
      expect(others).toEqual([]);
    }
    const away = new GrpcEars(fleet.grpc(), [TOPIC]);
    const status = await away.ended;
    expect([status.code, status.metadata.get("earshot-code")]).toEqual([14, ["overloaded"]]);
    away.close();
    expect(await connections()).toBe(MAX);
    expect((await publish(fleet.http(), TOPIC, 1)).json["delivered_to"]).toBe(MAX);
    for (const client of taken) await client.close();
    await until(async () => (await connections()) === 0, "every place is free");
    const next = await openWebSocket(fleet.ws(), { topics: [TOPIC] });
    await next.close();
  });

  /** A gRPC client that asks again when it is told to does so on a new connection, behind which may be another gateway. */
  async function moveGrpc(): Promise<void> {
    const grpc = new GrpcClient(fleet.grpc());
    const topic = `${TOPIC}-moving`;
    const first = new GrpcEars(grpc, [topic]);
    await first.next("subscribed");
    expect(await grpcConnections()).toBe(1);
    const { delayMs } = await first.next("reconnect");
    const atMs = performance.now() + delayMs;
    await until(() => performance.now() >= atMs, "it is time to move");
    const second = new GrpcEars(grpc, [topic]);
    await second.next("subscribed");
    expect(await grpcConnections()).toBe(2);
    expect((await publish(fleet.http(), topic, 1)).json["delivered_to"]).toBe(2);
    await first.next("message");
    grpc.close();
  }

  test("who has been here for long is told to come again, at a time of their own, and is served meanwhile", async () => {
    const clients: WebSocketClient[] = [];
    for (let index = 2; index < MAX; index++) clients.push(await openWebSocket(fleet.ws(), { topics: [TOPIC] }));
    const grpcMoves = moveGrpc();
    const delays: unknown[] = [];
    for (const client of clients) {
      const frame = await client.frames.next({ type: "reconnect" });
      expect(Object.keys(frame)).toEqual(["type", "delay_ms", "closes_in_ms"]);
      expect(frame["delay_ms"]).toBeGreaterThanOrEqual(0);
      expect(frame["closes_in_ms"]).toBeGreaterThan(frame["delay_ms"] as number);
      delays.push(frame["delay_ms"]);
    }
    expect(new Set(delays).size).toBeGreaterThan(1);
    expect((await publish(fleet.http(), TOPIC, "still served")).json["delivered_to"]).toBe(MAX - 2);
    for (const client of clients) {
      await client.frames.next({ payload: "still served" });
      await client.close();
    }
    await grpcMoves;
  });
});
