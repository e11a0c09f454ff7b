import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";
import { bindService, createGrpcServer, GrpcClient, type ServerWritableStream } from "#core/runtime/grpc.ts";
import { type GrpcConnectionLimits, GrpcConnections } from "#core/runtime/grpc-connections.ts";
import {
  type SubscribeRequest,
  SubscribeRequestSchema,
  type SubscribeResponse,
  SubscribeResponseSchema,
  SubscriberService,
} from "#proto/earshot/v1/subscriber_pb.ts";
import { holds } from "../harness/holds.ts";
import { until } from "../harness/until.ts";

type Call = ServerWritableStream<SubscribeRequest, SubscribeResponse | Uint8Array>;

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

/** A server whose streams stay open until a test ends them. */
async function serve(limits: GrpcConnectionLimits & { readonly maxIdleMs?: number } = {}) {
  const { maxIdleMs } = limits;
  const server = createGrpcServer({ pings: false, ...(maxIdleMs === undefined ? {} : { maxIdleMs }) });
  const connections = new GrpcConnections(server, limits);
  const calls: Call[] = [];
  bindService(server, SubscriberService, {
    subscribe: (call) => {
      calls.push(call);
      call.write(create(SubscribeResponseSchema));
    },
  });
  const listener = createServer((socket) => connections.accept(socket)).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  closers.push(
    () => listener.close(),
    async () => {
      await connections.close();
      server.forceShutdown();
    },
  );
  const stream = async () => {
    const client = new GrpcClient(`127.0.0.1:${port}`);
    closers.push(() => client.close());
    const open = () => client.serverStream(SubscriberService.method.subscribe, create(SubscribeRequestSchema));
    const heard = open();
    let status: number | undefined;
    heard.on("data", () => undefined);
    heard.on("error", () => undefined);
    heard.on("status", ({ code }: { code: number }) => {
      status = code;
    });
    const before = calls.length;
    await until(() => calls.length === before + 1, "the stream is open");
    return { call: calls.at(-1) as Call, status: () => status, again: open };
  };
  return { connections, stream, calls, port };
}

test("a connection that was told to go serves its stream to the end, and further calls come on a new one", async () => {
  const { connections, stream, calls } = await serve();
  const one = await stream();
  connections.leave(one.call.getPeer());
  await holds(() => one.status() === undefined, "it is served on", 100);
  one.again().on("error", () => undefined);
  await until(() => calls.length === 2, "the next call comes");
  expect(calls[1]?.getPeer()).not.toBe(one.call.getPeer());
  expect(connections.size).toBe(2);
  one.call.end();
  await until(() => one.status() === 0 && connections.size === 1, "it ends well, and its connection with it");
});

test("a drain tells those that are held only when they are let go, and is over when all are gone", async () => {
  const { connections, stream } = await serve();
  const [free, held] = [await stream(), await stream()];
  const release = connections.hold(held.call.getPeer());
  let drained = false;
  const draining = connections.drain(10_000).then(() => {
    drained = true;
  });
  free.call.end();
  await until(() => free.status() === 0 && connections.size === 1, "the free one is gone");
  // Longer than the client's keepalive, which no connection outlives that was told to go.
  await holds(() => held.status() === undefined && !drained, "the held one is served on", 3_800);
  held.call.end();
  release();
  await draining;
  expect([held.status(), connections.size]).toEqual([0, 0]);
});

test("a drain ends with its deadline, and a connection that comes later is told to go at once", async () => {
  const { connections, stream, port } = await serve();
  const held = await stream();
  connections.hold(held.call.getPeer());
  await connections.drain(50);
  expect(connections.size).toBe(1);
  const late = connectHttp2(`http://127.0.0.1:${port}`);
  await once(late, "goaway");
  await until(() => connections.size === 1, "it is gone");
  connections.hold("127.0.0.1:1")();
  connections.leave("127.0.0.1:1");
});

/** A connection that sends what it is told to, and nothing else. */
function dial(port: number): { socket: Socket; closed: () => boolean } {
  const socket = connect(port, "127.0.0.1");
  let closed = false;
  socket.on("close", () => {
    closed = true;
  });
  socket.on("error", () => undefined);
  socket.resume();
  closers.push(() => socket.destroy());
  return { socket, closed: () => closed };
}

test("connections are taken up to a number, one more is closed at once, and places are given back", async () => {
  const { connections, port, stream } = await serve({ connectionsMax: 3 });
  const { call, status } = await stream();
  const others = [dial(port), dial(port)];
  await until(() => connections.size === 3, "all places are taken");
  const late = dial(port);
  await until(() => late.closed(), "one more is closed");
  expect([connections.size, connections.refused]).toEqual([3, 1]);
  expect([...others.map(({ closed }) => closed()), status()]).toEqual([false, false, undefined]);
  others[0]?.socket.destroy();
  await until(() => connections.size === 2, "its place is free");
  const next = dial(port);
  await until(() => connections.size === 3, "the next one is taken");
  expect(next.closed()).toBe(false);
  call.end();
});

test("who says nothing is let go of soon, who speaks and makes no call some time later, who has a call never", async () => {
  const { connections, port, stream } = await serve({ firstWordMs: 100, maxIdleMs: 1_000 });
  const { status } = await stream();
  const silent = dial(port);
  const speaking = connectHttp2(`http://127.0.0.1:${port}`);
  closers.push(() => speaking.destroy());
  await until(() => connections.size === 3, "all are connected");
  await until(() => silent.closed(), "the silent one is let go of");
  expect([connections.size, speaking.closed]).toEqual([2, false]);
  await once(speaking, "goaway");
  await until(() => connections.size === 1, "the idle one is gone");
  await holds(() => status() === undefined, "the stream goes on", 1_200);
});

test("who makes calls and takes them back without end is ended, and its calls with it", async () => {
  const { connections, port, stream, calls } = await serve();
  const { status } = await stream();
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  closers.push(() => session.destroy());
  await once(session, "remoteSettings");
  for (let count = 0; count < 5_000 && !session.destroyed; count++) {
    const headers = { ":method": "POST", ":path": "/earshot.v1.SubscriberService/Subscribe" };
    const request = session.request({ ...headers, "content-type": "application/grpc" });
    request.on("error", () => undefined);
    request.close(8);
    if (count % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => connections.size === 1, "its connection is gone");
  expect([calls.length, status()]).toEqual([1, undefined]);
});
