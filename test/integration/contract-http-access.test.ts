// Who may what over HTTP, row by row, through real processes: owners, groups, channel users, capabilities and their `*`,
// issuers and their namespaces, bad tokens; and where the installation allows less: no anonymous access, quotas, rates.
// The four permissions at every door are in edge-doors.test.ts.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { type Answer, call } from "../harness/http.ts";
import { SseClient } from "../harness/sse.ts";
import { signToken, type TokenClaims } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, WebSocketClient } from "../harness/websocket.ts";

function manifest(namespace: string, name: string, spec: string): string {
  return `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: ${namespace}, name: ${name}}
spec: {${spec}}
`;
}

const STAFF = "publishers: [{kind: Group, name: staff}], subscribers: [{kind: User, name: sue}]";
const MANIFESTS = [
  manifest("shop", "public", "permissions: Public, presence: Members, channels: Dynamic"),
  manifest("shop", "private", `permissions: Private, owner: olga, presence: Members, channels: Dynamic, ${STAFF}`),
  manifest("shop", "wall", `permissions: PublishOnly, owner: olga, presence: Members, channels: Dynamic, ${STAFF}`),
  manifest("shop", "news", `permissions: SubscribeOnly, owner: olga, channels: Dynamic, ${STAFF}`),
  manifest(
    "shop",
    "inbox",
    "permissions: Private, channels: Dynamic, subscribers: [{kind: ChannelUser}], publishers: [{kind: ChannelUser}]",
  ),
  manifest("bank", "public", "permissions: Public"),
  manifest("bank", "private", "permissions: Private, subscribers: [{kind: User, name: sue}]"),
].join("---");

const PARTNER_SECRET = "a partner's secret, longer than 32 bytes";

function partner(claims: TokenClaims): string {
  return signToken({ iss: "https://partner.example", aud: "partner", ...claims }, PARTNER_SECRET);
}

function verdict({ status, json }: Answer): string {
  return typeof json["code"] === "string" ? `${status} ${json["code"]}` : String(status);
}

function granting(token: string | undefined): { token: string } | undefined {
  return token === undefined ? undefined : { token };
}

/** The statuses of publishing, subscribing (over SSE), seeing and managing (its way). */
async function rights(base: string, topicId: string, token: string | undefined): Promise<string> {
  const path = `/api/v1/topics/${topicId}`;
  const spoken = await call(base, "POST", `${path}/publish`, { ...granting(token), body: { payload: 1 } });
  const stream = await SseClient.open(base, `${path}/subscribe`, token);
  const heard = stream.response.status;
  if (heard === 200) await stream.frames.next({ type: "subscribed", topic_id: topicId });
  await stream.close();
  const seen = await call(base, "GET", path, { ...granting(token) });
  const way = await call(base, "GET", `${path}/route`, { ...granting(token) });
  return [spoken.status, heard, seen.status, way.status].join(" ");
}

