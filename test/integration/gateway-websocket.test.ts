// The WebSocket door of a gateway as docs/protocol.md has it: every frame, every close, each limit at it and one past it.

import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import WebSocketLibrary from "ws";
import { CONNECTION_UNANSWERED_BYTES_MAX } from "#core/domain/limits.ts";
import type { Config } from "#core/runtime/settings.ts";
import { EDGE_SECRET } from "../harness/edge-stand-ins.ts";
import { LocalGateway } from "../harness/local-gateway.ts";
import { signToken, type TokenClaims } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, WebSocketClient, type WebSocketOptions } from "../harness/websocket.ts";

const TOPIC = "default.demo:42";

let local: LocalGateway | undefined;
const clients: WebSocketClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  await local?.close();
  local = undefined;
});

async function open(settings: Partial<Config> = {}): Promise<LocalGateway> {
  local = await LocalGateway.open(settings);
  return local;
}

async function connect(gateway: LocalGateway, options: WebSocketOptions = {}): Promise<WebSocketClient> {
  const client = await openWebSocket(gateway.ws, options);
  clients.push(client);
  return client;
}

function connectBare(gateway: LocalGateway, options: WebSocketOptions = {}): WebSocketClient {
  const client = new WebSocketClient(gateway.ws, options);
  clients.push(client);
  return client;
}

function tokenOf(claims: TokenClaims): string {
  return signToken(claims, EDGE_SECRET);
}

const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

/** Answers of upgrades that are refused: status and headers. */
async function upgrade(gateway: LocalGateway, path: string, headers: Record<string, string> = {}): Promise<string> {
  const socket = connectTcp(gateway.port, "127.0.0.1");
  const lines = Object.entries({
    host: "localhost",
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    ...headers,
  }).map(([name, value]) => `${name}: ${value}`);
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
  const [first] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return first.toString("latin1");
}

describe("welcome", () => {
  it("says who an anonymous client is, with a secret of its own", async () => {
    const gateway = await open();
    const client = await connect(gateway);
    const { connection_id: id, connection_key: key, ...rest } = client.frames.all[0] ?? { type: "" };
    expect(id).toMatch(/^gatewa-[0-9a-f]+$/);
    expect(key).toMatch(/^[A-Za-z0-9_-]{22}$/);
    expect(rest).toEqual({ type: "welcome", user_id: `anonymous:${id as string}`, ping_interval_ms: 30_000 });
  });

  it("says who a token proves, and until when", async () => {
    const gateway = await open();
    const exp = inSeconds(3_600);
    const client = await connect(gateway, { token: tokenOf({ sub: "alice", exp }) });
    expect(client.frames.all[0]).toMatchObject({
      user_id: "alice",
      token_expires_at: new Date(exp * 1_000).toISOString(),
    });
  });

  it("is not said to a bad token, which is told and closed 4401", async () => {
    const gateway = await open();
    const client = connectBare(gateway, { token: "not.a.token" });
    expect((await client.closed).code).toBe(4401);
    expect(client.frames.all).toMatchObject([{ type: "error", code: "unauthenticated", retryable: false }]);
  });

  it("is not said to an expired token, which is told and closed 3101", async () => {
    const gateway = await open();
    const client = connectBare(gateway, { token: tokenOf({ sub: "alice", exp: inSeconds(-60) }) });
    expect((await client.closed).code).toBe(3101);
    expect(client.frames.all).toMatchObject([{ type: "error", code: "token_expired" }]);
  });

  it("waits for a token where anonymous access is off, and subscribes what the URL asked for", async () => {
    const gateway = await open({ anonymous: false });
    const client = connectBare(gateway, { topics: [TOPIC] });
    await until(() => gateway.gateway.sessions.size === 1, "it is connected");
    await new Promise((resolve) => setImmediate(resolve));
    expect(client.frames.all).toEqual([]);
    await until(() => {
      try {
        client.send({ type: "token", token: tokenOf({ sub: "alice" }) });
        return true;
      } catch {
        return false;
      }
    }, "it may send");
    await client.frames.next({ type: "subscribed", topic_id: TOPIC });
    expect(client.frames.all[0]).toMatchObject({ type: "welcome", user_id: "alice" });
  });

  it("closes 4401 where the token does not come within 5 s", async () => {
    const gateway = await open({ anonymous: false });
    const client = connectBare(gateway);
    const startMs = performance.now();
    expect((await client.closed).code).toBe(4401);
    expect(performance.now() - startMs).toBeGreaterThan(4_900);
    expect(client.frames.all).toMatchObject([{ type: "error", code: "unauthenticated" }]);
  });
});

