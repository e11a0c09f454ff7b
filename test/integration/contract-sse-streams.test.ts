// Server-sent events as browsers, curl and proxies meet them at two real gateways: heads, comments, refusals, and what a
// real EventSource makes of every way in which a stream ends.

import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { EventSourceClient } from "../harness/event-source.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { call, publish } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const CONNECTIONS_MAX = 20;

let fleet: TestFleet;
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  fleet = await startFleet({
    presence: false,
    topics: [
      manifest("default.demo", "permissions: Public, channels: Dynamic"),
      manifest("shop.inbox", "permissions: PublishOnly"),
      manifest("shop.private", "permissions: Private"),
    ],
    env: {
      EARSHOT_PING_INTERVAL: "2s",
      EARSHOT_CONNECTIONS_MAX: String(CONNECTIONS_MAX),
      EARSHOT_ALLOWED_ORIGINS: "https://good.example",
    },
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  for (const gateway of ["gateway-0", "gateway-1"]) {
    await until(async () => (await streams(gateway)) === 0, `nobody is left at ${gateway}`);
  }
});
afterAll(() => fleet?.close());

let topics = 0;
const fresh = (): string => `default.demo:${(topics += 1)}`;
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

async function streams(gateway: string): Promise<number> {
  const metrics = await fleet.metrics(gateway);
  const values = metrics.matchAll(/^earshot_gateway_connections\{[^}]*\} (\d+)$/gm);
  return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
}

async function open(path: string, gateway = "gateway-0", token?: string): Promise<SseClient> {
  const client = await SseClient.open(fleet.http(gateway), path, token);
  closers.push(() => client.close());
  return client;
}

function eventSource(path: string, gateway = "gateway-0"): EventSourceClient {
  const client = new EventSourceClient(`${fleet.http(gateway)}${path}`);
  closers.push(() => client.close());
  return client;
}

/** Sends a request by hand and collects what comes. */
function raw(request: string, gateway = "gateway-0"): { text: () => string; ended: () => boolean } {
  const { hostname, port } = new URL(fleet.http(gateway));
  const socket = connect(Number(port), hostname);
  closers.push(() => socket.destroy());
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("utf8");
  });
  socket.on("error", () => undefined);
  socket.write(request);
  return { text: () => text, ended: () => socket.closed };
}