describe("an installation that allows anonymous access", () => {
  let fleet: TestFleet;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "earshot-issuer-"));
    writeFileSync(join(folder, "secret"), PARTNER_SECRET, { mode: 0o600 });
    const issuer = {
      issuer: "https://partner.example",
      secretFile: join(folder, "secret"),
      audiences: ["partner"],
      namespaces: ["shop"],
    };
    fleet = await startFleet({
      topics: [MANIFESTS],
      env: { EARSHOT_ISSUERS: JSON.stringify([issuer]), EARSHOT_SHUT_OUT: "mallory" },
    });
  });
  afterAll(async () => {
    await fleet?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const can = (capabilities: object): string => signToken({ sub: "cap", earshot: capabilities });
  const WHO: Readonly<Record<string, string | undefined>> = {
    nobody: undefined,
    eve: signToken({ sub: "eve" }),
    olga: signToken({ sub: "olga" }),
    staff: signToken({ sub: "sid", groups: ["other", "staff"] }),
    sue: signToken({ sub: "sue" }),
    publisher: can({ publish: ["shop.private"] }),
    publisherOfAll: can({ publish: ["*"] }),
    subscriberOfShop: can({ subscribe: ["shop.*"] }),
    subscriberOfRooms: can({ subscribe: ["shop.private:*"] }),
    manager: can({ manage: ["shop.private*"] }),
    managerOfBank: can({ manage: ["bank.*"] }),
    partnerSue: partner({ sub: "sue" }),
    partnerRoot: partner({ sub: "root", earshot: { publish: ["*"], subscribe: ["*"], manage: ["*"] } }),
  };

  // publish, subscribe, see, manage
  test.each([
    ["nobody", "shop.public", "200 200 200 401"],
    ["eve", "shop.public", "200 200 200 403"],
    ["nobody", "shop.private", "404 404 404 404"],
    ["eve", "shop.private", "404 404 404 404"],
    ["olga", "shop.private", "200 200 200 200"],
    ["olga", "shop.private:room", "200 200 200 200"],
    ["staff", "shop.private", "200 403 200 403"],
    ["sue", "shop.private", "403 200 200 403"],
    ["sue", "shop.private:room", "403 200 200 403"],
    ["publisher", "shop.private", "200 403 200 403"],
    ["publisher", "shop.private:room", "404 404 404 404"],
    ["publisherOfAll", "shop.private:room", "200 403 200 403"],
    ["publisherOfAll", "bank.private", "200 403 200 403"],
    ["subscriberOfShop", "shop.private", "403 200 200 403"],
    ["subscriberOfShop", "bank.private", "404 404 404 404"],
    ["subscriberOfRooms", "shop.private:room", "403 200 200 403"],
    ["subscriberOfRooms", "shop.private", "404 404 404 404"],
    ["manager", "shop.private", "403 403 200 200"],
    ["manager", "shop.private:room", "403 403 200 200"],
    ["managerOfBank", "shop.private", "404 404 404 404"],
    ["nobody", "shop.wall", "200 401 200 401"],
    ["eve", "shop.wall", "200 403 200 403"],
    ["sue", "shop.wall", "200 200 200 403"],
    ["olga", "shop.wall", "200 200 200 200"],
    ["nobody", "shop.news", "401 200 200 401"],
    ["eve", "shop.news", "403 200 200 403"],
    ["staff", "shop.news", "200 200 200 403"],
    ["olga", "shop.inbox:olga", "200 200 200 403"],
    ["olga", "shop.inbox:sue", "404 404 404 404"],
    ["olga", "shop.inbox", "404 404 404 404"],
    ["nobody", "shop.inbox:olga", "404 404 404 404"],
    ["partnerSue", "shop.private", "403 200 200 403"],
    ["partnerSue", "bank.public", "404 404 404 404"],
    ["partnerSue", "bank.private", "404 404 404 404"],
    ["partnerRoot", "shop.private", "200 200 200 200"],
    ["partnerRoot", "bank.private", "404 404 404 404"],
    ["nobody", "bank.public:channel", "404 404 404 404"],
    ["nobody", "no.where", "404 404 404 404"],
  ])("%s at %s: %s", async (who, topicId, expected) => {
    expect(await rights(fleet.http("gateway-1"), topicId, WHO[who])).toBe(expected);
  });

  test("members are seen by who may subscribe or manage, not by who may only publish", async () => {
    const members = async (topicId: string, who: string): Promise<string> =>
      verdict(await call(fleet.http(), "GET", `/api/v1/topics/${topicId}/subscribers`, { ...granting(WHO[who]) }));
    expect(await members("shop.public", "nobody")).toBe("200");
    expect(await members("shop.wall", "nobody")).toBe("401 unauthenticated");
    expect(await members("shop.wall", "eve")).toBe("403 forbidden");
    expect(await members("shop.wall", "sue")).toBe("200");
    expect(await members("shop.private", "eve")).toBe("404 topic_not_found");
    expect(await members("shop.private", "staff")).toBe("403 forbidden");
    expect(await members("shop.private", "manager")).toBe("200");
    expect(await members("shop.news", "eve")).toBe("409 presence_not_kept");
    expect(await members("bank.private", "eve")).toBe("404 topic_not_found");
  });

  test("an issuer's token makes no Topic outside its namespaces", async () => {
    const body = { name: "partners", permissions: "PUBLIC" };
    const answer = await call(fleet.http(), "POST", "/api/v1/topics", { token: WHO["partnerRoot"] ?? "", body });
    expect(verdict(answer)).toBe("403 forbidden");
    const { json } = await call(fleet.http(), "GET", "/api/v1/topics", { token: WHO["partnerRoot"] ?? "" });
    const ids = (json["topics"] as { topic_id: string }[]).map((topic) => topic.topic_id);
    expect(ids.every((id) => id.startsWith("shop."))).toBe(true);
    expect(ids).toContain("shop.private");
  });

  test.each([
    ["expired", signToken({ sub: "a", exp: 1 }), "401 token_expired"],
    ["of another audience", signToken({ sub: "a", aud: "other" }), "401 unauthenticated"],
    ["without an audience", signToken({ sub: "a", aud: undefined }), "401 unauthenticated"],
    ["not yet good", signToken({ sub: "a", nbf: 4_000_000_000 }), "401 unauthenticated"],
    ["without a user", signToken({}), "401 unauthenticated"],
    ["of a system user", signToken({ sub: "system:serviceaccount:shop:checkout" }), "401 unauthenticated"],
    ["of a system group", signToken({ sub: "a", groups: ["system:masters"] }), "401 unauthenticated"],
    ["of an anonymous user", signToken({ sub: "anonymous:x" }), "401 unauthenticated"],
    ["of an issuer unknown here", signToken({ sub: "a", iss: "https://evil.example" }), "401 unauthenticated"],
    [
      "of the partner, with the partner's audience missing",
      partner({ sub: "a", aud: "earshot" }),
      "401 unauthenticated",
    ],
    [
      "of the partner, signed with our key",
      signToken({ sub: "a", iss: "https://partner.example" }),
      "401 unauthenticated",
    ],
    ["of the partner, for a system user", partner({ sub: "system:admin" }), "401 unauthenticated"],
    ["signed by nobody", signToken({ sub: "a" }, undefined, { alg: "none" }), "401 unauthenticated"],
    ["with a star in the middle", signToken({ sub: "a", earshot: { publish: ["shop.*.x"] } }), "401 unauthenticated"],
  ])("a token %s is refused on a Topic that anyone may use", async (_what, token, expected) => {
    const options = { token, body: { payload: 1 } };
    expect(verdict(await call(fleet.http(), "POST", "/api/v1/topics/shop.public/publish", options))).toBe(expected);
    const query = `/api/v1/topics/shop.public/publish?token=${token}`;
    expect(verdict(await call(fleet.http("gateway-1"), "POST", query, { body: { payload: 1 } }))).toBe(expected);
    const stream = await SseClient.open(fleet.http(), "/api/v1/topics/shop.public/subscribe", token);
    expect(stream.response.status).toBe(401);
    await stream.close();
  });

  test("a user who is shut out is told so at every door, and not to come back", async () => {
    const token = signToken({ sub: "mallory" });
    const spoken = await call(fleet.http(), "POST", "/api/v1/topics/shop.public/publish", {
      token,
      body: { payload: 1 },
    });
    expect(verdict(spoken)).toBe("403 forbidden");
    const stream = await SseClient.open(fleet.http(), "/api/v1/topics/shop.public/subscribe", token);
    expect(stream.response.status).toBe(403);
    await stream.close();
    const client = new WebSocketClient(fleet.ws(), { topics: ["shop.public"], token });
    expect(await client.closed).toMatchObject({ code: 4403 });
    expect(client.frames.all).toMatchObject([{ type: "error", code: "forbidden", retryable: false }]);
  });

  test("who manages a topic ends another user's subscriptions, wherever they are", async () => {
    const topicId = "shop.private:removes";
    const path = `/api/v1/topics/${topicId}/subscribe?user_id=sue`;
    const sues = await Promise.all(
      (["gateway-0", "gateway-1"] as const).map((gateway) =>
        openWebSocket(fleet.ws(gateway), { topics: [topicId], token: WHO["sue"] ?? "" }),
      ),
    );
    expect(verdict(await call(fleet.http(), "DELETE", path, { ...granting(WHO["sue"]) }))).toBe("403 forbidden");
    expect(verdict(await call(fleet.http(), "DELETE", path))).toBe("404 topic_not_found");
    const removed = await call(fleet.http(), "DELETE", path, { ...granting(WHO["manager"]) });
    expect([removed.status, removed.json]).toEqual([200, { success: true }]);
    for (const sue of sues) {
      await sue.frames.next({ type: "unsubscribed", topic_id: topicId, reason: "removed" });
      await sue.close();
    }
  });

  test("a caller ends only its own subscriptions, of one connection where it says which", async () => {
    const topicId = "shop.public:ends";
    const path = `/api/v1/topics/${topicId}/subscribe`;
    const [one, two] = [
      await openWebSocket(fleet.ws("gateway-0"), { topics: [topicId], token: WHO["sue"] ?? "" }),
      await openWebSocket(fleet.ws("gateway-1"), { topics: [topicId], token: WHO["sue"] ?? "" }),
    ];
    const anonymous = await openWebSocket(fleet.ws("gateway-0"), { topics: [topicId] });
    const idOf = (client: typeof one): string => client.frames.all[0]?.["connection_id"] as string;
    const end = async (query: string, who: string): Promise<unknown> =>
      (await call(fleet.http(), "DELETE", `${path}${query}`, { ...granting(WHO[who]) })).json["success"];
    expect(await end(`?connection_id=${idOf(two)}`, "eve")).toBe(false);
    expect(await end("", "eve")).toBe(false);
    expect(await end(`?connection_id=${idOf(anonymous)}`, "sue")).toBe(false);
    expect(await end(`?connection_id=${idOf(two)}`, "sue")).toBe(true);
    await two.frames.next({ type: "unsubscribed", topic_id: topicId, reason: "requested" });
    expect(await end(`?connection_id=${idOf(two)}`, "sue")).toBe(false);
    expect(one.frames.of("unsubscribed")).toEqual([]);
    const key = anonymous.frames.all[0]?.["connection_key"] as string;
    expect(await end(`?connection_key=${key}x`, "nobody")).toBe(false);
    expect(await end(`?connection_key=${key}`, "nobody")).toBe(true);
    await anonymous.frames.next({ type: "unsubscribed", topic_id: topicId, reason: "requested" });
    expect(await end("", "sue")).toBe(true);
    await one.frames.next({ type: "unsubscribed", topic_id: topicId, reason: "requested" });
    const nobody = await call(fleet.http(), "DELETE", path);
    expect(verdict(nobody)).toBe("401 unauthenticated");
    expect(verdict(await call(fleet.http(), "DELETE", "/api/v1/topics/shop.private/subscribe"))).toBe(
      "404 topic_not_found",
    );
    for (const client of [one, two, anonymous]) {
      expect(client.frames.of("unsubscribed")).toHaveLength(1);
      await client.close();
    }
  });
});