describe("subscribing", () => {
  it("is answered with the id of the request, and twice is once", async () => {
    const gateway = await open();
    const client = await connect(gateway);
    client.send({ type: "subscribe", id: "1", topic_id: TOPIC });
    client.send({ type: "subscribe", id: "2", topic_id: TOPIC });
    const first = await client.frames.next({ type: "subscribed", id: "1" });
    const second = await client.frames.next({ type: "subscribed", id: "2" });
    client.send({ type: "subscribe", id: "3", topic_id: TOPIC });
    const third = await client.frames.next({ type: "subscribed", id: "3" });
    expect([second["subscription_id"], third["subscription_id"]]).toEqual([first["subscription_id"], "s1"]);
    expect(first).toEqual({
      type: "subscribed",
      id: "1",
      topic_id: TOPIC,
      subscription_id: "s1",
      incarnation: "router0",
      seq: 0,
      count: 1,
    });
    await gateway.router.interest(TOPIC, 1);
    gateway.router.speak(TOPIC, { payload: 1 });
    await client.frames.next({ type: "message" });
    expect(client.frames.of("message").length).toBe(1);
  });

  it("is refused with a code, and the connection goes on", async () => {
    const gateway = await open();
    gateway.topics.add("default.secret", { permissions: "Private" });
    gateway.topics.add("default.inbox", { permissions: "PublishOnly" });
    const client = await connect(gateway);
    const codes: [string, string][] = [
      ["nowhere", "topic_id_invalid"],
      ["default.unknown", "topic_not_found"],
      ["default.secret", "topic_not_found"],
      ["default.inbox", "unauthenticated"],
    ];
    for (const [topic_id, code] of codes) {
      client.send({ type: "subscribe", id: topic_id, topic_id });
      expect(await client.frames.next({ type: "error", id: topic_id })).toMatchObject({ topic_id, code });
    }
    client.send({ type: "ping" });
    await client.frames.next({ type: "pong" });
  });

  it("takes as many topics as the setting says and not one more", async () => {
    const gateway = await open({ subscriptionsPerConnection: 3 });
    const client = await connect(gateway, { topics: ["default.demo:1", "default.demo:2", "default.demo:3"] });
    client.send({ type: "subscribe", id: "one more", topic_id: "default.demo:4" });
    expect(await client.frames.next({ type: "error" })).toMatchObject({
      id: "one more",
      topic_id: "default.demo:4",
      code: "invalid_request",
    });
    client.send({ type: "unsubscribe", id: "5", topic_id: "default.demo:1" });
    expect(await client.frames.next({ type: "unsubscribed" })).toEqual({
      type: "unsubscribed",
      id: "5",
      topic_id: "default.demo:1",
      reason: "requested",
    });
    client.send({ type: "subscribe", topic_id: "default.demo:4" });
    await client.frames.next({ type: "subscribed", topic_id: "default.demo:4" });
    await gateway.router.interest("default.demo:1", 0);
  });

  it("taken back before it was granted answers both requests", async () => {
    const gateway = await open();
    const client = await connect(gateway);
    gateway.router.confirms = false;
    client.send({ type: "subscribe", id: "1", topic_id: TOPIC });
    client.send({ type: "unsubscribe", id: "2", topic_id: TOPIC });
    await client.frames.next({ type: "unsubscribed", id: "2" });
    expect(client.frames.all.slice(1).map((frame) => [frame.type, frame["id"]])).toEqual([
      ["unsubscribed", "1"],
      ["unsubscribed", "2"],
    ]);
  });

  it("with echo false spares a client what it said itself, and exclude whom it names", async () => {
    const gateway = await open();
    const speaker = await connect(gateway, { topics: [TOPIC], query: "echo=false" });
    const other = await connect(gateway, { topics: [TOPIC] });
    const [speakerId, otherId] = [speaker, other].map((client) => client.frames.all[0]?.["connection_id"] as string);
    gateway.router.speak(TOPIC, { payload: "echo", origin: speakerId ?? "" });
    gateway.router.speak(TOPIC, { payload: "excluded", exclude: otherId ?? "" });
    gateway.router.speak(TOPIC, { payload: "all", origin: otherId ?? "" });
    for (const client of [speaker, other]) await client.frames.next((frame) => frame["payload"] === "all");
    expect(speaker.frames.of("message").map((frame) => frame["payload"])).toEqual(["excluded", "all"]);
    expect(other.frames.of("message").map((frame) => frame["payload"])).toEqual(["echo", "all"]);
  });

  it("with presence is told who is there before the first message, from counts", async () => {
    const gateway = await open();
    const client = await connect(gateway);
    client.send({ type: "subscribe", topic_id: TOPIC, presence: true });
    await client.frames.next({ type: "presence" });
    expect(client.frames.all.slice(1)).toMatchObject([
      { type: "subscribed" },
      { type: "presence", topic_id: TOPIC, connections: 1 },
    ]);
    gateway.router.presence(TOPIC, `{"type":"presence","topic_id":"${TOPIC}","connections":5}`);
    await client.frames.next({ type: "presence", connections: 5 });
  });

  it("with presence of members keeps messages until the list is there", async () => {
    const gateway = await open();
    gateway.topics.add("default.room", { permissions: "Public", presence: "Members" });
    let answer: (snapshot: Awaited<ReturnType<LocalGateway["presence"]["snapshot"]>>) => void = () => undefined;
    gateway.presence.snapshots = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    const client = await connect(gateway);
    client.send({ type: "subscribe", topic_id: "default.room", presence: true });
    await client.frames.next({ type: "subscribed" });
    gateway.router.speak("default.room", { payload: 1 }, { payload: 2 });
    await until(() => gateway.router.batchConfirms.length === 1, "the messages were handed on");
    expect(client.frames.of("message")).toEqual([]);
    const [entry] = gateway.presence.joins;
    if (entry === undefined) throw new Error("the tracker was told of nobody");
    answer({ page: { members: [entry], count: 1, version: 1, nextCursor: undefined }, stale: false });
    gateway.router.speak("default.room", { payload: 3 });
    await client.frames.next((frame) => frame["payload"] === 3);
    const kinds = client.frames.all.slice(1).map((frame) => frame["payload"] ?? frame.type);
    expect(kinds).toEqual(["subscribed", "presence", 1, 2, 3]);
    expect(client.frames.of("presence")[0]).toMatchObject({ count: 1, subscribers: [{ user_id: entry.userId }] });
    await client.close();
    await until(() => gateway.presence.leaves.length === 1, "the tracker is told that it left");
  });
});

