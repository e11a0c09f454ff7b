// How many connections without a session there may be, and which of them gives way.

import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { BECAME_STREAM, HttpConnections } from "../../gateway/http/connections.ts";
import { until } from "../harness/until.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

interface Client {
  readonly socket: Socket;
  readonly closed: () => boolean;
}

/** A server that leaves requests for /wait unanswered, and room for three connections. */
async function serve() {
  const registry = createRegistry("gateway");
  const waiting: ServerResponse[] = [];
  const server = createServer((request, response) => {
    if (request.url === "/wait") waiting.push(response);
    else response.end();
  });
  const connections = new HttpConnections(server, { clock: SYSTEM_CLOCK, registry, max: 3 });
  server.on("upgrade", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  closers.push(() => {
    server.close();
    server.closeAllConnections();
  });
  /** Connects, sends `text`, and resolves when it is seen. */
  const dial = async (text = ""): Promise<Client> => {
    const socket = connect(port, "127.0.0.1");
    closers.push(() => socket.destroy());
    let closed = false;
    socket.on("close", () => {
      closed = true;
    });
    socket.on("error", () => undefined);
    socket.resume();
    const taken = once(server, "connection");
    socket.write(text);
    await taken;
    return { socket, closed: () => closed };
  };
  const waits = async (): Promise<Client> => {
    const before = waiting.length;
    const client = await dial("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n");
    await until(() => waiting.length === before + 1, "its request is there");
    return client;
  };
  return { connections, registry, dial, waits, waiting };
}

test("the oldest that waits for nothing gives way to a newcomer; who awaits an answer stays", async () => {
  const { connections, registry, dial, waits, waiting } = await serve();
  const busy = await waits();
  const idle = await dial();
  const half = await dial("POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf");
  const fourth = await dial();
  await until(() => idle.closed(), "the oldest idle one is closed");
  const fifth = await dial();
  await until(() => half.closed(), "half a request is waited for no longer");
  expect([busy.closed(), fourth.closed(), fifth.closed()]).toEqual([false, false, false]);
  expect(connections.size).toBe(3);
  expect(await registry.metrics()).toContain('earshot_http_connections_gave_way_total{role="gateway"} 2');
  waiting[0]?.end();
});

test("where everybody awaits an answer the newcomer is closed, until one was answered", async () => {
  const { connections, dial, waits, waiting } = await serve();
  const busy = [await waits(), await waits(), await waits()];
  const late = await dial();
  await until(() => late.closed(), "there is no room");
  expect(busy.map(({ closed }) => closed())).toEqual([false, false, false]);
  waiting[1]?.end();
  await until(() => waiting[1]?.writableFinished === true, "one is answered");
  const next = await dial();
  await until(() => busy[1]?.closed() === true, "it gives way");
  expect([next.closed(), connections.size]).toEqual([false, 3]);
});

test("what carries a session takes no place", async () => {
  const { connections, dial, waits, waiting } = await serve();
  const stream = await waits();
  waiting[0]?.socket?.emit(BECAME_STREAM);
  expect(connections.size).toBe(0);
  const upgraded = await dial("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  await until(() => connections.size === 0, "it has become another protocol's");
  for (let count = 0; count < 5; count++) await dial();
  await until(() => connections.size === 3, "the others were counted");
  expect([stream.closed(), upgraded.closed()]).toEqual([false, false]);
});