describe("a stream", () => {
  test("has its head, one retry line, then data events only, welcome first, and a comment twice an interval", async () => {
    const topic = fresh();
    const { text } = raw(
      `GET /api/v1/topics/${topic}/subscribe HTTP/1.1\r\nhost: x\r\norigin: https://good.example\r\n\r\n`,
    );
    await until(() => text().includes('"subscribed"'), "it is subscribed");
    const [head = ""] = text().split("\r\n\r\n", 1);
    const fields = new Map(
      head
        .split("\r\n")
        .slice(1)
        .map((line): [string, string] => {
          const [name = "", ...value] = line.split(": ");
          return [name.toLowerCase(), value.join(": ")];
        }),
    );
    expect(head).toMatch(/^HTTP\/1\.1 200 /);
    expect(fields.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(fields.get("cache-control")).toBe("no-store, no-transform");
    expect(fields.get("x-accel-buffering")).toBe("no");
    expect(fields.get("access-control-allow-origin")).toBe("https://good.example");
    for (const name of [
      "content-length",
      "content-encoding",
      "transfer-encoding",
      "access-control-allow-credentials",
    ]) {
      expect(fields.has(name), name).toBe(false);
    }
    const startMs = performance.now();
    const comments = (): number => text().split("\n: ping\n\n").length - 1;
    await until(() => comments() >= 3, "comments come");
    expect(performance.now() - startMs).toBeGreaterThan(1_800);
    await publish(fleet.http("gateway-1"), topic, "a\nb");
    await until(() => text().includes('"message"'), "a message comes");
    const events = text()
      .slice(head.length + 4)
      .split("\n\n");
    expect(events.pop()).toBe("");
    expect(events.shift()).toMatch(/^retry: [1-5]\d{3}$/);
    for (const event of events) expect(event).toMatch(/^(: ping|data: \{"type":.*\})$/);
    const types = events
      .filter((event) => event.startsWith("data: "))
      .map((event) => JSON.parse(event.slice(6)) as object);
    expect(types).toMatchObject([
      { type: "welcome", ping_interval_ms: 1_000 },
      { type: "subscribed", topic_id: topic, subscription_id: "s1", count: 1 },
      { type: "message", payload: "a\nb" },
    ]);
  });

  test("tells each client another time to come back, from 1 to 5 s", async () => {
    const clients: SseClient[] = [];
    for (let index = 0; index < 12; index++) clients.push(await open(`/api/v1/topics/${fresh()}/subscribe`));
    await until(() => clients.every(({ fields }) => fields.length > 0), "each was told");
    const retries = clients.map(({ fields }) => Number(/^retry: (\d+)$/.exec(fields[0] ?? "")?.[1]));
    for (const retry of retries) expect(retry).toBeGreaterThanOrEqual(1_000);
    for (const retry of retries) expect(retry).toBeLessThanOrEqual(5_000);
    expect(new Set(retries).size).toBeGreaterThan(6);
  });

  test("carries many topics from the URL, each once, with a bad one among them as an error event", async () => {
    const [one, two] = [fresh(), fresh()];
    const query = [one, two, "shop.nowhere", "nonsense", one, "shop.inbox"].map((id) => `topic_id=${id}`).join("&");
    const client = await open(`/api/v1/subscribe?${query}`);
    await client.frames.next({ type: "subscribed", topic_id: two });
    await until(() => client.frames.of("error").length === 3, "each bad one is told");
    expect(client.frames.all[0]?.type).toBe("welcome");
    expect(client.frames.of("error").map((frame) => [frame["topic_id"], frame["code"]])).toEqual([
      ["shop.nowhere", "topic_not_found"],
      ["nonsense", "topic_id_invalid"],
      ["shop.inbox", "unauthenticated"],
    ]);
    expect(client.frames.of("subscribed").map((frame) => frame["topic_id"])).toEqual([one, two]);
    for (const topic of [one, two]) await publish(fleet.http("gateway-1"), topic, topic);
    await client.frames.next({ payload: two });
    expect(client.frames.of("message").map((frame) => frame["payload"])).toEqual([one, two]);
  });

  test("takes 128 topics and not one more", async () => {
    const ids = Array.from({ length: 129 }, () => `topic_id=${fresh()}`);
    const client = await open(`/api/v1/subscribe?${ids.slice(0, 128).join("&")}`);
    await until(() => client.frames.of("subscribed").length === 128, "all are subscribed");
    const refused = await call(fleet.http(), "GET", `/api/v1/subscribe?${ids.join("&")}`);
    expect([refused.status, refused.json["code"]]).toEqual([422, "invalid_request"]);
  });

  test("ignores Last-Event-ID: there is no replay", async () => {
    const topic = fresh();
    await publish(fleet.http(), topic, "before");
    const { text } = raw(
      `GET /api/v1/topics/${topic}/subscribe HTTP/1.1\r\nhost: x\r\nlast-event-id: 1\r\naccept: text/event-stream\r\n\r\n`,
    );
    await until(() => text().includes('"subscribed"'), "it is subscribed");
    await publish(fleet.http(), topic, "after");
    await until(() => text().includes('"after"'), "it hears");
    expect(text()).not.toContain('"before"');
  });

  test("is not opened by HEAD or POST", async () => {
    const path = `/api/v1/topics/${fresh()}/subscribe`;
    for (const method of ["HEAD", "POST", "PUT"]) {
      const answer = await call(fleet.http(), method, path);
      expect([method, answer.status]).toEqual([method, 405]);
      expect(answer.headers.get("allow")).toMatch(/GET/);
    }
    expect(await streams("gateway-0")).toBe(0);
  });

  test("that its client leaves is forgotten, at every gateway", async () => {
    const topic = fresh();
    const client = await open(`/api/v1/topics/${topic}/subscribe`, "gateway-1");
    await client.frames.next({ type: "subscribed" });
    expect((await publish(fleet.http(), topic, 1)).json["delivered_to"]).toBe(1);
    await client.close();
    await until(async () => (await publish(fleet.http(), topic, 1)).json["delivered_to"] === 0, "nobody listens");
  });
});

describe("a request of which nothing can be had", () => {
  const rows: [string, string, string | undefined, number, string][] = [
    ["no token where one is needed", "topic_id=shop.inbox", undefined, 401, "unauthenticated"],
    ["a bad token", "topic_id=default.demo&token=bad", undefined, 401, "unauthenticated"],
    ["an expired token", "topic_id=default.demo", "expired", 401, "token_expired"],
    ["no right", "topic_id=shop.inbox", "alice", 403, "forbidden"],
    ["no such topic", "topic_id=shop.nowhere", undefined, 404, "topic_not_found"],
    ["a topic that may not be seen", "topic_id=shop.private", "alice", 404, "topic_not_found"],
    ["no topic id", "topic_id=", undefined, 422, "topic_id_invalid"],
    ["none at all", "", undefined, 422, "invalid_request"],
    ["a flag that is none", "topic_id=default.demo&presence=yes", undefined, 422, "invalid_request"],
    ["a flag twice", "topic_id=default.demo&echo=true&echo=true", undefined, 422, "invalid_request"],
    ["only bad ones: the first counts", "topic_id=shop.inbox&topic_id=nonsense", undefined, 401, "unauthenticated"],
    ["only bad ones, in another order", "topic_id=nonsense&topic_id=shop.inbox", undefined, 422, "topic_id_invalid"],
  ];
  test.each(rows)("%s", async (_what, query, who, status, code) => {
    const token = who === "expired" ? signToken({ sub: "alice", exp: inSeconds(-1) }) : signToken({ sub: "alice" });
    const answer = await call(
      fleet.http(),
      "GET",
      `/api/v1/subscribe?${query}`,
      who === undefined ? {} : { token, headers: { accept: "text/event-stream" } },
    );
    expect([answer.status, answer.json["code"]]).toEqual([status, code]);
    expect(answer.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    if (status === 401) expect(answer.headers.get("www-authenticate")).toMatch(/^Bearer/);
  });
});

describe("a real EventSource", () => {
  test("hears everything in onmessage, and has no last event id", async () => {
    const topic = fresh();
    const client = eventSource(`/api/v1/topics/${topic}/subscribe`);
    await client.frames.next({ type: "subscribed" });
    await publish(fleet.http("gateway-1"), topic, { hello: "wörld\u2028" });
    expect(await client.frames.next({ type: "message" })).toMatchObject({ payload: { hello: "wörld\u2028" } });
    expect(client.frames.all.map((frame) => frame.type)).toEqual(["welcome", "subscribed", "message"]);
    for (const { data, lastEventId, type } of client.told) {
      if (data !== undefined) expect([lastEventId, type]).toEqual(["", "message"]);
    }
    expect(client.opened).toBe(1);
  });

  test("stays connected after its subscription was ended, and does not ask again", async () => {
    const topic = fresh();
    const token = signToken({ sub: "alice" });
    const client = eventSource(`/api/v1/topics/${topic}/subscribe?token=${token}`);
    await client.frames.next({ type: "subscribed" });
    await call(fleet.http("gateway-1"), "DELETE", `/api/v1/topics/${topic}/subscribe`, { token });
    await client.frames.next({ type: "unsubscribed", reason: "requested" });
    const other = await open(`/api/v1/topics/${topic}/subscribe`);
    await until(() => other.comments.length >= 2, "two comments later");
    expect([client.opened, client.told.some(({ readyState }) => readyState !== undefined)]).toEqual([1, false]);
    expect((await publish(fleet.http(), topic, 1)).json["delivered_to"]).toBe(1);
  });

  test("is told that its token has expired, comes back once with it, and gives up", async () => {
    const topic = fresh();
    const token = signToken({ sub: "alice", exp: inSeconds(2) });
    const client = eventSource(`/api/v1/topics/${topic}/subscribe?token=${token}`);
    await client.frames.next({ type: "error", code: "token_expired" });
    await until(() => client.gaveUp, "it gives up");
    expect(client.opened).toBe(1);
    const { all } = client.frames;
    expect(all.map((frame) => frame["reason"] ?? frame["code"] ?? frame.type)).toEqual([
      "welcome",
      "subscribed",
      "token_expiring",
      "token_expired",
      "token_expired",
    ]);
  });

  test("that is turned away for want of room comes back by itself until there is some", async () => {
    const topic = fresh();
    const others = [];
    for (let index = 0; index < CONNECTIONS_MAX; index++) others.push(await openWebSocket(fleet.ws()));
    const client = eventSource(`/api/v1/topics/${topic}/subscribe`);
    const away = await client.frames.next({ type: "reconnect" });
    expect(Object.keys(away)).toEqual(["type", "delay_ms", "closes_in_ms"]);
    expect(away["delay_ms"]).toBeGreaterThanOrEqual(1_000);
    expect(away["delay_ms"]).toBeLessThanOrEqual(5_000);
    await until(() => client.told.some(({ readyState }) => readyState === 0), "it will come back");
    for (const other of others) await other.close();
    await client.frames.next({ type: "subscribed" });
    expect(client.gaveUp).toBe(false);
  });

  test("gives up at once where there is nothing for it", async () => {
    const client = eventSource("/api/v1/topics/shop.nowhere/subscribe");
    await until(() => client.gaveUp, "it gives up");
    expect(client.frames.all).toEqual([]);
  });

  test("goes on hearing when its gateway leaves: it is told, ended, and comes back to the next one at the port", async () => {
    const topic = fresh();
    const client = eventSource(`/api/v1/topics/${topic}/subscribe`, "gateway-1");
    await client.frames.next({ type: "subscribed" });
    fleet.kill("gateway-1", "SIGTERM");
    await client.frames.next({ type: "reconnect" });
    expect(await fleet.ended("gateway-1")).toBe(0);
    await fleet.start("gateway-1");
    await until(() => client.frames.of("subscribed").length === 2, "it is subscribed again");
    await publish(fleet.http(), topic, "again");
    await client.frames.next({ payload: "again" });
  });
});