describe("publishing", () => {
  it("hands on the very bytes of the payload, and answers as HTTP does", async () => {
    const gateway = await open();
    const client = await connect(gateway, { topics: [TOPIC] });
    const payload = '{"n":12345678901234567890,"__proto__":{"b":1,"a":1.0}}';
    client.send(`{"type":"publish","id":"p","topic_id":"${TOPIC}","payload":${payload}}`);
    expect(await client.frames.next({ type: "published" })).toEqual({
      type: "published",
      id: "p",
      topic_id: TOPIC,
      message_id: "r1-1",
      delivered_to: 3,
      exact: false,
      dropped: false,
    });
    expect(gateway.placer.payloads).toEqual([payload]);
    const [order] = gateway.placer.orders;
    expect(order).toMatchObject({ originConnectionId: client.frames.all[0]?.["connection_id"] });
  });

  it("is not read while too much of one connection waits for its answer, and nobody else is held up", async () => {
    const gateway = await open();
    const answers: (() => void)[] = [];
    const answer = gateway.placer.answer;
    gateway.placer.answer = async (order) => {
      await new Promise<void>((resolve) => answers.push(resolve));
      return await answer(order);
    };
    const client = await connect(gateway);
    const payload = "x".repeat(60_000);
    const sent = 200;
    for (let index = 0; index < sent; index++) {
      client.send({ type: "publish", id: String(index), topic_id: TOPIC, payload });
    }
    await until(
      () => answers.length >= CONNECTION_UNANSWERED_BYTES_MAX / payload.length,
      "the connection has its fill",
    );
    const other = await connect(gateway);
    other.send({ type: "ping", id: "other" });
    await other.frames.next({ type: "pong", id: "other" });
    // What one piece of the stream held when the limit was reached is read; no more than that.
    const most = (CONNECTION_UNANSWERED_BYTES_MAX + 2 * 64 * 1024) / payload.length + 1;
    expect(gateway.placer.orders.length).toBeLessThanOrEqual(most);
    let answered = 0;
    await until(() => {
      for (const next of answers.splice(0)) {
        next();
        answered += 1;
      }
      return answered === sent;
    }, "all are answered in the end");
    await client.frames.next({ type: "published", id: String(sent - 1) });
    expect(client.frames.of("published")).toHaveLength(sent);
    expect(client.frames.of("error")).toEqual([]);
  });

  it("is refused with a code", async () => {
    const gateway = await open();
    const client = await connect(gateway);
    client.send({ type: "publish", id: "a", topic_id: "default.unknown", payload: 1 });
    client.send({ type: "publish", id: "b", topic_id: TOPIC, payload: "x".repeat(65_537) });
    client.send({ type: "publish", id: "c", topic_id: TOPIC });
    client.send({ type: "publish", id: "d", topic_id: TOPIC, payload: "?", encoding: "base64" });
    const codes: Record<string, string> = {};
    for (const id of ["a", "b", "c", "d"]) {
      codes[id] = (await client.frames.next({ type: "error", id }))["code"] as string;
    }
    expect(codes).toEqual({
      a: "topic_not_found",
      b: "message_too_large",
      c: "invalid_request",
      d: "invalid_request",
    });
  });
});

