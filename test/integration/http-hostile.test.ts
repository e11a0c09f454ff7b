// What a hostile or broken client sends over a real connection, and that nobody else is harmed by it.

import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createRegistry, type Registry } from "#core/runtime/metrics.ts";
import { type Door, listen, openDoor } from "../harness/http-door.ts";
import { until } from "../harness/until.ts";

let door: Door;
let registry: Registry;
let listener: Awaited<ReturnType<typeof listen>>;
const sockets: Socket[] = [];

beforeEach(async () => {
  registry = createRegistry("gateway");
  door = await openDoor({ registry });
  listener = await listen(door);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await listener.close();
  await door.close();
});

interface Raw {
  readonly socket: Socket;
  text: string;
  ended: boolean;
}

function dial(): Raw {
  const socket = connect(listener.port, "127.0.0.1");
  sockets.push(socket);
  const raw: Raw = { socket, text: "", ended: false };
  socket.on("data", (data) => {
    raw.text += data.toString("latin1");
  });
  socket.on("close", () => {
    raw.ended = true;
  });
  socket.on("error", () => {
    raw.ended = true;
  });
  return raw;
}

/** Sends bytes as they are and resolves with the answer: status, headers, and the problem in its body. */
async function send(request: string): Promise<{ status: number; head: string; body: Record<string, unknown> }> {
  const raw = dial();
  raw.socket.write(request, "latin1");
  await until(() => isWhole(raw.text) || raw.ended, "a whole answer");
  const [head = "", body = ""] = raw.text.split("\r\n\r\n", 2);
  return {
    status: Number(head.split(" ")[1]),
    head,
    body: body === "" ? {} : (JSON.parse(body) as Record<string, unknown>),
  };
}

function isWhole(text: string): boolean {
  const [head, body] = text.split("\r\n\r\n", 2);
  if (body === undefined) return false;
  const length = /content-length: (\d+)/i.exec(head ?? "")?.[1];
  return length !== undefined && body.length >= Number(length);
}

