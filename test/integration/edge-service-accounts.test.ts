// ServiceAccounts at the doors of users, with real processes: HTTP, SSE, WebSocket and gRPC (over TLS) believe the same
// tokens, at gateways and routers alike, with nothing but the keys that came with Sync.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { fromStatus, GrpcClient } from "#core/runtime/grpc.ts";
import { HeldTls } from "#core/runtime/tls.ts";
import { PublisherService, PublishRequestSchema } from "#proto/earshot/v1/publisher_pb.ts";
import { TestAuthority, writeTlsFolder } from "../harness/certificates.ts";
import type { TokenParts } from "../harness/cluster-tokens.ts";
import { GrpcEars } from "../harness/grpc-ears.ts";
import { publish } from "../harness/http.ts";
import { ProvenFleet } from "../harness/proven-fleet.ts";
import { handTopic } from "../harness/router-rig.ts";
import { openSse, SseClient } from "../harness/sse.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, WebSocketClient } from "../harness/websocket.ts";

const TOPIC = "shop.orders";
const PUBLIC_NAME = "earshot.example.com";

const folder = mkdtempSync(join(tmpdir(), "earshot-public-"));
const authority = new TestAuthority("example.com");
let fleet: ProvenFleet;
let router: string;
let gateway: string;
beforeAll(async () => {
  fleet = await ProvenFleet.start();
  writeTlsFolder(folder, authority.material([PUBLIC_NAME]));
  fleet.topics = [
    handTopic(TOPIC, {
      permissions: "Private",
      publishers: [{ kind: "ServiceAccount", namespace: "shop", name: "checkout" }],
      subscribers: [{ kind: "Group", name: "system:serviceaccounts:shop" }],
    }),
  ];
  const env = { EARSHOT_PUBLIC_TLS_FOLDER: folder };
  router = await fleet.spawn("router", "127.0.0.1", env);
  gateway = await fleet.spawn("gateway", "127.0.0.2", env);
  await Promise.all([fleet.connected(router), fleet.connected(gateway)]);
  fleet.keys();
  fleet.serve([router]);
  const isReady = async (name: string): Promise<boolean> => (await fleet.notReady(name)).length === 0;
  await until(async () => (await isReady(gateway)) && (await isReady(router)), "they serve", 120_000);
}, 180_000);
afterAll(async () => {
  await fleet?.close();
  rmSync(folder, { recursive: true });
});

const tokenOf = (name: string, parts: Partial<TokenParts> = {}): Promise<string> =>
  fleet.cluster.token({ name, audience: "earshot", ...parts });

function dial(name: string, token: string): GrpcClient {
  const source = new HeldTls();
  source.offer(authority.material([PUBLIC_NAME]));
  return new GrpcClient(fleet.grpc(name), { bearer: () => token, tls: { source, serverName: PUBLIC_NAME } });
}

/** "ok", or the code of the refusal. */
async function publishOverGrpc(name: string, token: string): Promise<string> {
  const client = dial(name, token);
  const request = create(PublishRequestSchema, { topicId: TOPIC, content: { case: "payload", value: "1" } });
  try {
    await client.unary(PublisherService.method.publish, request, 10_000);
    return "ok";
  } catch (error) {
    return fromStatus(error, (message) => new EarshotError("overloaded", message)).code;
  } finally {
    client.close();
  }
}

async function publishOverHttp(token: string): Promise<string> {
  const { status, json } = await publish(fleet.http(gateway), TOPIC, 1, { token });
  return status === 200 ? "ok" : String(json["code"]);
}

async function publishOverWebSocket(token: string): Promise<string> {
  const client = new WebSocketClient(fleet.http(gateway).replace("http", "ws"), { token });
  const first = await client.frames.next(({ type }) => type === "welcome" || type === "error");
  if (first.type === "error") return String(first["code"]);
  client.send({ type: "publish", id: "p", topic_id: TOPIC, payload: 1 });
  const frame = await client.frames.next(({ type }) => type === "published" || type === "error");
  await client.close();
  return frame.type === "published" ? "ok" : String(frame["code"]);
}