describe("a token", () => {
  it("is replaced in place, and a bad one is an error that changes nothing", async () => {
    const gateway = await open();
    gateway.topics.add("default.team", { permissions: "Private", subscribers: [{ kind: "User", name: "alice" }] });
    const client = await connect(gateway, { topics: ["default.team"], token: tokenOf({ sub: "alice" }) });
    client.send({ type: "token", id: "bad", token: "nonsense" });
    expect(await client.frames.next({ type: "error", id: "bad" })).toMatchObject({ code: "unauthenticated" });
    gateway.router.speak("default.team", { payload: 1 });
    await client.frames.next((frame) => frame["payload"] === 1);
    client.send({ type: "token", id: "new", token: tokenOf({ sub: "alice", exp: inSeconds(7_200) }) });
    expect(await client.frames.next({ type: "token", id: "new" })).toMatchObject({ user_id: "alice" });
    client.send({ type: "token", id: "bob", token: tokenOf({ sub: "bob" }) });
    await client.frames.next({ type: "token", id: "bob", user_id: "bob" });
    expect(await client.frames.next({ type: "unsubscribed" })).toMatchObject({
      topic_id: "default.team",
      reason: "permission_changed",
    });
  });

  it("of an anonymous client makes it somebody, and a bad one leaves it anonymous", async () => {
    const gateway = await open();
    gateway.topics.add("default.room", { permissions: "Public", presence: "Members" });
    const client = await connect(gateway, { topics: ["default.room"] });
    const anonymous = gateway.presence.joins[0]?.userId;
    expect(anonymous).toMatch(/^anonymous:/);
    client.send({ type: "token", token: "nonsense" });
    await client.frames.next({ type: "error", code: "unauthenticated" });
    client.send({ type: "token", token: tokenOf({ sub: "alice" }) });
    await client.frames.next({ type: "token", user_id: "alice" });
    expect(gateway.presence.leaves.map((entry) => entry.userId)).toEqual([anonymous]);
    expect(gateway.presence.joins.at(-1)?.userId).toBe("alice");
  });

  it("holds back what was sent after it until it is verified", async () => {
    const gateway = await open();
    gateway.topics.add("default.team", { permissions: "Private", subscribers: [{ kind: "User", name: "alice" }] });
    const client = await connect(gateway);
    client.send({ type: "token", token: tokenOf({ sub: "alice" }) });
    client.send({ type: "subscribe", topic_id: "default.team" });
    client.send({ type: "token", token: tokenOf({ sub: "bob" }) });
    client.send({ type: "subscribe", id: "as bob", topic_id: "default.team" });
    await client.frames.next({ type: "error", id: "as bob" });
    const kinds = client.frames.all.map((frame) => frame["user_id"] ?? frame["reason"] ?? frame.type);
    // Whether alice's subscription was confirmed before bob was known is a matter of speed.
    const confirmed = kinds.includes("subscribed") ? ["subscribed"] : [];
    expect(kinds.slice(1)).toEqual(["alice", ...confirmed, "bob", "permission_changed", "error"]);
  });

  it("is warned of before it expires, and ends the subscriptions and the connection when it does", async () => {
    const gateway = await open();
    const client = await connect(gateway, { topics: [TOPIC], token: tokenOf({ sub: "alice", exp: inSeconds(3) }) });
    expect((await client.closed).code).toBe(3101);
    expect(client.frames.all.slice(2).map((frame) => frame.type)).toEqual(["token_expiring", "unsubscribed", "error"]);
    expect(client.frames.of("unsubscribed")[0]).toMatchObject({ topic_id: TOPIC, reason: "token_expired" });
    await gateway.router.interest(TOPIC, 0);
  });
});

