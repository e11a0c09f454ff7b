// Rights at every door, with real processes: HTTP, SSE, WebSocket and gRPC give the same verdicts, on both gateways.

import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { fromStatus, GrpcClient } from "#core/runtime/grpc.ts";
import { PublisherService, PublishRequestSchema } from "#proto/earshot/v1/publisher_pb.ts";
import { SubscriberService, SubscribeRequestSchema } from "#proto/earshot/v1/subscriber_pb.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { call, publish } from "../harness/http.ts";
import { SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { openWebSocket } from "../harness/websocket.ts";

const PERMISSIONS = ["Public", "Private", "PublishOnly", "SubscribeOnly"] as const;

function manifest(name: string, permissions: string): string {
  return `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: ${name}}
spec:
  permissions: ${permissions}
  publishers: [{kind: User, name: pat}]
  subscribers: [{kind: Group, name: readers}]
`;
}

const tokens: Readonly<Record<string, string | undefined>> = {
  anonymous: undefined,
  eve: signToken({ sub: "eve" }),
  pat: signToken({ sub: "pat" }),
  sue: signToken({ sub: "sue", groups: ["readers"] }),
  cap: signToken({ sub: "cap", earshot: { publish: ["shop.*"], subscribe: ["shop.*"] } }),
};

type Verdict = "ok" | "unauthenticated" | "forbidden" | "topic_not_found";

/** Publish and subscribe, as design's table says. */
const MATRIX: Readonly<Record<(typeof PERMISSIONS)[number], Readonly<Record<string, readonly [Verdict, Verdict]>>>> = {
  Public: { anonymous: ["ok", "ok"], eve: ["ok", "ok"], pat: ["ok", "ok"], sue: ["ok", "ok"], cap: ["ok", "ok"] },
  Private: {
    anonymous: ["topic_not_found", "topic_not_found"],
    eve: ["topic_not_found", "topic_not_found"],
    pat: ["ok", "forbidden"],
    sue: ["forbidden", "ok"],
    cap: ["ok", "ok"],
  },
  PublishOnly: {
    anonymous: ["ok", "unauthenticated"],
    eve: ["ok", "forbidden"],
    pat: ["ok", "forbidden"],
    sue: ["ok", "ok"],
    cap: ["ok", "ok"],
  },
  SubscribeOnly: {
    anonymous: ["unauthenticated", "ok"],
    eve: ["forbidden", "ok"],
    pat: ["ok", "ok"],
    sue: ["forbidden", "ok"],
    cap: ["ok", "ok"],
  },
};

const STATUS = { ok: 200, unauthenticated: 401, forbidden: 403, topic_not_found: 404 } as const;

let fleet: TestFleet;
const clients = new Map<string, GrpcClient>();

beforeAll(async () => {
  fleet = await startFleet({ topics: [PERMISSIONS.map((word) => manifest(word.toLowerCase(), word)).join("---")] });
});
afterAll(async () => {
  for (const client of clients.values()) client.close();
  await fleet?.close();
});

function grpcOf(who: string): GrpcClient {
  const client = clients.get(who) ?? new GrpcClient(fleet.grpc("gateway-1"), tokens[who]);
  clients.set(who, client);
  return client;
}

function codeOf(error: unknown): string {
  return fromStatus(error, (message) => new EarshotError("overloaded", message)).code;
}

async function publishOverHttp(topicId: string, who: string): Promise<string> {
  const token = tokens[who];
  const { status, json } = await publish(fleet.http(), topicId, 1, token === undefined ? {} : { token });
  const code = status === 200 ? "ok" : String(json["code"]);
  expect(status, `${topicId} ${who}`).toBe(STATUS[code as Verdict]);
  return code;
}

async function publishOverWebSocket(topicId: string, who: string): Promise<string> {
  const token = tokens[who];
  const client = await openWebSocket(fleet.ws("gateway-1"), token === undefined ? {} : { token });
  client.send({ type: "publish", id: "p", topic_id: topicId, payload: 1 });
  const frame = await client.frames.next(({ type }) => type === "published" || type === "error");
  await client.close();
  expect(frame["id"]).toBe("p");
  return frame.type === "published" ? "ok" : String(frame["code"]);
}

async function publishOverGrpc(topicId: string, who: string): Promise<string> {
  const request = create(PublishRequestSchema, { topicId, content: { case: "payload", value: "1" } });
  return await grpcOf(who)
    .unary(PublisherService.method.publish, request, 10_000)
    .then(() => "ok", codeOf);
}

async function subscribeOverSse(topicId: string, who: string): Promise<string> {
  const client = await SseClient.open(fleet.http("gateway-1"), `/api/v1/topics/${topicId}/subscribe`, tokens[who]);
  if (client.response.status === 200) {
    await client.frames.next({ type: "subscribed", topic_id: topicId });
    await client.close();
    return "ok";
  }
  const { status } = client.response;
  await client.close();
  return Object.entries(STATUS).find(([, number]) => number === status)?.[0] ?? String(status);
}

async function subscribeOverWebSocket(topicId: string, who: string): Promise<string> {
  const token = tokens[who];
  const client = await openWebSocket(fleet.ws(), token === undefined ? {} : { token });
  client.send({ type: "subscribe", id: "s", topic_id: topicId });
  const frame = await client.frames.next(({ type }) => type === "subscribed" || type === "error");
  await client.close();
  expect(frame).toMatchObject({ id: "s", topic_id: topicId });
  return frame.type === "subscribed" ? "ok" : String(frame["code"]);
}

async function subscribeOverGrpc(topicId: string, who: string): Promise<string> {
  const request = create(SubscribeRequestSchema, { topicIds: [topicId] });
  const stream = grpcOf(who).serverStream(SubscriberService.method.subscribe, request);
  const outcome = await new Promise<string>((resolve) => {
    stream.on("data", ({ event }) => {
      if (event.case === "subscribed") resolve("ok");
      if (event.case === "error") resolve(event.value.code);
    });
    stream.on("error", (error: unknown) => resolve(codeOf(error)));
  });
  stream.cancel();
  return outcome;
}

const PUBLISHING = { HTTP: publishOverHttp, WebSocket: publishOverWebSocket, gRPC: publishOverGrpc };
const SUBSCRIBING = { SSE: subscribeOverSse, WebSocket: subscribeOverWebSocket, gRPC: subscribeOverGrpc };

describe.each(PERMISSIONS)("%s", (permissions) => {
  const topicId = `shop.${permissions.toLowerCase()}`;
  const rows = Object.entries(MATRIX[permissions]);

  test.each(Object.keys(PUBLISHING) as (keyof typeof PUBLISHING)[])("publishing over %s", async (door) => {
    const verdicts = await Promise.all(rows.map(async ([who]) => [who, await PUBLISHING[door](topicId, who)]));
    expect(Object.fromEntries(verdicts)).toEqual(Object.fromEntries(rows.map(([who, [verdict]]) => [who, verdict])));
  });

  test.each(Object.keys(SUBSCRIBING) as (keyof typeof SUBSCRIBING)[])("subscribing over %s", async (door) => {
    const verdicts = await Promise.all(rows.map(async ([who]) => [who, await SUBSCRIBING[door](topicId, who)]));
    expect(Object.fromEntries(verdicts)).toEqual(Object.fromEntries(rows.map(([who, [, verdict]]) => [who, verdict])));
  });
});

test("a Topic that is not there and one that may not be seen answer alike, byte for byte", async () => {
  const answers = await Promise.all(
    ["shop.private", "shop.nothing"].map(async (topicId) => {
      const { status, json } = await call(fleet.http(), "GET", `/api/v1/topics/${topicId}`, {
        token: tokens["eve"] ?? "",
      });
      return { status, code: json["code"], title: json["title"], detail: json["detail"] };
    }),
  );
  expect(answers[0]).toEqual(answers[1]);
  expect(answers[0]).toMatchObject({ status: 404, code: "topic_not_found" });
});

test("no token, good or bad, is ever in a log", async () => {
  const expired = signToken({ sub: "late", exp: 1 });
  const forged = signToken({ sub: "eve" }, "a secret that is not the installation's");
  for (const token of [expired, forged, `${forged}x`]) {
    expect((await publish(fleet.http(), "shop.public", 1, { token })).status).toBe(401);
    const path = `/api/v1/topics/shop.public/publish?token=${token}`;
    expect((await call(fleet.http(), "POST", path, { body: { payload: 1 } })).status).toBe(401);
    const client = new GrpcClient(fleet.grpc(), token);
    const request = create(PublishRequestSchema, { topicId: "shop.public", content: { case: "payload", value: "1" } });
    await expect(client.unary(PublisherService.method.publish, request, 10_000)).rejects.toThrow();
    client.close();
  }
  const all = [...Object.values(tokens), expired, forged].filter((token) => token !== undefined);
  for (const name of ["gateway-0", "gateway-1", "router-0", "router-1", "operator-0"]) {
    const log = fleet.logs(name);
    expect(log).not.toBe("");
    for (const token of all) {
      // Header and payload are the same for many; the signature is the secret part.
      expect(log).not.toContain(token.slice(token.lastIndexOf(".") + 1));
    }
  }
});
