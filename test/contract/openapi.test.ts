import { Ajv2020 } from "ajv/dist/2020.js";
import { afterEach, expect, test } from "vitest";
import { CODES, type Code } from "#core/domain/codes.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { openapiDocument } from "../../gateway/http/openapi/document.ts";
import { createSseRoutes, type SseDeps } from "../../gateway/sse/routes.ts";
import { type Door, openDoor } from "../harness/http-door.ts";

interface Operation {
  readonly operationId: string;
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
  readonly requestBody?: { content: Record<string, { schema: object }> };
}

const DOCUMENT = openapiDocument({ standalone: true });
const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false });
ajv.addSchema({ $id: "doc", components: DOCUMENT.components });

let door: Door | undefined;
afterEach(async () => {
  await door?.close();
  door = undefined;
});

const PEERS = {
  list: (role: string) =>
    role === "router"
      ? [
          {
            role: "router" as const,
            name: "router-0",
            incarnation: "r",
            pid: 7,
            grpc: "127.0.0.1:1",
            probes: "127.0.0.1:2",
            node: "",
            zone: "",
          },
        ]
      : [],
};

/** With every route that a gateway has. */
async function openWhole(): Promise<Door> {
  door = await openDoor({
    peers: PEERS,
    // Registering routes asks nothing of what is behind them.
    sseRoutes: createSseRoutes({} as SseDeps),
  });
  return door;
}

function operations(): { path: string; method: string; operation: Operation }[] {
  return Object.entries(DOCUMENT.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method,
      operation: operation as unknown as Operation,
    })),
  );
}

