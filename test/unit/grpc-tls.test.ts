import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { connect as connectTls, type PeerCertificate } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { afterEach, describe, expect, test } from "vitest";
import { bindService, createGrpcServer, GrpcClient, listenGrpc } from "#core/runtime/grpc.ts";
import { GrpcConnections } from "#core/runtime/grpc-connections.ts";
import { HeldTls, type TlsMaterial } from "#core/runtime/tls.ts";
import { GatewayFrameSchema, LinkService, RouterFrameSchema } from "#proto/earshot/internal/v1/link_pb.ts";
import {
  CountSubscriptionsRequestSchema,
  CountSubscriptionsResponseSchema,
  RouterService,
} from "#proto/earshot/internal/v1/router_pb.ts";
import { TestAuthority } from "../harness/certificates.ts";
import { until } from "../harness/until.ts";

const NAME = "router.earshot.internal";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

function held(material?: TlsMaterial): HeldTls {
  const tls = new HeldTls();
  if (material !== undefined) expect(tls.offer(material)).toBeUndefined();
  return tls;
}

function service() {
  const server = createGrpcServer();
  bindService(server, RouterService, {
    countSubscriptions: async () => create(CountSubscriptionsResponseSchema, { counts: [7n] }),
    describeTopic: () => Promise.reject(new Error("not asked")),
    admitChannel: () => Promise.reject(new Error("not asked")),
    publishStream: (call) => call.end(),
  });
  bindService(server, LinkService, {
    open: (call) => {
      call.on("data", () => call.write(create(RouterFrameSchema, { frame: { case: "heartbeat", value: {} } })));
      call.on("end", () => call.end());
    },
  });
  closers.push(() => server.forceShutdown());
  return server;
}

/** Ports that a server opens itself, and ports whose connections it is given. */
const WAYS = {
  listening: (tls: HeldTls) => listenGrpc(service(), "127.0.0.1", 0, tls),
  given: async (tls: HeldTls) => {
    const connections = new GrpcConnections(service(), { tls });
    const listener = createServer((socket) => connections.accept(socket)).listen(0, "127.0.0.1");
    await once(listener, "listening");
    closers.push(
      () => listener.close(),
      () => connections.close(),
    );
    return (listener.address() as AddressInfo).port;
  },
};

function dial(port: number, trust?: TlsMaterial, serverName = NAME): GrpcClient {
  const tls = trust === undefined ? undefined : { source: held(trust), serverName };
  const client = new GrpcClient(`127.0.0.1:${port}`, { bearer: () => "", tls });
  closers.push(() => client.close());
  return client;
}

async function ask(client: GrpcClient): Promise<unknown> {
  const request = create(CountSubscriptionsRequestSchema, { topicIds: ["a"] });
  return (await client.unary(RouterService.method.countSubscriptions, request, 3_000)).counts;
}

/** A connection without TLS. */
function plainly(port: number): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  closers.push(() => socket.destroy());
  return socket;
}

/** The certificate that a new connection is shown. */
async function shown(port: number, more: object = {}): Promise<PeerCertificate> {
  const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"], ...more });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerCertificate();
  } finally {
    socket.destroy();
  }
}

