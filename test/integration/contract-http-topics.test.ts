// The topic calls of HTTP, row by row, through real processes: fields, owners, merges, manifests, pages, paths, methods.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { type Answer, call, type CallOptions } from "../harness/http.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

const MANIFESTS = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: orders}
spec: {permissions: Private, owner: alice, subscribers: [{kind: User, name: bob}]}
---
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: demo}
spec: {permissions: Public, channels: Dynamic}
`;

let fleet: TestFleet;
const alice = signToken({ sub: "alice" });
const bob = signToken({ sub: "bob" });
const root = signToken({ sub: "root", earshot: { manage: ["*"] } });
const shopManager = signToken({ sub: "carol", earshot: { manage: ["shop.*"] } });

beforeAll(async () => {
  fleet = await startFleet({ topics: [MANIFESTS] });
});
afterAll(() => fleet?.close());

function ask(method: string, path: string, options: CallOptions & { at?: number } = {}): Promise<Answer> {
  return call(fleet.http(`gateway-${options.at ?? 0}`), method, path, options);
}

async function make(name: string, token?: string, body: object = {}): Promise<Answer> {
  const who = token === undefined ? {} : { token };
  const made = await ask("POST", "/api/v1/topics", { ...who, body: { name, permissions: "PUBLIC", ...body } });
  expect(made.status, made.text).toBe(201);
  // On a machine that is busy with other things `ready` may be false.
  const path = `/api/v1/topics/default.${name}`;
  if (made.json["ready"] !== true) {
    for (const at of [0, 1]) await until(async () => (await ask("GET", path, { at, ...who })).status === 200, name);
  }
  return made;
}

/** `status code` of an answer; the code of a success is empty. */
function verdict({ status, json }: Answer): string {
  return `${status} ${typeof json["code"] === "string" ? json["code"] : ""}`.trim();
}

describe("making", () => {
  test("an answer has exactly its fields, and every gateway has the Topic by then", async () => {
    const made = await make("made.of.dots", alice, { channels: "Dynamic", presence: "Members", publishers: [] });
    expect(Object.keys(made.json)).toEqual(["topic_id", "name", "permissions", "owner_id", "created_at", "ready"]);
    expect(made.json).toMatchObject({ topic_id: "default.made.of.dots", name: "made.of.dots", owner_id: "alice" });
    expect(made.json["created_at"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(typeof made.json["ready"]).toBe("boolean");
    expect(made.headers.get("location")).toBe("/api/v1/topics/default.made.of.dots");
    for (const at of [0, 1]) {
      const seen = await ask("GET", "/api/v1/topics/default.made.of.dots:room", { at });
      expect(Object.keys(seen.json).sort()).toEqual(
        ["topic_id", "name", "owner_id", "created_at", "subscriber_count", "permissions"].sort(),
      );
      expect(seen.json).toMatchObject({ topic_id: "default.made.of.dots:room", subscriber_count: 0 });
      expect(seen.json["created_at"]).toBe(made.json["created_at"]);
    }
  });

  test("50 Topics made at both gateways at once are usable at the other one, at once where the answer says ready", async () => {
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const at = index % 2;
        const name = `many-${index}`;
        const made = await ask("POST", "/api/v1/topics", { at, body: { name, permissions: "PUBLIC" } });
        const speak = async (): Promise<number> =>
          (await ask("POST", `/api/v1/topics/default.${name}/publish`, { at: 1 - at, body: { payload: 1 } })).status;
        expect(made.json["topic_id"]).toBe(`default.${name}`);
        if (made.json["ready"] === true) expect(await speak(), name).toBe(200);
        else await until(async () => (await speak()) === 200, `${name} is usable`);
      }),
    );
  });

  test("of many who make the same one at once, one succeeds and the others are told", async () => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        ask("POST", "/api/v1/topics", { at: index % 2, body: { name: "contested", permissions: "PUBLIC" } }),
      ),
    );
    expect(answers.map(verdict).sort()).toEqual(["201", ...Array.from({ length: 9 }, () => "409 topic_exists")]);
    expect(verdict(await ask("POST", "/api/v1/topics", { body: { name: "demo", permissions: "PUBLIC" } }))).toBe(
      "409 topic_exists",
    );
  });

  test("a name is what Kubernetes takes, 189 characters long at most", async () => {
    const longest = "n".repeat(189);
    expect((await make(longest)).json["topic_id"]).toBe(`default.${longest}`);
    const channel = await ask("POST", `/api/v1/topics/default.${longest}/publish`, { body: { payload: 1 } });
    expect(channel.status).toBe(200);
    for (const name of [
      "n".repeat(190),
      "",
      "Upper",
      "a_b",
      "-a",
      "a-",
      "a..b",
      ".a",
      "a.",
      "a:b",
      "a/b",
      "ä",
      "a b",
    ]) {
      const answer = await ask("POST", "/api/v1/topics", { body: { name, permissions: "PUBLIC" } });
      expect([verdict(answer), answer.json["field"]], name).toEqual(["422 topic_name_invalid", "name"]);
    }
  });

  test.each([
    [{ namespace: "shop" }, "422 namespace_not_served", "namespace"],
    [{ namespace: "Shop" }, "422 topic_name_invalid", "namespace"],
    [{ permissions: "Public" }, "422 invalid_request", "permissions"],
    [{ permissions: null }, "422 invalid_request", "permissions"],
    [{ channels: "dynamic" }, "422 invalid_request", "channels"],
    [{ presence: "MEMBERS" }, "422 invalid_request", "presence"],
    [{ owner: "eve" }, "422 invalid_request", "owner"],
    [{ delivery: {} }, "422 invalid_request", "delivery"],
    [{ publishers: [{ kind: "User", name: "x".repeat(257) }] }, "422 invalid_request", "publishers[0].name"],
    [
      { subscribers: [{ kind: "ServiceAccount", namespace: "A_B", name: "x" }] },
      "422 invalid_request",
      "subscribers[0].namespace",
    ],
  ])("a Topic with %o is refused as %s for its %s", async (body, expected, field) => {
    const answer = await ask("POST", "/api/v1/topics", { body: { name: "refused", permissions: "PUBLIC", ...body } });
    expect([verdict(answer), answer.json["field"]]).toEqual([expected, field]);
    expect((await ask("GET", "/api/v1/topics/default.refused")).status).toBe(404);
  });
});

describe("changing", () => {
  test("a merge patch changes what it names; null brings the default back; arrays are replaced whole", async () => {
    const people = (...names: string[]) => names.map((name) => ({ kind: "User", name }));
    await make("patched", alice, { permissions: "PRIVATE", publishers: people("bob"), subscribers: people("bob") });
    const path = "/api/v1/topics/default.patched";
    const expectMay = (token: string, expected: string): Promise<unknown> =>
      until(
        async () => verdict(await ask("POST", `${path}/publish`, { at: 1, token, body: { payload: 1 } })) === expected,
        expected,
        1_000,
      );
    const dave = signToken({ sub: "dave" });
    await expectMay(bob, "200");
    await expectMay(dave, "404 topic_not_found");
    const patch = (body: unknown): Promise<Answer> => ask("PATCH", path, { token: alice, body });
    expect((await patch({ publishers: people("dave") })).json).toMatchObject({ permissions: "PRIVATE" });
    await expectMay(bob, "403 forbidden");
    await expectMay(dave, "200");
    await patch({ publishers: null, permissions: "PUBLISH_ONLY" });
    await expectMay(dave, "200");
    expect((await patch({ permissions: null })).json["permissions"]).toBe("PRIVATE");
    await expectMay(dave, "404 topic_not_found");
    expect((await patch({})).json["permissions"]).toBe("PRIVATE");
    for (const [body, field] of [
      [{ name: "x" }, "name"],
      [{ namespace: "x" }, "namespace"],
      [{ owner: "bob" }, "owner"],
      [{ permissions: "public" }, "permissions"],
      [{ channels: 1 }, "channels"],
      [{ publishers: [null] }, "publishers[0]"],
    ] as const) {
      const answer = await patch(body);
      expect([verdict(answer), answer.json["field"]]).toEqual(["422 invalid_request", field]);
    }
    expect(verdict(await patch([]))).toBe("400 invalid_json");
    const merge = { "content-type": "application/merge-patch+json" };
    expect((await ask("PATCH", path, { token: alice, headers: merge, body: '{"presence":"None"}' })).status).toBe(200);
  });

  test("changes of different fields at once, at both gateways, are all kept", async () => {
    await make("raced", alice, { permissions: "PRIVATE" });
    const path = "/api/v1/topics/default.raced";
    const changes = [
      { permissions: "SUBSCRIBE_ONLY" },
      { channels: "Dynamic" },
      { presence: "Members" },
      { publishers: [{ kind: "User", name: "bob" }] },
    ];
    const answers = await Promise.all(
      changes.map((body, index) => ask("PATCH", path, { at: index % 2, token: alice, body })),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    // Each of the four shows: anyone subscribes, a channel is there, bob publishes, members are kept.
    await until(async () => (await ask("GET", path)).json["permissions"] === "SUBSCRIBE_ONLY", "anyone subscribes");
    await until(
      async () => (await ask("GET", `${path}:room/subscribers`)).status === 200,
      "a channel is there and keeps members",
    );
    await until(
      async () => (await ask("POST", `${path}:room/publish`, { token: bob, body: { payload: 1 } })).status === 200,
      "bob publishes",
    );
  });

  test("owner and manager may, others may not; an ownerless one is anyone's", async () => {
    await make("owned", alice, { permissions: "SUBSCRIBE_ONLY" });
    await make("hidden", alice, { permissions: "PRIVATE" });
    await make("free");
    const patch = (name: string, token?: string): Promise<Answer> =>
      ask("PATCH", `/api/v1/topics/default.${name}`, { ...(token === undefined ? {} : { token }), body: {} });
    const rows = [
      ["owned", undefined, "401 unauthenticated"],
      ["owned", bob, "403 forbidden"],
      ["owned", shopManager, "403 forbidden"],
      ["owned", alice, "200"],
      ["owned", root, "200"],
      ["hidden", undefined, "404 topic_not_found"],
      ["hidden", bob, "404 topic_not_found"],
      ["hidden", alice, "200"],
      ["hidden", root, "200"],
      ["free", undefined, "200"],
      ["free", bob, "200"],
    ] as const;
    for (const [name, token, expected] of rows) expect(verdict(await patch(name, token)), name).toBe(expected);
    for (const [name, token, expected] of rows) {
      const route = await ask("GET", `/api/v1/topics/default.${name}/route`, token === undefined ? {} : { token });
      expect(verdict(route), `route of ${name}`).toBe(expected);
    }
    const end = (name: string, token?: string): Promise<Answer> =>
      ask("DELETE", `/api/v1/topics/default.${name}`, token === undefined ? {} : { token });
    expect(verdict(await end("owned", bob))).toBe("403 forbidden");
    expect(verdict(await end("owned"))).toBe("401 unauthenticated");
    expect(verdict(await end("hidden", bob))).toBe("404 topic_not_found");
    const gone = await end("owned", alice);
    expect([gone.status, gone.text, gone.headers.get("content-type")]).toEqual([204, "", null]);
    expect(verdict(await end("owned", alice))).toBe("404 topic_not_found");
    expect((await end("free")).status).toBe(204);
    // The name is free again, for another owner.
    expect((await make("owned", bob)).json["owner_id"]).toBe("bob");
  });

  test("a Topic that is a manifest is changed where its manifest is, and says so to who manages it", async () => {
    const path = "/api/v1/topics/shop.orders";
    for (const token of [alice, shopManager]) {
      for (const method of ["PATCH", "DELETE"] as const) {
        const answer = await ask(method, path, { token, ...(method === "PATCH" ? { body: {} } : {}) });
        expect(verdict(answer)).toBe("403 forbidden");
        expect(answer.json["detail"]).toContain("manifest");
      }
    }
    expect(verdict(await ask("PATCH", path, { token: bob, body: {} }))).toBe("403 forbidden");
    expect(verdict(await ask("PATCH", path, { body: {} }))).toBe("404 topic_not_found");
    expect(verdict(await ask("PATCH", "/api/v1/topics/default.demo", { body: {} }))).toBe("401 unauthenticated");
    expect((await ask("GET", path, { token: alice })).json["owner_id"]).toBe("alice");
  });

  test("a channel has nothing of its own to change", async () => {
    await make("roomy", alice, { channels: "Dynamic" });
    for (const method of ["PATCH", "DELETE"] as const) {
      const answer = await ask(method, "/api/v1/topics/default.roomy:1", { token: alice, body: {} });
      expect([verdict(answer), answer.json["field"]]).toEqual(["422 topic_id_invalid", "topic_id"]);
    }
    expect((await ask("GET", "/api/v1/topics/default.roomy", { token: alice })).status).toBe(200);
  });
});

describe("listing", () => {
  test("pages hold every Topic once, in order, whatever comes and goes between them", async () => {
    const names = Array.from({ length: 30 }, (_, index) => `page-${String(index).padStart(2, "0")}`);
    await Promise.all(names.map((name) => make(name, alice, { permissions: "PRIVATE" })));
    const seen: string[] = [];
    let cursor = "";
    for (let page = 0; ; page++) {
      // Every page at another gateway: a cursor is no one's memory.
      const answer = await ask("GET", `/api/v1/topics?limit=7${cursor}`, { at: page % 2, token: alice });
      expect(answer.status, answer.text).toBe(200);
      const topics = answer.json["topics"] as { topic_id: string }[];
      expect(topics.length).toBeLessThanOrEqual(7);
      seen.push(...topics.map((topic) => topic.topic_id));
      const next = answer.json["next_cursor"] as string | null;
      if (next === null) break;
      cursor = `&cursor=${next}`;
      await make(`page-00-${page}`, alice, { permissions: "PRIVATE" });
      const last = topics.at(-1)?.topic_id;
      if (last?.startsWith("default.page-") === true) await ask("DELETE", `/api/v1/topics/${last}`, { token: alice });
    }
    expect(seen).toEqual([...new Set(seen)].sort());
    for (const name of names) expect(seen).toContain(`default.${name}`);
  });

  test("a list holds what its caller may see, and nothing else", async () => {
    await make("secret", alice, { permissions: "PRIVATE" });
    const ids = async (token?: string): Promise<string[]> => {
      const { json } = await ask("GET", "/api/v1/topics?limit=1000", token === undefined ? {} : { token });
      return (json["topics"] as { topic_id: string }[]).map((topic) => topic.topic_id);
    };
    expect(await ids()).not.toContain("default.secret");
    expect(await ids()).not.toContain("shop.orders");
    expect(await ids(bob)).toContain("shop.orders");
    expect(await ids(bob)).not.toContain("default.secret");
    expect(await ids(alice)).toEqual(expect.arrayContaining(["default.secret", "shop.orders", "default.demo"]));
    expect(await ids(root)).toEqual(expect.arrayContaining(["default.secret", "shop.orders"]));
  });

  test.each([
    "0",
    "-1",
    "1.5",
    "1001",
    "ten",
    "1e2",
    "99999999999999999999",
  ])("a limit of %s is refused", async (limit) => {
    const answer = await ask("GET", `/api/v1/topics?limit=${limit}`);
    expect([verdict(answer), answer.json["field"]]).toEqual(["422 invalid_request", "limit"]);
  });

  test.each([
    "x",
    "%00",
    "e30",
    "MTo=",
    "../..",
    "'",
  ])("a cursor %j that was never given out is no error of ours", async (cursor) => {
    const answer = await ask("GET", `/api/v1/topics?cursor=${encodeURIComponent(cursor)}`);
    expect([200, 422]).toContain(answer.status);
    if (answer.status === 422) expect(answer.json["field"]).toBe("cursor");
  });
});

describe("paths and methods", () => {
  test.each([
    ["GET", "/api/v1/topics/default.demo/", "404 invalid_request"],
    ["GET", "//api/v1/topics", "404 invalid_request"],
    ["GET", "/api/v1/topics/default.demo//subscribers", "404 invalid_request"],
    ["GET", "/api/v1", "404 invalid_request"],
    ["GET", "/API/v1/topics", "404 invalid_request"],
    ["GET", "/api/v2/topics", "404 invalid_request"],
    ["POST", "/api/v1/topics/default.demo", "405 invalid_request"],
    ["PUT", "/api/v1/topics/default.demo", "405 invalid_request"],
    ["GET", "/api/v1/topics/default.demo/publish", "405 invalid_request"],
    ["GET", "/api/v1/publish", "405 invalid_request"],
    ["POST", "/api/v1/topics/default.demo/subscribe", "405 invalid_request"],
    ["DELETE", "/api/v1/topics", "405 invalid_request"],
    ["GET", "/ws/subscribe", "426 invalid_request"],
    ["GET", "/api/v1/topics/nodot", "422 topic_id_invalid"],
    ["GET", `/api/v1/topics/${"n".repeat(63)}.${"a".repeat(189)}`, "404 topic_not_found"],
    ["GET", `/api/v1/topics/${"n".repeat(63)}.${"a".repeat(190)}`, "422 topic_id_invalid"],
    ["GET", `/api/v1/topics/${"n".repeat(64)}.a`, "422 topic_id_invalid"],
    ["GET", `/api/v1/topics/default.demo:${"c".repeat(128)}`, "200"],
    ["GET", `/api/v1/topics/default.demo:${"c".repeat(129)}`, "422 topic_id_invalid"],
    ["GET", "/api/v1/topics/default.demo:", "422 topic_id_invalid"],
    ["GET", "/api/v1/topics/default.demo:A-z_0.9~:x", "200"],
    ["GET", "/api/v1/topics/default.demo%3Ax", "200"],
    ["GET", "/api/v1/topics/default.demo:a%2Fb", "422 topic_id_invalid"],
    ["GET", "/api/v1/topics/default.demo:%20", "422 topic_id_invalid"],
  ])("%s %s answers %s", async (method, path, expected) => {
    const answer = await ask(method, path);
    expect(verdict(answer)).toBe(expected);
    if (answer.status !== 200) expect(answer.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    if (answer.status === 405) expect(answer.headers.get("allow")).not.toBe("");
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
  });

  test("HEAD answers as GET does, without a body, and not where GET is a stream", async () => {
    for (const path of ["/api/v1/topics", "/api/v1/topics/default.demo", "/api/v1/openapi.json", "/api/v1/status"]) {
      const [head, get] = [await ask("HEAD", path), await ask("GET", path)];
      expect([head.status, head.text], path).toEqual([200, ""]);
      expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"));
    }
    expect((await ask("HEAD", "/api/v1/topics/default.nothing")).status).toBe(404);
    for (const path of ["/api/v1/topics/default.demo/subscribe", "/api/v1/subscribe?topic_id=default.demo"]) {
      expect((await ask("HEAD", path)).status).toBe(405);
    }
  });

  test("every answer says that it is not to be stored, and problems have their members", async () => {
    const answer = await ask("GET", "/api/v1/topics/default.nothing");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.json).toEqual({
      type: "https://earshot.dev/errors#topic_not_found",
      title: "No such topic, or a token is needed to see it.",
      status: 404,
      detail: "No such topic, or a token is needed to see it.",
      code: "topic_not_found",
      retryable: false,
    });
    const bad = await ask("GET", "/api/v1/topics", { token: "nonsense" });
    expect(verdict(bad)).toBe("401 unauthenticated");
    expect(bad.headers.get("www-authenticate")).toBe('Bearer realm="earshot", error="invalid_token"');
    expect(bad.text).not.toContain("nonsense");
  });

  test("without an operator making and changing is unavailable now, safe to repeat, and the rest goes on", async () => {
    await make("survivor", alice);
    fleet.kill("operator-0");
    await fleet.ended("operator-0");
    const body = { name: "later", permissions: "PUBLIC" };
    await until(
      async () => verdict(await ask("POST", "/api/v1/topics", { body })) === "503 control_plane_unavailable",
      "no operator is connected",
    );
    for (const method of ["PATCH", "DELETE"] as const) {
      const answer = await ask(method, "/api/v1/topics/default.survivor", { token: alice, body: {} });
      expect(answer.json).toMatchObject({ status: 503, code: "control_plane_unavailable", retryable: true });
      expect(answer.headers.get("retry-after")).toBe("1");
    }
    expect((await ask("POST", "/api/v1/topics/default.survivor/publish", { body: { payload: 1 } })).status).toBe(200);
    expect(verdict(await ask("POST", "/api/v1/topics", { body: { ...body, name: "survivor" } }))).toBe(
      "409 topic_exists",
    );
    await fleet.start("operator-0");
    await until(
      async () => (await ask("POST", "/api/v1/topics", { body })).status === 201,
      "the operator is used again",
    );
    expect((await ask("GET", "/api/v1/topics/default.survivor")).json["owner_id"]).toBe("alice");
  });
});
