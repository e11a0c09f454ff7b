// Owns: the paths of the OpenAPI document, and which codes each call can answer with. test/contract/openapi.test.ts
// holds them against fastify's own routes.

import { CODES, type Code } from "#core/domain/codes.ts";
import { ref, type SCHEMAS, type Schema } from "./schemas.ts";

export type Paths = Readonly<Record<string, Readonly<Record<string, Schema>>>>;

/** Of every call that knows its caller. */
const CALLER: readonly Code[] = ["unauthenticated", "token_expired", "rate_limited", "overloaded"];
/** Of every call that names a topic. */
const TOPIC: readonly Code[] = [...CALLER, "topic_id_invalid", "topic_not_found"];
const BODY: readonly Code[] = ["invalid_json", "invalid_request", "message_too_large"];
const ROUTER: readonly Code[] = ["shard_unavailable", "draining"];
const PUBLISH: readonly Code[] = [...ROUTER, "forbidden", "backpressure", "publish_unknown"];
const OPERATOR: readonly Code[] = ["forbidden", "control_plane_unavailable"];

const TOPIC_ID = parameter("topic_id", "path", "`<namespace>.<name>`, or `<namespace>.<name>:<channel>`.");
const PAGING = [
  { ...parameter("limit", "query", "Entries of a page."), schema: { type: "integer", minimum: 1, maximum: 1_000 } },
  parameter("cursor", "query", "`next_cursor` of the page before."),
];
const STREAM = [
  { ...parameter("presence", "query", "Whether presence frames are wanted."), schema: { type: "boolean" } },
  { ...parameter("echo", "query", "Whether the connection hears its own messages."), schema: { type: "boolean" } },
];

export function paths({ standalone }: { readonly standalone: boolean }): Paths {
  return {
    "/api/v1/topics": {
      get: call("listTopics", "Lists the Topics that the caller may see.", {
        parameters: PAGING,
        answer: ok("A page.", "TopicList"),
        codes: [...CALLER, "invalid_request"],
      }),
      post: call("createTopic", "Makes a Topic, where the installation allows it.", {
        body: "TopicCreate",
        answer: { "201": json("The Topic; `Location` says where it is.", "TopicChanged") },
        codes: [
          ...CALLER,
          ...BODY,
          ...OPERATOR,
          "topic_name_invalid",
          "namespace_not_served",
          "topic_exists",
          "quota_exceeded",
        ],
      }),
    },
    "/api/v1/topics/{topic_id}": {
      get: call("getTopic", "Shows a topic.", {
        parameters: [TOPIC_ID],
        answer: ok("The topic.", "Topic"),
        codes: TOPIC,
      }),
      patch: call("updateTopic", "Changes a Topic: its owner, or whoever may manage it.", {
        parameters: [TOPIC_ID],
        body: "TopicPatch",
        answer: ok("The Topic as it is now.", "TopicChanged"),
        codes: [...TOPIC, ...BODY, ...OPERATOR],
      }),
      delete: call("deleteTopic", "Ends a Topic; its subscribers are told and unsubscribed.", {
        parameters: [TOPIC_ID],
        answer: { "204": { description: "It is gone." } },
        codes: [...TOPIC, ...OPERATOR],
      }),
    },
    "/api/v1/topics/{topic_id}/publish": {
      post: call("publish", "Speaks. Whoever is subscribed hears it; nobody else ever will.", {
        parameters: [TOPIC_ID],
        body: "Publish",
        answer: ok("What became of it.", "Published"),
        codes: [...TOPIC, ...BODY, ...PUBLISH],
      }),
    },
    "/api/v1/publish": {
      post: call("publishBatch", "Speaks up to 100 messages, each with its own outcome.", {
        body: "PublishBatch",
        answer: ok("An outcome for each, an `error` in the place of each that failed.", "PublishBatchResult"),
        codes: [...CALLER, ...BODY],
      }),
    },
    "/api/v1/topics/{topic_id}/subscribe": {
      get: call("subscribe", "Hears one topic, as server-sent events.", {
        parameters: [TOPIC_ID, ...STREAM],
        answer: STREAM_ANSWER,
        codes: [...TOPIC, "invalid_request", "forbidden", "topic_full", "shard_unavailable"],
      }),
      delete: call("unsubscribe", "Ends the caller's subscriptions to the topic, on whichever gateway they are.", {
        parameters: [
          TOPIC_ID,
          parameter("user_id", "query", "Another user's, by somebody who may manage the topic."),
          parameter("connection_id", "query", "Only this connection's."),
          parameter("connection_key", "query", "Of the connection's `welcome`: needed without a token."),
        ],
        answer: ok("Whether there were any.", "Unsubscribed"),
        codes: [...TOPIC, ...PUBLISH, "invalid_request"],
      }),
    },
    "/api/v1/subscribe": {
      get: call("subscribeMany", "Hears one or many topics, as server-sent events.", {
        parameters: [
          {
            ...parameter("topic_id", "query", "Repeated for each topic."),
            required: true,
            schema: { type: "array", items: { type: "string" }, minItems: 1 },
          },
          ...STREAM,
        ],
        answer: STREAM_ANSWER,
        codes: [...TOPIC, "invalid_request", "forbidden", "topic_full", "shard_unavailable"],
      }),
    },
    "/api/v1/topics/{topic_id}/subscribers": {
      get: call("listSubscribers", "Who is there, where the Topic keeps members.", {
        parameters: [TOPIC_ID, ...PAGING],
        answer: ok("A page; `count` is of users, `connections` of subscriptions.", "Subscribers"),
        codes: [...TOPIC, "invalid_request", "forbidden", "presence_not_kept", "presence_unavailable"],
      }),
    },
    "/api/v1/topics/{topic_id}/route": {
      get: call("getRoute", "Why did nobody hear it: for whoever may manage the topic.", {
        parameters: [TOPIC_ID],
        answer: ok("The topic's way.", "Route"),
        codes: [...TOPIC, "forbidden", "shard_unavailable"],
      }),
    },
    ...(standalone ? { "/api/v1/status": { get: STATUS } } : {}),
    "/api/v1/openapi.json": {
      get: {
        operationId: "getOpenapi",
        summary: "This document.",
        security: [],
        responses: {
          "200": { description: "OpenAPI 3.1.", content: { "application/json": { schema: { type: "object" } } } },
        },
      },
    },
  };
}