describe.each(Object.entries(WAYS))("a server on %s sockets", (_way, open) => {
  const authority = new TestAuthority();

  test("serves who trusts its authority and expects its name, at whatever address", async () => {
    const port = await open(held(authority.material([NAME])));
    expect(await ask(dial(port, authority.material()))).toEqual([7n]);
  });

  test("is not taken for another one, nor on the word of another authority, and says nothing in plain text", async () => {
    const port = await open(held(authority.material([NAME])));
    const { material: other } = held(authority.material(["operator.earshot.internal"]));
    await expect(ask(dial(port, other, "operator.earshot.internal"))).rejects.toThrow("altnames");
    await expect(ask(dial(port, new TestAuthority().material()))).rejects.toThrow();
    await expect(ask(dial(port))).rejects.toThrow();
    expect(await ask(dial(port, authority.material()))).toEqual([7n]);
  });

  test("speaks TLS 1.3 and nothing older", async () => {
    const port = await open(held(authority.material([NAME])));
    expect(await shown(port)).toBeDefined();
    await expect(shown(port, { maxVersion: "TLSv1.2" })).rejects.toThrow();
  });

  test("shows a new certificate to who comes then, while open streams go on", async () => {
    const next = new TestAuthority();
    const both = authority.pair.certificate + next.pair.certificate;
    const tls = held(authority.material([NAME]));
    const port = await open(tls);
    const client = dial(port, authority.material([NAME], both));
    const stream = client.bidi(LinkService.method.open);
    let beats = 0;
    stream.on("data", () => (beats += 1));
    stream.on("error", () => (beats = Number.NaN));
    stream.write(create(GatewayFrameSchema));
    await until(() => beats === 1, "the stream is open");
    const before = await shown(port);
    expect(tls.offer(next.material([NAME]))).toBeUndefined();
    expect((await shown(port)).fingerprint256).not.toBe(before.fingerprint256);
    stream.write(create(GatewayFrameSchema));
    await until(() => beats === 2, "the stream goes on");
    expect(await ask(dial(port, authority.material([NAME], both)))).toEqual([7n]);
    await expect(ask(dial(port, authority.material()))).rejects.toThrow();
  });

  test("closes connections while it has no certificate, and serves when it has one", async () => {
    const tls = held();
    const port = await open(tls);
    await expect(ask(dial(port, authority.material()))).rejects.toThrow();
    tls.offer(authority.material([NAME]));
    expect(await ask(dial(port, authority.material()))).toEqual([7n]);
  });
});

test("an IPv6 address is dialled like any other (skipped where this machine has none)", async (context) => {
  const authority = new TestAuthority();
  const port = await listenGrpc(service(), "::1", 0, held(authority.material([NAME]))).catch(() => undefined);
  if (port === undefined) context.skip("no IPv6 here");
  const tls = { source: held(authority.material()), serverName: NAME };
  const client = new GrpcClient(`[::1]:${port}`, { bearer: () => "", tls });
  closers.push(() => client.close());
  expect(await ask(client)).toEqual([7n]);
});

test("a client trusts what counts when it dials again", async () => {
  const [old, next] = [new TestAuthority(), new TestAuthority()];
  const port = await listenGrpc(service(), "127.0.0.1", 0, held(next.material([NAME])));
  const source = held(old.material());
  const client = new GrpcClient(`127.0.0.1:${port}`, { bearer: () => "", tls: { source, serverName: NAME } });
  closers.push(() => client.close());
  await expect(ask(client)).rejects.toThrow();
  source.offer(old.material([NAME], old.pair.certificate + next.pair.certificate));
  await until(
    () =>
      ask(client).then(
        () => true,
        () => false,
      ),
    "it is believed",
  );
});

test("connections that end before or within their handshake leave nothing behind", async () => {
  const connections = new GrpcConnections(service(), { tls: held(new TestAuthority().material()), firstWordMs: 100 });
  const listener = createServer((socket) => connections.accept(socket)).listen(0, "127.0.0.1");
  await once(listener, "listening");
  closers.push(
    () => listener.close(),
    () => connections.close(),
  );
  const { port } = listener.address() as AddressInfo;
  const silent = plainly(port);
  const loud = plainly(port);
  loud.write("GET / HTTP/1.1\r\n\r\n");
  await until(() => connections.size === 1, "who speaks something else is gone");
  silent.destroy();
  await until(() => connections.size === 0, "who left is gone");
  const mute = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] });
  mute.on("error", () => undefined);
  closers.push(() => mute.destroy());
  await once(mute, "secureConnect");
  await until(() => connections.size === 0, "who says nothing after its handshake is gone");
});
