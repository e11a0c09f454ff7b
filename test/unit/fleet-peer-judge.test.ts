import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { PEER_TOKENS_MAX, PeerJudge, REFUSAL_TOLD_MS } from "#core/fleet/peer-judge.ts";
import { ServiceAccounts } from "#core/fleet/service-accounts.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog, type Log } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import type { Refusal } from "#core/runtime/peer-identity.ts";
import { ControlPlaneService } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { LinkService } from "#proto/earshot/internal/v1/link_pb.ts";
import { PresenceStoreService } from "#proto/earshot/internal/v1/presence_pb.ts";
import { RouterService } from "#proto/earshot/internal/v1/router_pb.ts";
import { TestCluster, type TokenParts } from "../harness/cluster-tokens.ts";

const AUDIENCE = "live.shop.earshot.internal";
const log = createLog("silent", {});
const lines: { readonly service?: string; readonly reason?: string }[] = [];
const told: Log = createLog("silent", {});
told.warn = (fields: object) => void lines.push(fields);

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.create();
});

let accounts: ServiceAccounts;
let registry: Registry;
let peers: PeerJudge;
let nowMs: number;
let uptimeMs: number;
beforeEach(() => {
  nowMs = Date.now();
  uptimeMs = 0;
  lines.length = 0;
  const clock = { ...SYSTEM_CLOCK, now: () => nowMs, monotonic: () => uptimeMs };
  accounts = new ServiceAccounts({ clock, log });
  registry = new Registry();
  const installation = { release: "live", namespace: "shop" };
  peers = new PeerJudge({ installation, audience: AUDIENCE, accounts, clock, log: told, registry });
  accounts.update(cluster.keys());
});

const tokenOf = (name: string, more: Partial<TokenParts> = {}): Promise<string> =>
  cluster.token({ name, audience: AUDIENCE, ...more });

function judged(token: string | undefined, service: { readonly typeName: string } = RouterService) {
  return peers.judge(`/${service.typeName}/Any`, token === undefined ? undefined : `Bearer ${token}`);
}

async function refusal(token: string | undefined, service?: { readonly typeName: string }): Promise<Refusal> {
  const answer = await judged(token, service);
  if (answer === undefined) throw new Error("it was let in");
  return answer;
}

async function count(outcome: string): Promise<number> {
  const text = await registry.metrics();
  return Number(new RegExp(`earshot_peer_calls_total\\{outcome="${outcome}"\\} (\\d+)`).exec(text)?.[1]);
}

describe("who may call what", () => {
  test.each([
    ["router", { sync: true, routers: true, links: false, presence: false }],
    ["gateway", { sync: true, routers: true, links: true, presence: false }],
    ["operator", { sync: false, routers: false, links: false, presence: false }],
  ])("a %s", async (role, may) => {
    const token = await tokenOf(`live-${role}`);
    const letIn = async (service: { readonly typeName: string }) => (await judged(token, service)) === undefined;
    expect({
      sync: await letIn(ControlPlaneService),
      routers: await letIn(RouterService),
      links: await letIn(LinkService),
      presence: await letIn(PresenceStoreService),
    }).toEqual(may);
  });

  test("one that may not is told who may", async () => {
    expect(await refusal(await tokenOf("live-router"), LinkService)).toEqual({
      status: "PERMISSION_DENIED",
      details: "earshot.internal.v1.LinkService may be called by gateway, not by router",
    });
    expect(await refusal(await tokenOf("live-router"), { typeName: "unheard.of" })).toMatchObject({
      status: "PERMISSION_DENIED",
    });
  });
});

describe("what proves nothing", () => {
  const cases: [string, () => Promise<string | undefined>, string][] = [
    ["no token", async () => undefined, "token of its service account"],
    ["a token of something else", async () => "what.is.this", "not a signed JWT"],
    ["another release's router", () => tokenOf("other-router"), "shop/other-router is none of this installation"],
    [
      "a router of another namespace",
      () => tokenOf("live-router", { namespace: "elsewhere" }),
      "elsewhere/live-router",
    ],
    ["a token for users' doors", () => tokenOf("live-router", { audience: "earshot" }), `aud must name ${AUDIENCE}`],
    ["one that is over", () => tokenOf("live-router", { seconds: -1 }), "expired"],
    ["one of tomorrow", () => tokenOf("live-router", { claims: { nbf: Date.now() / 1000 + 86_400 } }), "nbf"],
    [
      "a subject that is not whom it is bound to",
      () => tokenOf("live-other", { claims: { sub: "system:serviceaccount:shop:live-router" } }),
      "sub must be",
    ],
    [
      "claims without kubernetes.io",
      () => tokenOf("live-router", { claims: { "kubernetes.io": null } }),
      "kubernetes.io",
    ],
    ["another issuer", () => tokenOf("live-router", { claims: { iss: "https://elsewhere" } }), "issuer"],
  ];
  test.each(cases)("%s", async (_what, make, why) => {
    const token = await make();
    const { status, details } = await refusal(token);
    expect(status).toBe("UNAUTHENTICATED");
    expect(details).toMatch(new RegExp(why));
    if (token !== undefined) expect(details).not.toContain(token.slice(0, 12));
    expect(await count("refused")).toBe(1);
  });

  test("a token signed by a stranger, though all else is right", async () => {
    const stranger = await TestCluster.create();
    const forged = await stranger.token({ name: "live-router", audience: AUDIENCE });
    expect((await refusal(forged)).details).toContain("no key");
    accounts.update(stranger.keys());
    expect(await judged(forged)).toBeUndefined();
  });
});

