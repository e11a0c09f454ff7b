import { afterEach, beforeEach, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { type Door, openDoor } from "../harness/http-door.ts";

let door: Door;
beforeEach(async () => {
  door = await openDoor();
});
afterEach(() => door.close());

const HEADERS = { "content-type": "application/json", authorization: "Bearer token-of-alice" };

function ask(method: "GET" | "POST" | "PATCH" | "DELETE", url: string, body?: unknown) {
  return door.app.inject({
    method,
    url,
    headers: HEADERS,
    ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
  });
}

test("a Topic is made with all its fields and answered with what it is", async () => {
  const answer = await ask("POST", "/api/v1/topics", {
    name: "news",
    namespace: "shop",
    permissions: "SUBSCRIBE_ONLY",
    channels: "Dynamic",
    presence: "Members",
    publishers: [
      { kind: "User", name: "bob" },
      { kind: "ServiceAccount", namespace: "shop", name: "checkout" },
      { kind: "ChannelUser" },
    ],
    subscribers: [],
  });
  expect(answer.statusCode).toBe(201);
  expect(answer.headers["location"]).toBe("/api/v1/topics/shop.news");
  expect(answer.json()).toEqual({
    topic_id: "shop.news",
    name: "news",
    permissions: "SUBSCRIBE_ONLY",
    owner_id: null,
    created_at: "2026-01-01T00:00:00.000Z",
    ready: true,
  });
  expect(door.state.asked.creates[0]).toEqual({
    namespace: "shop",
    name: "news",
    fields: {
      permissions: "SubscribeOnly",
      channels: "Dynamic",
      presence: "Members",
      publishers: [
        { kind: "User", name: "bob" },
        { kind: "ServiceAccount", namespace: "shop", name: "checkout" },
        { kind: "ChannelUser" },
      ],
      subscribers: [],
    },
  });
});

test.each([
  [{ permissions: "PUBLIC" }, "name"],
  [{ name: "a" }, "permissions"],
  [{ name: "a", permissions: "Public" }, "permissions"],
  [{ name: "a", permissions: "PUBLIC", channels: "DYNAMIC" }, "channels"],
  [{ name: "a", permissions: "PUBLIC", presence: "All" }, "presence"],
  [{ name: "a", permissions: "PUBLIC", owner: "eve" }, "owner"],
  [{ name: "a", permissions: "PUBLIC", publishers: {} }, "publishers"],
  [{ name: "a", permissions: "PUBLIC", publishers: [{ kind: "User" }] }, "publishers[0].name"],
  [{ name: "a", permissions: "PUBLIC", publishers: [{ kind: "User", name: "" }] }, "publishers[0].name"],
  [{ name: "a", permissions: "PUBLIC", publishers: [{ kind: "Robot", name: "x" }] }, "publishers[0].kind"],
  [
    { name: "a", permissions: "PUBLIC", subscribers: [{ kind: "ServiceAccount", name: "x" }] },
    "subscribers[0].namespace",
  ],
  [
    { name: "a", permissions: "PUBLIC", subscribers: [{ kind: "User", name: "x", namespace: "y" }] },
    "subscribers[0].namespace",
  ],
  [{ name: "a", permissions: "PUBLIC", subscribers: [{ kind: "ChannelUser", name: "x" }] }, "subscribers[0].name"],
])("a Topic of %o is refused for its %s", async (body, field) => {
  const answer = await ask("POST", "/api/v1/topics", body);
  expect([answer.statusCode, answer.json().code, answer.json().field]).toEqual([422, "invalid_request", field]);
  expect(door.state.asked.creates).toEqual([]);
});

test("64 subjects may be named, and not one more", async () => {
  const subjects = (count: number) => Array.from({ length: count }, (_, i) => ({ kind: "User", name: `u${i}` }));
  const body = (count: number) => ({ name: "a", permissions: "PUBLIC", publishers: subjects(count) });
  expect((await ask("POST", "/api/v1/topics", body(64))).statusCode).toBe(201);
  expect((await ask("POST", "/api/v1/topics", body(65))).json().field).toBe("publishers");
});

test("a merge patch changes what it names, and null brings the default back", async () => {
  await ask("PATCH", "/api/v1/topics/shop.orders", { permissions: "PUBLIC" });
  await ask("PATCH", "/api/v1/topics/shop.orders", {
    permissions: null,
    channels: null,
    presence: null,
    publishers: null,
    subscribers: [{ kind: "Group", name: "staff" }],
  });
  const nothing = { permissions: undefined, channels: undefined, presence: undefined };
  expect(door.state.asked.updates.map(({ fields }) => fields)).toEqual([
    { ...nothing, permissions: "Public", publishers: undefined, subscribers: undefined },
    {
      permissions: "Private",
      channels: "None",
      presence: "Count",
      publishers: [],
      subscribers: [{ kind: "Group", name: "staff" }],
    },
  ]);
});

test("a patch may be empty, and may not rename", async () => {
  expect((await ask("PATCH", "/api/v1/topics/shop.orders", {})).statusCode).toBe(200);
  const answer = await ask("PATCH", "/api/v1/topics/shop.orders", { name: "other" });
  expect([answer.statusCode, answer.json().field]).toEqual([422, "name"]);
});

test("a topic is shown, one that is not there is 404", async () => {
  expect((await ask("GET", "/api/v1/topics/shop.orders")).json()).toEqual({
    topic_id: "shop.orders",
    name: "orders",
    owner_id: "alice",
    created_at: "2026-01-01T00:00:00.000Z",
    subscriber_count: 3,
    permissions: "PRIVATE",
  });
  expect((await ask("GET", "/api/v1/topics/shop.nothing")).json().code).toBe("topic_not_found");
});

test("Topics are listed in pages; a limit that is none is refused by name", async () => {
  const first = (await ask("GET", "/api/v1/topics?limit=2")).json();
  expect(first.topics.map((topic: { topic_id: string }) => topic.topic_id)).toEqual(["default.demo", "shop.orders"]);
  const next = (await ask("GET", `/api/v1/topics?limit=2&cursor=${first.next_cursor}`)).json();
  expect(next.topics).toHaveLength(1);
  expect(next.next_cursor).toBeNull();
  for (const limit of ["0", "1001", "-1", "1.5", "ten", "1&limit=2"]) {
    expect((await ask("GET", `/api/v1/topics?limit=${limit}`)).json(), limit).toMatchObject({
      status: 422,
      field: "limit",
    });
  }
  expect((await ask("GET", "/api/v1/topics?limit=1000")).statusCode).toBe(200);
  expect((await ask("GET", `/api/v1/topics?cursor=${"x".repeat(1_025)}`)).json().field).toBe("cursor");
});

test("a deleted Topic is answered with nothing", async () => {
  const answer = await ask("DELETE", "/api/v1/topics/shop.orders");
  expect([answer.statusCode, answer.body]).toEqual([204, ""]);
  expect(door.state.asked.deletes).toEqual(["shop.orders"]);
});

test("without an operator a Topic cannot be made now, and it is safe to try again", async () => {
  door.state.fails.set("topics", new EarshotError("control_plane_unavailable"));
  const answer = await ask("POST", "/api/v1/topics", { name: "a", permissions: "PUBLIC" });
  expect(answer.json()).toMatchObject({ status: 503, code: "control_plane_unavailable", retryable: true });
  expect(answer.headers["retry-after"]).toBe("1");
});