async function everyDoor(token: string): Promise<readonly string[]> {
  return [
    await publishOverGrpc(router, token),
    await publishOverGrpc(gateway, token),
    await publishOverHttp(token),
    await publishOverWebSocket(token),
  ];
}

test("a ServiceAccount that a Topic names publishes at every door, and others of its namespace hear it at every door", async () => {
  const ears = await tokenOf("screen");
  const socket = await openWebSocket(fleet.http(gateway).replace("http", "ws"), { topics: [TOPIC], token: ears });
  const stream = await openSse(fleet.http(gateway), TOPIC, ears);
  const client = dial(gateway, ears);
  const grpc = new GrpcEars(client, [TOPIC]);
  await grpc.next("subscribed");
  expect(await everyDoor(await tokenOf("checkout"))).toEqual(Array(4).fill("ok"));
  const frame = await socket.frames.next({ type: "message" });
  expect(frame["publisher_id"]).toBe("system:serviceaccount:shop:checkout");
  await stream.frames.next({ type: "message" });
  await grpc.next("message", 3);
  await socket.close();
  await stream.close();
  client.close();
});

test("others may not, and a token that is wrong says so at every door", async () => {
  expect(await everyDoor(await tokenOf("screen"))).toEqual(Array(4).fill("forbidden"));
  expect(await everyDoor(await tokenOf("checkout", { namespace: "elsewhere" }))).toEqual(
    Array(4).fill("topic_not_found"),
  );
  expect(await everyDoor(await tokenOf("checkout", { audience: "other" }))).toEqual(Array(4).fill("unauthenticated"));
  expect(await everyDoor(await tokenOf("checkout", { seconds: -1 }))).toEqual(Array(4).fill("token_expired"));
  const token = await fleet.token("gateway");
  expect(await everyDoor(token)).toEqual(Array(4).fill("unauthenticated"));
});

test("no word is taken in plain text where the port has a certificate", async () => {
  for (const name of [router, gateway]) {
    const client = new GrpcClient(fleet.grpc(name), await tokenOf("checkout"));
    const request = create(PublishRequestSchema, { topicId: TOPIC, content: { case: "payload", value: "1" } });
    await expect(client.unary(PublisherService.method.publish, request, 5_000)).rejects.toThrow("14 UNAVAILABLE");
    client.close();
  }
});

test("keys that rotate are believed when they come, and no longer when they are gone", async () => {
  const old = await tokenOf("checkout");
  await fleet.cluster.addKey("RS256");
  const next = await tokenOf("checkout");
  expect(await everyDoor(next)).toEqual(Array(4).fill("unauthenticated"));
  fleet.keys();
  await until(async () => (await everyDoor(next)).every((verdict) => verdict === "ok"), "the new key is believed");
  expect(await everyDoor(old)).toEqual(Array(4).fill("ok"));
  fleet.cluster.dropOldKeys();
  fleet.keys();
  await until(
    async () => (await everyDoor(old)).every((verdict) => verdict === "unauthenticated"),
    "the old one is gone",
  );
  expect(await everyDoor(next)).toEqual(Array(4).fill("ok"));
});

test("an installation that takes none at its doors refuses them, and its processes go on", async () => {
  fleet.keys(fleet.cluster.keys(false));
  const token = await tokenOf("checkout");
  await until(
    async () => (await everyDoor(token)).every((verdict) => verdict === "unauthenticated"),
    "they are refused",
  );
  expect(await fleet.notReady(gateway)).toEqual([]);
  fleet.keys();
  await until(async () => (await everyDoor(token)).every((verdict) => verdict === "ok"), "they are taken again");
});

test("a stream of a ServiceAccount ends with its token", async () => {
  const client = await SseClient.open(
    fleet.http(gateway),
    `/api/v1/topics/${TOPIC}/subscribe`,
    await tokenOf("screen", { seconds: 8 }),
  );
  await client.frames.next({ type: "subscribed" });
  await client.ended;
  expect(client.frames.of("error").at(-1)).toMatchObject({ code: "token_expired" });
});