test("refusals are told now and then, with what would be right and nothing of the token", async () => {
  const stranger = await tokenOf("checkout");
  await refusal(stranger);
  await refusal(await tokenOf("live-router"), LinkService);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({ service: RouterService.typeName });
  expect(lines[0]?.reason).toContain("shop/checkout is none of this installation");
  uptimeMs += REFUSAL_TOLD_MS;
  await refusal(await tokenOf("live-router"), LinkService);
  expect(lines[1]?.reason).toContain("by gateway, not by router");
  expect(JSON.stringify(lines)).not.toContain(stranger.slice(0, 20));
});

test("until keys have come callers are told to come again", async () => {
  const unknowing = new ServiceAccounts({ clock: SYSTEM_CLOCK, log });
  const installation = { release: "live", namespace: "shop" };
  const parts = { installation, audience: AUDIENCE, clock: SYSTEM_CLOCK, log, registry: new Registry() };
  const { judge } = new PeerJudge({ ...parts, accounts: unknowing });
  const authorization = `Bearer ${await tokenOf("live-router")}`;
  const path = `/${RouterService.typeName}/Any`;
  expect(await judge(path, authorization)).toMatchObject({ status: "UNAVAILABLE" });
  unknowing.update(cluster.keys());
  expect(await judge(path, authorization)).toBeUndefined();
});

test("a token of a node whose clock is ahead by less than a minute is believed", async () => {
  const inS = (seconds: number): number => Math.floor(nowMs / 1000) + seconds;
  expect(await judged(await tokenOf("live-router", { claims: { nbf: inS(50) } }))).toBeUndefined();
  expect((await refusal(await tokenOf("live-router", { claims: { nbf: inS(70) } }))).details).toContain(
    "more than 60 s",
  );
});

test("what was proven is remembered until it ends", async () => {
  const token = await tokenOf("live-gateway", { seconds: 60 });
  expect([await judged(token), await judged(token), await judged(token, LinkService)]).toEqual(
    Array(3).fill(undefined),
  );
  expect([await count("proven"), await count("remembered")]).toEqual([1, 2]);
  nowMs += 61_000;
  expect((await refusal(token)).details).toContain("expired");
});

test("a key that is gone takes with it what it proved; further keys and broken ones take nothing", async () => {
  const rotating = await TestCluster.create("ES256");
  accounts.update(rotating.keys());
  const old = await rotating.token({ name: "live-router", audience: AUDIENCE });
  expect(await judged(old)).toBeUndefined();
  await rotating.addKey("ES384");
  accounts.update(rotating.keys());
  const next = await rotating.token({ name: "live-router", audience: AUDIENCE });
  expect([await judged(old), await judged(next)]).toEqual([undefined, undefined]);
  accounts.update({ issuer: rotating.issuer, jwks: "{}", public: true });
  expect(await judged(next)).toBeUndefined();
  rotating.dropOldKeys();
  accounts.update(rotating.keys());
  expect(await judged(next)).toBeUndefined();
  expect((await refusal(old)).details).toContain("no key");
});

test("tokens are remembered up to a number, and the first goes then", async () => {
  const quick = await TestCluster.create("ES256");
  accounts.update(quick.keys());
  const tokens = await Promise.all(
    Array.from({ length: PEER_TOKENS_MAX + 1 }, (_, index) =>
      quick.token({ name: "live-router", audience: AUDIENCE, claims: { jti: `${index}` } }),
    ),
  );
  for (const token of tokens) expect(await judged(token)).toBeUndefined();
  expect(await registry.metrics()).toContain(`earshot_peer_tokens ${PEER_TOKENS_MAX}\n`);
  await judged(tokens.at(-1));
  expect(await count("remembered")).toBe(1);
  await judged(tokens[0]);
  expect(await count("proven")).toBe(PEER_TOKENS_MAX + 2);
}, 60_000);