describe("an installation without anonymous access, that makes Topics for managers only", () => {
  let fleet: TestFleet;

  beforeAll(async () => {
    fleet = await startFleet({
      topics: [MANIFESTS],
      routers: 1,
      gateways: 1,
      presence: false,
      env: {
        EARSHOT_ANONYMOUS: "false",
        EARSHOT_HTTP_TOPICS_NAMESPACE: "teams",
        EARSHOT_HTTP_TOPICS_CREATE: "Manage",
        EARSHOT_HTTP_TOPICS_MAX: "2",
        EARSHOT_REQUESTS_PER_SECOND_PER_PRINCIPAL: "20",
      },
    });
  });
  afterAll(() => fleet?.close());

  const ask = (method: string, path: string, token?: string, body?: unknown): Promise<Answer> =>
    call(fleet.http(), method, path, { ...granting(token), ...(body === undefined ? {} : { body }) });

  test("nobody anonymous gets anywhere, and anyone is anyone with a token", async () => {
    expect(await rights(fleet.http(), "shop.public", undefined)).toBe("404 401 404 404");
    expect(await rights(fleet.http(), "shop.public", signToken({ sub: "any" }))).toBe("200 200 200 403");
    expect((await ask("GET", "/api/v1/topics")).json).toEqual({ topics: [], next_cursor: null });
    expect(verdict(await ask("POST", "/api/v1/topics", undefined, { name: "a", permissions: "PUBLIC" }))).toBe(
      "401 unauthenticated",
    );
    expect(verdict(await ask("GET", "/api/v1/status"))).toBe("401 unauthenticated");
    expect((await ask("GET", "/api/v1/openapi.json")).status).toBe(200);
  });

  test("a Topic is made where a manage capability covers its id, up to the quota", async () => {
    const manager = signToken({ sub: "mia", earshot: { manage: ["teams.red*"] } });
    const make = (name: string, token: string, more: object = {}): Promise<Answer> =>
      ask("POST", "/api/v1/topics", token, { name, permissions: "PRIVATE", ...more });
    expect(verdict(await make("red", signToken({ sub: "eve" })))).toBe("403 forbidden");
    expect(verdict(await make("blue", manager))).toBe("403 forbidden");
    expect(verdict(await make("red", manager, { namespace: "default" }))).toBe("422 namespace_not_served");
    expect((await make("red", manager, { namespace: "teams" })).json).toMatchObject({
      topic_id: "teams.red",
      owner_id: "mia",
    });
    expect(verdict(await make("red-2", manager))).toBe("201");
    const over = await make("red-3", manager);
    expect(over.json).toMatchObject({ status: 403, code: "quota_exceeded", retryable: false });
    expect((await ask("DELETE", "/api/v1/topics/teams.red-2", manager)).status).toBe(204);
    await until(async () => verdict(await make("red-3", manager)) === "201", "there is room again");
  });

  test("a principal has its own rate of calls, safe to repeat, which is nobody else's", async () => {
    const busy = signToken({ sub: "busy" });
    const path = "/api/v1/topics/shop.public";
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask("GET", path, busy)));
    const refused = answers.filter(({ status }) => status === 429);
    const served = answers.length - refused.length;
    // 20 a second, 40 at once; the calls may take a second or two on a busy machine.
    expect(served).toBeGreaterThanOrEqual(40);
    expect(served).toBeLessThan(100);
    expect(refused[0]?.json).toMatchObject({ code: "rate_limited", retryable: true });
    expect(refused[0]?.headers.get("retry-after")).toBe("1");
    expect((await ask("GET", path, signToken({ sub: "calm" }))).status).toBe(200);
    await until(async () => (await ask("GET", path, busy)).status === 200, "its bucket fills again");
  });
});

