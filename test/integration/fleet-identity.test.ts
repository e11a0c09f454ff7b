// Processes that prove themselves as in a cluster: certificates, tokens of ServiceAccounts, names in DNS.

import { X509Certificate } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GrpcClient } from "#core/runtime/grpc.ts";
import { GatewayFrameSchema, LinkService } from "#proto/earshot/internal/v1/link_pb.ts";
import { CountSubscriptionsRequestSchema, RouterService } from "#proto/earshot/internal/v1/router_pb.ts";
import { TestAuthority } from "../harness/certificates.ts";
import { PEER_AUDIENCE, ProvenFleet } from "../harness/proven-fleet.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

let fleet: ProvenFleet;
let router: string;
let gateway: string;
beforeAll(async () => {
  fleet = await ProvenFleet.start();
  router = await fleet.spawn("router", "127.0.0.1");
  gateway = await fleet.spawn("gateway", "127.0.0.2");
  await Promise.all([fleet.connected(router), fleet.connected(gateway)]);
}, 180_000);
afterAll(() => fleet?.close());

/** What a router answers one who asks it something: "served", or the status and its text. */
async function answerTo(token: string, asked = router): Promise<string> {
  const client = fleet.dial(asked, token);
  try {
    await client.unary(RouterService.method.countSubscriptions, create(CountSubscriptionsRequestSchema), 5_000);
    return "served";
  } catch (error) {
    return String(error);
  } finally {
    client.close();
  }
}

/** What a router answers one who opens a link. */
async function linkAnswer(token: string): Promise<string> {
  const client: GrpcClient = fleet.dial(router, token);
  try {
    const link = client.bidi(LinkService.method.open);
    return await new Promise<string>((resolve) => {
      link.on("data", () => resolve("served"));
      link.on("error", (error) => resolve(String(error)));
      const hello = { protocolVersion: 1, incarnation: "a-test", name: "a-test" };
      link.write(create(GatewayFrameSchema, { frame: { case: "hello", value: hello } }));
    });
  } finally {
    client.close();
  }
}

async function heard(payload: string): Promise<void> {
  const client = await openWebSocket(fleet.http(gateway).replace("http", "ws"), { topics: ["shop.demo"] });
  const body = JSON.stringify({ payload });
  const answer = await fetch(`${fleet.http(gateway)}/api/v1/topics/shop.demo/publish`, { method: "POST", body });
  expect(await answer.json()).toMatchObject({ delivered_to: 1 });
  await client.frames.next({ type: "message", payload });
  await client.close();
}

describe("processes of one installation", () => {
  test("tell who calls before the cluster's keys have come to come again", async () => {
    expect(await answerTo(await fleet.token("gateway"))).toContain("14 UNAVAILABLE: the keys of service accounts");
  });

  test("find and believe each other, and a message goes its way", async () => {
    fleet.keys();
    fleet.serve([router]);
    await until(async () => (await fleet.notReady(gateway)).length === 0, "the gateway is warm", 120_000);
    expect(await fleet.notReady(router)).toEqual([]);
    await heard("over TLS");
  });

  test("call of each other what their role may, and nobody else calls anything", async () => {
    expect(await answerTo(await fleet.token("gateway"))).toBe("served");
    expect(await answerTo(await fleet.token("router"))).toBe("served");
    expect(await answerTo(await fleet.token("operator"))).toMatch(/7 PERMISSION_DENIED: .*by router and gateway/);
    expect(await linkAnswer(await fleet.token("gateway"))).toBe("served");
    expect(await linkAnswer(await fleet.token("router"))).toMatch(/7 PERMISSION_DENIED: .*by gateway, not by router/);
    expect(await answerTo(await fleet.token("gateway", { namespace: "else" }))).toContain("16 UNAUTHENTICATED");
    expect(await answerTo(await fleet.token("gateway", { audience: "earshot" }))).toContain("aud must name");
    expect(await answerTo("")).toContain("16 UNAUTHENTICATED");
    const metrics = await fleet.metrics(router);
    expect(metrics).toMatch(/earshot_peer_calls_total\{outcome="refused",role="router"\} [1-9]/);
    expect(metrics).toMatch(/earshot_peer_certificate_expiry_seconds\{role="router"\} 1[0-9]{9}/);
  });

  test("go on while their certificates and tokens are replaced, and new ones are believed", async () => {
    const next = new TestAuthority(PEER_AUDIENCE);
    const both = fleet.authority.pair.certificate + next.pair.certificate;
    fleet.trust(both);
    await until(async () => fleet.log(router).includes("certificates read again"), "the router read them", 120_000);
    await until(async () => fleet.log(gateway).includes("certificates read again"), "the gateway read them", 120_000);
    fleet.certify(router, next, both);
    const fingerprint = new X509Certificate(next.pair.certificate).subject;
    await until(async () => (await fleet.issuerOf(router)) === fingerprint, "the router shows the new one", 120_000);
    await heard("over the old connection");
    await fleet.writeToken(gateway, { name: "live-gateway" });
    const later = await fleet.spawn("gateway", "127.0.0.3");
    await fleet.connected(later);
    fleet.keys();
    fleet.serve([router]);
    await until(async () => (await fleet.notReady(later)).length === 0, "a new gateway links by it", 120_000);
    await fleet.kill(later, "SIGKILL");
    fleet.serve([router]);
  }, 300_000);

  test("that start while no operator answers learn the keys from a router", async () => {
    fleet.operator.kill();
    const other = await fleet.spawn("router", "127.0.0.4");
    await until(
      async () => (await fleet.metrics(other).catch(() => "")).includes("earshot_sync_topics"),
      "it runs",
      30_000,
    );
    const late = await fleet.spawn("gateway", "127.0.0.5");
    await until(async () => (await fleet.notReady(late)).length === 0, "it serves", 120_000);
    await until(async () => (await answerTo(await fleet.token("gateway"), other)) === "served", "it believes", 120_000);
  }, 300_000);
});

test.each([
  [{ EARSHOT_TLS_FOLDER: "" }, "tlsFolder"],
  [{ EARSHOT_PEER_TOKEN_FILE: "/nowhere" }, "peerTokenFile"],
  [{ EARSHOT_RELEASE: "" }, "release"],
  [{ EARSHOT_PEER_AUDIENCE: "" }, "peerAudience"],
])("a process with %j does not start, and says what is missing", async (env, what) => {
  const name = await fleet.spawn("router", "127.0.0.9", env);
  expect(await fleet.ended(name)).toBe(2);
  expect(fleet.log(name)).toContain(what);
  fleet.forget(name);
});