describe("a subscription ends", () => {
  it("when its Topic is deleted, or no longer lets this client listen", async () => {
    const gateway = await open();
    gateway.topics.add("default.other", { permissions: "Public" });
    const client = await connect(gateway, { topics: [TOPIC, "default.demo", "default.other"] });
    gateway.topics.add("default.demo", { permissions: "Public", channels: "None" });
    expect(await client.frames.next({ type: "unsubscribed" })).toMatchObject({
      topic_id: TOPIC,
      reason: "topic_deleted",
    });
    gateway.topics.add("default.demo", { permissions: "Private" });
    expect(await client.frames.next({ type: "unsubscribed", topic_id: "default.demo" })).toMatchObject({
      reason: "permission_changed",
    });
    gateway.topics.remove("default.other");
    expect(await client.frames.next({ type: "unsubscribed", topic_id: "default.other" })).toMatchObject({
      reason: "topic_deleted",
    });
    for (const topic of [TOPIC, "default.demo", "default.other"]) await gateway.router.interest(topic, 0);
  });

  it("when somebody ends it over HTTP: by user, by connection, by secret", async () => {
    const gateway = await open();
    const alices = [
      await connect(gateway, { topics: [TOPIC], token: tokenOf({ sub: "alice" }) }),
      await connect(gateway, { topics: [TOPIC], token: tokenOf({ sub: "alice" }) }),
    ];
    const anonymous = await connect(gateway, { topics: [TOPIC] });
    const connectionId = alices[0]?.frames.all[0]?.["connection_id"] as string;
    gateway.router.evict(TOPIC, { userId: "alice", connectionId, reason: "requested" }, 1n);
    await alices[0]?.frames.next({ type: "unsubscribed", reason: "requested" });
    gateway.router.evict(TOPIC, { connectionKey: anonymous.frames.all[0]?.["connection_key"] as string }, 2n);
    await anonymous.frames.next({ type: "unsubscribed", reason: "removed" });
    expect(alices[1]?.frames.of("unsubscribed")).toEqual([]);
    gateway.router.evict(TOPIC, { userId: "alice", reason: "removed" }, 3n);
    await alices[1]?.frames.next({ type: "unsubscribed", reason: "removed" });
    gateway.router.evict(TOPIC, { userId: "nobody", reason: "removed" }, 4n);
    await until(() => gateway.router.receipts.length === 4, "each eviction is answered");
    expect(gateway.router.receipts.map((receipt) => receipt.written)).toEqual([1, 1, 1, 0]);
  });
});