function get(path: string, method = "GET"): Promise<{ status: number; head: string; body: Record<string, unknown> }> {
  return send(`${method} ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
}

async function stillServes(): Promise<void> {
  expect((await get("/api/v1/topics/default.demo")).status).toBe(200);
}

test.each([
  ["/api/v1/topics/..", 422, "topic_id_invalid"],
  ["/api/v1/topics/../../etc/passwd", 404, "invalid_request"],
  ["/api/v1/topics/%2e%2e", 422, "topic_id_invalid"],
  ["/api/v1/topics/%2E%2E%2Fadmin", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo%2F..%2Fother", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo%252F", 422, "topic_id_invalid"],
  ["/api/v1/topics/%252e%252e", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo%00", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo%0d%0aset-cookie:x", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo%20", 422, "topic_id_invalid"],
  ["/api/v1/topics/DEFAULT.demo", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo%C3%A9", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo;v=1", 422, "topic_id_invalid"],
  ["/api/v1/topics/__proto__", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.constructor", 404, "topic_not_found"],
  ["/api/v1/topics/default.demo%", 422, "invalid_request"],
  ["/api/v1/topics/default.demo%zz", 422, "invalid_request"],
  ["/api/v1/topics/default.demo%ff%fe", 422, "invalid_request"],
  ["/api/v1//topics/default.demo", 404, "invalid_request"],
  ["//api/v1/topics/default.demo", 404, "invalid_request"],
  ["/api/v1/topics//subscribers", 422, "topic_id_invalid"],
  ["/api/v1/topics/", 422, "topic_id_invalid"],
  ["/api/v1/topics/default.demo/", 404, "invalid_request"],
  ["/API/v1/topics", 404, "invalid_request"],
  ["http://evil/api/v1/topics/%2e%2e", 422, "topic_id_invalid"],
  ["*", 404, "invalid_request"],
])("GET %s is refused as %i %s", async (path, status, code) => {
  const answer = await get(path);
  expect([answer.status, answer.body["code"]]).toEqual([status, code]);
  expect(answer.head).toMatch(/content-type: application\/problem\+json/i);
  await stillServes();
});

test("a topic id may be as long as one can be, and one that is longer says so", async () => {
  const longest = `default.demo:${"c".repeat(128)}`;
  expect((await get(`/api/v1/topics/${longest}`)).status).toBe(200);
  for (const id of [`${longest}c`, "a".repeat(512), "a".repeat(513), "a".repeat(8_000)]) {
    const answer = await get(`/api/v1/topics/${id}`);
    expect([answer.status, answer.body["code"]]).toEqual([422, "topic_id_invalid"]);
  }
  expect((await get(`/nowhere/${"a".repeat(8_000)}`)).status).toBe(404);
});

test("a topic id with encoded characters that it may have is the same topic", async () => {
  expect((await get("/api/v1/topics/default%2Edemo")).status).toBe(200);
  expect((await get("/api/v1/topics/default.demo%3Aroom")).body["topic_id"]).toBe("default.demo:room");
});

test.each(["PUT", "PROPFIND", "SEARCH", "TRACE"])("the method %s is not taken", async (method) => {
  const answer = await get("/api/v1/topics/default.demo", method);
  expect([404, 405]).toContain(answer.status);
  await stillServes();
});

test("headers that are too large are refused", async () => {
  const answer = await send(`GET /api/v1/topics HTTP/1.1\r\nhost: x\r\nx: ${"x".repeat(17 * 1024)}\r\n\r\n`);
  expect([answer.status, answer.body["code"]]).toEqual([431, "invalid_request"]);
  await stillServes();
});

test.each([
  ["no HTTP", "hello\r\n\r\n"],
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["two lengths", "POST /api/v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"],
  [
    "length and chunks",
    "POST /api/v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  ["a bad chunk", "POST /api/v1/publish HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
  ["a header with a null byte", "GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n"],
  ["a folded header", "GET / HTTP/1.1\r\nhost: x\r\n x: y\r\nbad\r\n\r\n"],
  ["no host", "GET /api/v1/topics HTTP/1.1\r\n\r\n"],
])("%s is refused with 400", async (_what, request) => {
  const answer = await send(request);
  expect(answer.status).toBe(400);
  await stillServes();
});

test("a body that is too large is refused, announced or not, and the answer can be read", async () => {
  const path = "/api/v1/topics/default.demo/publish";
  const bytes = 200 * 1024;
  const announced = await send(
    `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes}\r\n\r\n${"x".repeat(bytes)}`,
  );
  expect([announced.status, announced.body["code"]]).toEqual([413, "message_too_large"]);
  const chunk = `${(64 * 1024).toString(16)}\r\n${"x".repeat(64 * 1024)}\r\n`;
  const chunked = await send(
    `POST ${path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n${chunk.repeat(3)}0\r\n\r\n`,
  );
  expect([chunked.status, chunked.body["code"]]).toEqual([413, "message_too_large"]);
  const huge = await send(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\nx`);
  expect([huge.status, huge.body["code"]]).toEqual([413, "message_too_large"]);
  const endless = dial();
  endless.socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n`);
  const pour = setInterval(() => endless.socket.write(chunk.repeat(16)), 1);
  await until(() => endless.ended, "the end of a body without an end");
  clearInterval(pour);
  await stillServes();
});

test("a body that comes byte by byte arrives as it was sent", async () => {
  const body = JSON.stringify({ payload: "earshot ".repeat(200) });
  const raw = dial();
  raw.socket.setNoDelay(true);
  raw.socket.write(
    "POST /api/v1/topics/default.demo/publish HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n" +
      "content-type: application/json\r\n\r\n",
  );
  for (const byte of body) raw.socket.write(`1\r\n${byte}\r\n`);
  raw.socket.write("0\r\n\r\n");
  await until(() => isWhole(raw.text) || raw.ended, "a whole answer");
  expect(raw.text).toMatch(/^HTTP\/1\.1 200 /);
  expect(door.state.asked.publishes[0]?.input.content).toEqual({
    kind: "json",
    text: JSON.stringify("earshot ".repeat(200)),
  });
});

test("a client that goes away in the middle of its body harms nobody", async () => {
  for (let index = 0; index < 50; index++) {
    const raw = dial();
    raw.socket.write('POST /api/v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"mess');
    raw.socket.end();
    raw.socket.resetAndDestroy();
  }
  await stillServes();
  expect(door.state.asked.publishes).toEqual([]);
  await until(async () => (await registry.metrics()).includes('status="200"'), "an answer is counted");
  expect(await registry.metrics()).not.toContain('status="500"');
});

test("the path of WebSockets says what it speaks", async () => {
  const answer = await get("/ws/subscribe?token=secret");
  expect([answer.status, answer.body["code"]]).toEqual([426, "invalid_request"]);
  expect(answer.head).toMatch(/upgrade: websocket/i);
  expect(JSON.stringify(answer.body)).not.toContain("secret");
});

test.each([
  ["h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"],
  ["another protocol", "Connection: Upgrade\r\nUpgrade: foo/1, bar\r\n"],
])("a request that would rather speak %s is answered as it is, with its body", async (_what, headers) => {
  // Whoever serves WebSockets listens for upgrades.
  door.app.server.on("upgrade", (_request, socket) => socket.destroy());
  const body = '{"payload":1}';
  const answer = await send(
    `POST /api/v1/topics/default.demo/publish HTTP/1.1\r\nhost: x\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`,
  );
  expect([answer.status, answer.body["delivered_to"]]).toEqual([200, 3]);
  expect(door.state.asked.publishes).toHaveLength(1);
});

test("requests after each other on one connection are answered in order", async () => {
  const raw = dial();
  const one = (id: string): string => `GET /api/v1/topics/${id} HTTP/1.1\r\nhost: x\r\n\r\n`;
  raw.socket.write(one("default.demo") + one("..") + one("shop.wall"));
  await until(() => raw.text.split("HTTP/1.1 ").length === 4 && raw.text.endsWith("}"), "three answers");
  expect(raw.text.split("HTTP/1.1 ").map((part) => part.slice(0, 3))).toEqual(["", "200", "422", "200"]);
});

test("a client that does not send its headers is cut off, and one whose stream lives is not", {
  timeout: 30_000,
}, async () => {
  const slow = dial();
  slow.socket.write("GET /api/v1/topics HTTP/1.1\r\nhost: x\r\n");
  const drip = setInterval(() => slow.socket.write("x: y\r\n"), 500);
  try {
    await until(() => slow.ended, "the end of a slow client", 20_000);
  } finally {
    clearInterval(drip);
  }
  expect(slow.text).toMatch(/^HTTP\/1\.1 408 /);
  await stillServes();
});