describe("an installation that limits addresses, and makes Topics for who has a token", () => {
  let fleet: TestFleet;

  beforeAll(async () => {
    fleet = await startFleet({
      routers: 1,
      gateways: 1,
      presence: false,
      env: {
        EARSHOT_HTTP_TOPICS_CREATE: "Authenticated",
        EARSHOT_REQUESTS_PER_SECOND_PER_ADDRESS: "20",
        EARSHOT_TRUSTED_PROXIES: "127.0.0.1",
      },
    });
  });
  afterAll(() => fleet?.close());

  test("an address has its own rate of calls, whoever calls from it, as trusted proxies name it", async () => {
    const from = (address: string): Promise<Answer> =>
      call(fleet.http(), "GET", "/api/v1/topics", { headers: { "x-forwarded-for": address } });
    const answers = await Promise.all(Array.from({ length: 100 }, () => from("198.51.100.1")));
    const served = answers.filter(({ status }) => status === 200).length;
    expect(served).toBeGreaterThanOrEqual(40);
    expect(served).toBeLessThan(100);
    expect((await from("198.51.100.2")).status).toBe(200);
  });

  test("a Topic is made by whoever has a token, and by nobody else", async () => {
    const body = { name: "tokens-only", permissions: "PUBLIC" };
    const make = (token: string | undefined): Promise<Answer> =>
      call(fleet.http(), "POST", "/api/v1/topics", { ...granting(token), body });
    expect(verdict(await make(undefined))).toBe("401 unauthenticated");
    expect((await make(signToken({ sub: "eve" }))).json).toMatchObject({ owner_id: "eve" });
  });
});