describe("bad input", () => {
  it("of unknown type or field is an error with the id, and the connection goes on", async () => {
    const gateway = await open();
    const client = await connect(gateway);
    const frames = [
      { type: "shout", id: "1" },
      { id: "2" },
      { type: "subscribe", id: "3" },
      { type: "subscribe", id: "4", topic_id: 5 },
      { type: "subscribe", id: "5", topic_id: TOPIC, loud: true },
      { type: "ping", id: "6", topic_id: TOPIC },
      { type: "subscribe", id: "7", topic_id: TOPIC, echo: "yes" },
    ];
    for (const frame of frames) client.send(frame);
    for (const { id } of frames) {
      expect(await client.frames.next({ type: "error", id })).toMatchObject({ code: "invalid_request" });
    }
    client.send({ type: "ping", id: "x".repeat(129) });
    client.send({ type: "ping", id: "x".repeat(128) });
    await client.frames.next({ type: "pong", id: "x".repeat(128) });
    expect(client.frames.of("pong").length).toBe(1);
  });

  it.each(["nonsense", "[]", "1", '"text"', "null", "", "{"])("%j is not this protocol: 4400", async (text) => {
    const gateway = await open();
    const client = await connect(gateway);
    client.send(text);
    expect((await client.closed).code).toBe(4400);
    expect(client.frames.all.at(-1)).toMatchObject({ type: "error", code: "invalid_json" });
  });

  it("closes binary frames 1003, bad UTF-8 1007, broken frames 1002, too many fragments 1009", async () => {
    const gateway = await open();
    const closeOf = async (act: (socket: WebSocketLibrary, raw: NodeJS.WritableStream) => void): Promise<number> => {
      const socket = new WebSocketLibrary(`${gateway.ws}/ws/subscribe`);
      socket.on("error", () => undefined);
      await once(socket, "open");
      act(socket, (socket as unknown as { _socket: NodeJS.WritableStream })._socket);
      const [code] = (await once(socket, "close")) as [number];
      return code;
    };
    const masked = (first: number, payload: readonly number[]): Buffer =>
      Buffer.from([first, 0x80 | payload.length, 0, 0, 0, 0, ...payload]);
    expect(await closeOf((socket) => socket.send(Buffer.from("{}"), { binary: true }))).toBe(1003);
    expect(await closeOf((_, raw) => raw.write(masked(0x81, [0xff, 0xfe])))).toBe(1007);
    expect(await closeOf((_, raw) => raw.write(masked(0xf1, [0x7b, 0x7d])))).toBe(1002);
    const fragments = [masked(0x01, [0x20]), ...Array.from({ length: 100 }, () => masked(0x00, [0x20]))];
    expect(await closeOf((_, raw) => raw.write(Buffer.concat(fragments)))).toBe(1009);
  });

  it("takes frames as large as the largest message needs and closes 1009 one byte past it, also when that changes", async () => {
    const gateway = await open({ controlMessagesPerSecond: 1_000 });
    const client = await connect(gateway);
    const limitOf = (bytes: number): number => Math.ceil((bytes * 4) / 3) + 4_096;
    const frameOf = (bytes: number): string => `{"type":"ping","id":"big"${" ".repeat(bytes - 26)}}`;
    client.send(frameOf(limitOf(65_536)));
    await client.frames.next({ type: "pong", id: "big" });
    gateway.topics.largestMessageBytes = 131_072;
    gateway.topics.add("default.large", { maxMessageBytes: 131_072 });
    client.send(frameOf(limitOf(131_072)));
    await until(() => client.frames.of("pong").length === 2, "the larger frame is taken");
    client.send(frameOf(limitOf(131_072) + 1));
    expect((await client.closed).code).toBe(1009);
  });

  it("beyond the rate is dropped and told once a second, and ends 4429 after ten seconds of it", async () => {
    const gateway = await open({ controlMessagesPerSecond: 10, controlMessagesBurst: 20 });
    const client = await connect(gateway);
    const talking = setInterval(() => {
      for (let frame = 0; frame < 10; frame++) client.send({ type: "ping" });
    }, 50);
    const { code } = await client.closed;
    clearInterval(talking);
    expect(code).toBe(4429);
    const told = client.frames.of("error").map((frame) => frame["code"]);
    expect(new Set(told)).toEqual(new Set(["rate_limited"]));
    expect(told.length).toBe(10);
  });
});