/** Where `$ref` points within the document. */
function check(schema: object, value: unknown): string[] {
  const text = JSON.stringify(schema).replaceAll('"#/components', '"doc#/components');
  const validate = ajv.compile(JSON.parse(text) as object);
  return validate(value)
    ? []
    : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

function codesOf(operation: Operation): Code[] {
  return Object.values(operation.responses).flatMap(({ content }) => {
    const schema = content?.["application/problem+json"]?.schema as
      | { allOf: [object, { properties: { code: { enum: Code[] } } }] }
      | undefined;
    return schema?.allOf[1].properties.code.enum ?? [];
  });
}

test("every path and method of the document is a route, and every route is in it", async () => {
  const { app } = await openWhole();
  const printed = app.printRoutes({ commonPrefix: false, includeHooks: false });
  for (const { path, method } of operations()) {
    const url = path.replaceAll("{topic_id}", ":topicId");
    const found = [url, path.replaceAll("{topic_id}", ":topic_id")].some((pattern) =>
      app.hasRoute({ method: method.toUpperCase() as "GET", url: pattern }),
    );
    expect(found, `${method} ${path}`).toBe(true);
  }
  const routes = printed.match(/\((GET|POST|PATCH|DELETE|PUT|HEAD)(, (GET|POST|PATCH|DELETE|PUT|HEAD))*\)/g) ?? [];
  // HEAD comes with GET, and is nothing that a document describes.
  const registered = routes.flatMap((methods) => methods.slice(1, -1).split(", ")).filter((one) => one !== "HEAD");
  // The page at `/` and its parts are for browsers, no API.
  expect(registered).toHaveLength(operations().length + 2);
});

test("the document is served as it is, to anybody", async () => {
  const { app } = await openWhole();
  const answer = await app.inject({ url: "/api/v1/openapi.json" });
  expect(answer.statusCode).toBe(200);
  expect(answer.json()).toEqual(JSON.parse(JSON.stringify(DOCUMENT)));
  expect(answer.json().openapi).toBe("3.1.0");
});

test("outside standalone mode there is no status call, in the document or at the door", async () => {
  door = await openDoor();
  expect((await door.app.inject({ url: "/api/v1/openapi.json" })).json().paths["/api/v1/status"]).toBeUndefined();
  expect((await door.app.inject({ url: "/api/v1/status" })).statusCode).toBe(404);
});

test("every schema compiles, and every reference leads somewhere", () => {
  for (const { operation } of operations()) {
    const contents = [...Object.values(operation.responses), ...(operation.requestBody ? [operation.requestBody] : [])];
    for (const { content } of contents) for (const { schema } of Object.values(content ?? {})) check(schema, {});
  }
});

test("every code of the table is an answer of some call, with its own status", () => {
  const told = new Set(operations().flatMap(({ operation }) => codesOf(operation)));
  expect([...told].sort()).toEqual(Object.keys(CODES).sort());
  for (const { operation } of operations()) {
    for (const [status, { content }] of Object.entries(operation.responses)) {
      const schema = content?.["application/problem+json"]?.schema as
        | { allOf: [object, { properties: { code: { enum: Code[] } } }] }
        | undefined;
      for (const code of schema?.allOf[1].properties.code.enum ?? []) expect(String(CODES[code].http)).toBe(status);
    }
  }
});

interface Example {
  readonly id: string;
  readonly method?: "GET" | "POST" | "PATCH" | "DELETE";
  readonly url: string;
  readonly body?: unknown;
}

const EXAMPLES: readonly Example[] = [
  { id: "listTopics", url: "/api/v1/topics" },
  { id: "listTopics", url: "/api/v1/topics?limit=1" },
  { id: "createTopic", method: "POST", url: "/api/v1/topics", body: { name: "news", permissions: "PUBLIC" } },
  { id: "getTopic", url: "/api/v1/topics/default.demo" },
  { id: "updateTopic", method: "PATCH", url: "/api/v1/topics/default.demo", body: { presence: null } },
  { id: "deleteTopic", method: "DELETE", url: "/api/v1/topics/default.demo" },
  {
    id: "publish",
    method: "POST",
    url: "/api/v1/topics/default.demo/publish",
    body: { payload: 1, receipt: "gateway" },
  },
  {
    id: "publishBatch",
    method: "POST",
    url: "/api/v1/publish",
    body: {
      messages: [
        { topic_id: "default.demo", payload: 1 },
        { topic_id: "no.where", payload: 1 },
      ],
    },
  },
  { id: "unsubscribe", method: "DELETE", url: "/api/v1/topics/default.demo/subscribe" },
  { id: "listSubscribers", url: "/api/v1/topics/default.demo/subscribers" },
  { id: "getRoute", url: "/api/v1/topics/shop.orders/route" },
  { id: "getStatus", url: "/api/v1/status" },
];

test.each(EXAMPLES)("the answer of $id $url is as the document says", async ({ id, method = "GET", url, body }) => {
  const { app, state } = await openWhole();
  const entry = {
    topicId: "default.demo",
    userId: "bob",
    info: '{"name":"Bob"}',
    connectionId: "g-1",
    subscriptionId: "s1",
    subscribedAtMs: 1,
  };
  state.snapshot = { page: { members: [entry], count: 2, version: 1, nextCursor: "abc" }, stale: true };
  const operation = operations().find(({ operation }) => operation.operationId === id)?.operation;
  const headers = { authorization: "Bearer token-of-alice", "content-type": "application/json" };
  const answer = await app.inject({
    method,
    url,
    headers,
    ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
  });
  const described = operation?.responses[String(answer.statusCode)];
  expect(answer.statusCode, answer.body).toBeLessThan(300);
  expect(described, `${id} answers ${answer.statusCode}`).toBeDefined();
  const schema = described?.content?.["application/json"]?.schema;
  if (schema === undefined) expect(answer.body).toBe("");
  else expect(check(schema, answer.json())).toEqual([]);
  const request = operation?.requestBody?.content["application/json"]?.schema;
  if (request !== undefined) expect(check(request, body)).toEqual([]);
});

test.each(Object.keys(CODES) as Code[])("%s is answered as the document says, wherever it says so", async (code) => {
  const { app, state } = await openWhole();
  const headers = { authorization: "Bearer token-of-alice", "content-type": "application/json" };
  for (const name of ["publish", "topics", "place", "count", "describe"] as const) {
    state.fails.set(name, new EarshotError(code));
  }
  let met = 0;
  for (const { id, method = "GET", url, body } of EXAMPLES) {
    const operation = operations().find(({ operation }) => operation.operationId === id)?.operation;
    if (operation === undefined || !codesOf(operation).includes(code)) continue;
    const payload = body === undefined ? {} : { payload: JSON.stringify(body) };
    const answer = await app.inject({ method, url, headers, ...payload });
    if (answer.statusCode < 300) continue;
    met += 1;
    expect(answer.statusCode).toBe(CODES[code].http);
    expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
    const described = operation.responses[String(answer.statusCode)]?.content?.["application/problem+json"]?.schema;
    expect(check(described ?? {}, answer.json())).toEqual([]);
    expect(answer.json()).toMatchObject({ code, retryable: CODES[code].retryable, status: CODES[code].http });
    if (answer.statusCode === 429 || answer.statusCode === 503) expect(answer.headers["retry-after"]).toBe("1");
    if (answer.statusCode === 401) expect(answer.headers["www-authenticate"]).toContain("Bearer");
  }
  // Those that only a stream or the member list answers with are met elsewhere.
  const elsewhere: readonly Code[] = ["topic_full", "presence_not_kept", "presence_unavailable"];
  if (!elsewhere.includes(code)) expect(met).toBeGreaterThan(0);
});

test("a method that a path does not take is refused with those it takes, another path is not there", async () => {
  const { app } = await openWhole();
  for (const { path } of operations()) {
    const url = path.replaceAll("{topic_id}", "default.demo");
    const answer = await app.inject({ method: "PUT", url });
    expect(answer.statusCode, path).toBe(405);
    const taken = Object.keys(DOCUMENT.paths[path] ?? {}).map((method) => method.toUpperCase());
    const allowed = String(answer.headers["allow"]).split(", ");
    expect(allowed.filter((one) => one !== "HEAD").sort()).toEqual(taken.sort());
    const streams = path.endsWith("/subscribe");
    expect(allowed.includes("HEAD"), path).toBe(taken.includes("GET") && !streams);
    expect(check({ $ref: "#/components/schemas/Problem" }, answer.json())).toEqual([]);
  }
  expect((await app.inject({ url: "/api/v2/topics" })).statusCode).toBe(404);
});