interface Call {
  readonly parameters?: readonly Schema[];
  readonly body?: keyof typeof SCHEMAS;
  readonly answer: Readonly<Record<string, Schema>>;
  readonly codes: readonly Code[];
}

function call(operationId: string, summary: string, { parameters, body, answer, codes }: Call): Schema {
  return {
    operationId,
    summary,
    ...(parameters === undefined ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: bodyContent(body) } }),
    responses: { ...answer, ...problems(codes) },
  };
}

function ok(description: string, schema: keyof typeof SCHEMAS): Record<string, Schema> {
  return { "200": json(description, schema) };
}

function json(description: string, schema: keyof typeof SCHEMAS): Schema {
  return { description, content: { "application/json": { schema: ref(schema) } } };
}

/** Plain `curl -d`, sendBeacon and forms are read as JSON too. */
function bodyContent(name: keyof typeof SCHEMAS): Schema {
  const schema = ref(name);
  return {
    "application/json": { schema },
    "text/plain": { schema },
    "application/x-www-form-urlencoded": { schema },
  };
}

/** One response a status, with the codes that it can carry. */
function problems(codes: readonly Code[]): Record<string, Schema> {
  const byStatus = new Map<number, Code[]>();
  for (const code of new Set(codes)) {
    const { http } = CODES[code];
    byStatus.set(http, [...(byStatus.get(http) ?? []), code]);
  }
  return Object.fromEntries([...byStatus].map(([status, those]) => [String(status), problem(status, those)]));
}

function problem(status: number, codes: readonly Code[]): Schema {
  const meanings = codes.map((code) => `\`${code}\`: ${CODES[code].meaning}`);
  const schema = { allOf: [ref("Problem"), { type: "object", properties: { code: { enum: codes } } }] };
  return {
    description: meanings.join(" "),
    content: { "application/problem+json": { schema } },
    ...(status === 429 || status === 503 ? { headers: { "Retry-After": { schema: { type: "integer" } } } } : {}),
    ...(status === 401 ? { headers: { "WWW-Authenticate": { schema: { type: "string" } } } } : {}),
  };
}

function parameter(name: string, where: "path" | "query", description: string): Schema {
  return { name, in: where, required: where === "path", description, schema: { type: "string" } };
}

const STREAM_ANSWER: Record<string, Schema> = {
  "200": {
    description: "`data:` events that hold the JSON frames of docs/protocol.md; `welcome` comes first.",
    content: { "text/event-stream": { schema: { type: "string" } } },
  },
};

const STATUS = call("getStatus", "Which processes run on this machine (standalone mode only).", {
  answer: ok("The processes.", "Status"),
  codes: CALLER,
});