describe("a connection that is old", () => {
  it("is told to open a new one, and when the old one ends", async () => {
    const gateway = await open({ connectionMaxAge: 1_000 });
    const startMs = performance.now();
    const client = await connect(gateway);
    const reconnect = await client.frames.next({ type: "reconnect" });
    expect(performance.now() - startMs).toBeGreaterThan(700);
    expect(performance.now() - startMs).toBeLessThan(2_500);
    expect(reconnect["delay_ms"]).toBeLessThanOrEqual(5_000);
    expect(reconnect["closes_in_ms"]).toBe((reconnect["delay_ms"] as number) + 10_000);
  });
});

describe("a user with many connections", () => {
  it("is told that one more is too many, and closed 1013", async () => {
    const gateway = await open({ connectionsPerPrincipal: 1 });
    await connect(gateway, { token: tokenOf({ sub: "alice" }) });
    await connect(gateway, { token: tokenOf({ sub: "bob" }) });
    const second = connectBare(gateway, { token: tokenOf({ sub: "alice" }) });
    expect((await second.closed).code).toBe(1013);
    expect(second.frames.all).toMatchObject([
      { type: "error", code: "overloaded", retryable: true },
      { type: "reconnect", closes_in_ms: 0 },
    ]);
  });
});

describe("an upgrade", () => {
  it("is refused off the path, from a foreign origin, and beyond a limit with 503 and Retry-After", async () => {
    const gateway = await open({ allowedOrigins: ["https://good.example"], connectionsMax: 2 });
    expect(await upgrade(gateway, "/elsewhere")).toMatch(/^HTTP\/1.1 404 /);
    expect(await upgrade(gateway, "/ws/subscribe", { origin: "https://bad.example" })).toMatch(/^HTTP\/1.1 403 /);
    expect(await upgrade(gateway, "/ws/subscribe", { origin: "https://good.example" })).toMatch(/^HTTP\/1.1 101 /);
    await until(() => gateway.gateway.sessions.size === 0, "that one has gone");
    await connect(gateway);
    await connect(gateway);
    const refused = await upgrade(gateway, "/ws/subscribe");
    expect(refused).toMatch(/^HTTP\/1.1 503 /);
    expect(refused).toMatch(/retry-after: \d+/i);
    await clients[0]?.close();
    await until(() => gateway.gateway.sessions.size === 1, "a place is free");
    await connect(gateway);
  });

  it("without a good key gives its place back", async () => {
    const gateway = await open({ connectionsMax: 1 });
    expect(await upgrade(gateway, "/ws/subscribe", { "sec-websocket-key": "short" })).toMatch(/^HTTP\/1.1 400 /);
    await until(async () => {
      const socket = await upgrade(gateway, "/ws/subscribe");
      return socket.startsWith("HTTP/1.1 101");
    }, "the next one is taken");
  });

  it("is told of a flag that cannot be read", async () => {
    const gateway = await open();
    const client = await connect(gateway, { query: "presence=maybe&topic_id=default.demo" });
    expect(await client.frames.next({ type: "error" })).toMatchObject({ code: "invalid_request" });
    expect(client.frames.of("subscribed")).toEqual([]);
  });
});
