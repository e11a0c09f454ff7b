// Owns: the schemas of the OpenAPI document (JSON Schema 2020-12): bodies and answers, field by field. Written by hand
// beside the routes; test/contract/openapi.test.ts holds real answers against them.

import { CODES, DROP_REASONS } from "#core/domain/codes.ts";
import { BATCH_MESSAGES_MAX, SUBJECTS_MAX } from "#core/domain/limits.ts";
import { PERMISSION_WORDS } from "../views.ts";

export type Schema = Readonly<Record<string, unknown>>;

export function ref(name: keyof typeof SCHEMAS): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

const text = (description: string, more: Schema = {}): Schema => ({ type: "string", description, ...more });
const count = (description: string): Schema => ({ type: "integer", minimum: 0, description });
const time = (description: string): Schema => text(description, { format: "date-time" });
const nullable = (schema: Schema): Schema => ({ ...schema, type: [schema["type"], "null"] });

/** An object whose fields are all there, but for those named optional; no others. */
function object(properties: Record<string, Schema>, optional: readonly string[] = []): Schema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: "object", properties, required, additionalProperties: false };
}

const PERMISSIONS = text("Who may publish and subscribe, before a token's own capabilities are added.", {
  enum: Object.keys(PERMISSION_WORDS),
});
const CHANNELS = text("Whether topics may be born under this Topic, without one of their own.", {
  enum: ["None", "Dynamic"],
});
const PRESENCE = text("What is known of who is listening.", { enum: ["None", "Count", "Members"] });
const TOPIC_ID = text("`<namespace>.<name>`, or `<namespace>.<name>:<channel>`.");
const OWNER_ID = nullable(text("User who made it; null for a Topic nobody owns."));
const NEXT_CURSOR = nullable(text("For the next page; null on the last one."));
const SUBJECTS = { type: "array", maxItems: SUBJECTS_MAX, items: { $ref: "#/components/schemas/Subject" } };

const publishFields: Record<string, Schema> = {
  payload: { description: "Any JSON value, delivered as the same bytes; with `encoding: base64` a string." },
  encoding: text("The payload is base64 (RFC 4648, section 4), and so is delivered.", { enum: ["base64"] }),
  priority: text("What gives way first when something is full; the Topic's own where absent.", {
    enum: ["Normal", "Low"],
  }),
  receipt: text("Where `delivered_to` is counted: at the router (the default), or at every gateway after writing.", {
    enum: ["router", "gateway"],
  }),
  exclude_connection_id: text("A connection that shall not hear it."),
};
const PUBLISH_OPTIONAL = ["encoding", "priority", "receipt", "exclude_connection_id"];

const topicFields: Record<string, Schema> = {
  permissions: PERMISSIONS,
  channels: CHANNELS,
  presence: PRESENCE,
  publishers: SUBJECTS,
  subscribers: SUBJECTS,
};

const PLACE: Record<string, Schema> = {
  role: text("What it does.", { enum: ["operator", "router", "gateway", "presence"] }),
  name: text("Name of its place: its successor has it too."),
};

/** As the supervisor sees a place; null where none answers. */
const LIFE: Record<string, Schema> = {
  state: {
    description: "How its process does; restarting: it ended and is started again.",
    enum: ["starting", "ready", "draining", "restarting", "ended", null],
  },
  started_at: nullable(time("When its present or last process was started.")),
  restarts: nullable(count("Times that it was started again since `npm start`.")),
  last_end: {
    description: "How the process before it ended; null: none has.",
    oneOf: [
      { type: "null" },
      object({
        code: nullable({ type: "integer", description: "Exit code." }),
        signal: nullable(text("Signal that ended it.")),
        at: time("When."),
      }),
    ],
  },
};

export const SCHEMAS = {
  Problem: {
    type: "object",
    description: "An error, as RFC 9457 has it.",
    properties: {
      type: text("A URI that names the code.", { format: "uri" }),
      title: text("What the code means."),
      status: { type: "integer" },
      detail: text("What is wrong here, for whoever made the mistake."),
      code: text("Stable; docs/errors.md has the table.", { enum: Object.keys(CODES) }),
      retryable: { type: "boolean", description: "True always means: safe to repeat." },
      field: text("The field that is wrong, as a path."),
    },
    required: ["type", "title", "status", "detail", "code", "retryable"],
    additionalProperties: false,
  },
  Subject: {
    type: "object",
    description: "Somebody, RBAC-style. A namespace stands exactly with a ServiceAccount, no name with a ChannelUser.",
    properties: {
      kind: { type: "string", enum: ["User", "Group", "ServiceAccount", "ChannelUser"] },
      name: { type: "string", minLength: 1 },
      namespace: { type: "string", minLength: 1 },
    },
    required: ["kind"],
    additionalProperties: false,
  },
  TopicCreate: object(
    {
      name: text("A DNS name, as Kubernetes takes it."),
      namespace: text("The installation's namespace for Topics made this way; nothing else."),
      ...topicFields,
    },
    ["namespace", "channels", "presence", "publishers", "subscribers"],
  ),
  TopicPatch: {
    ...object(
      Object.fromEntries(
        Object.entries(topicFields).map(([name, schema]) => [name, { anyOf: [schema, { type: "null" }] }]),
      ),
      Object.keys(topicFields),
    ),
    description: "JSON Merge Patch (RFC 7396): what is absent stays, null is the default.",
  },
  TopicChanged: object({
    topic_id: TOPIC_ID,
    name: text("Name within its namespace."),
    permissions: PERMISSIONS,
    owner_id: OWNER_ID,
    created_at: time("When it was made."),
    ready: { type: "boolean", description: "Whether every gateway has it already." },
  }),
  Topic: object({
    topic_id: TOPIC_ID,
    name: text("Name within its namespace."),
    owner_id: OWNER_ID,
    created_at: time("When it was made."),
    subscriber_count: nullable(count("Subscriptions of exactly this id; null where no router could be asked.")),
    permissions: PERMISSIONS,
  }),
  TopicList: object({
    topics: { type: "array", items: { $ref: "#/components/schemas/Topic" } },
    next_cursor: NEXT_CURSOR,
  }),
  Publish: object(publishFields, PUBLISH_OPTIONAL),
  Published: object(
    {
      message_id: text("`<router incarnation>-<sequence>`."),
      delivered_to: count("Subscriptions that it was handed to."),
      exact: { type: "boolean", description: "Whether every gateway counted what it wrote." },
      dropped: { type: "boolean", description: "Whether nobody was given it." },
      reason: text("Why it was dropped.", { enum: Object.keys(DROP_REASONS) }),
      not_delivered: {
        type: "object",
        description: "With `receipt: gateway`: subscriptions not delivered to, by reason.",
        additionalProperties: count("Subscriptions."),
      },
    },
    ["reason", "not_delivered"],
  ),
  PublishBatch: object({
    messages: {
      type: "array",
      maxItems: BATCH_MESSAGES_MAX,
      items: object({ topic_id: TOPIC_ID, ...publishFields }, PUBLISH_OPTIONAL),
    },
  }),
  PublishBatchResult: object({
    results: {
      type: "array",
      description: "In the order of the messages.",
      items: {
        anyOf: [
          { $ref: "#/components/schemas/Published" },
          object({ error: { $ref: "#/components/schemas/Problem" } }),
        ],
      },
    },
  }),
  Unsubscribed: object({
    success: { type: "boolean", description: "Whether a subscription ended." },
  }),
  Subscribers: object(
    {
      subscribers: {
        type: "array",
        items: object({
          user_id: text("Who: a token's subject, or `anonymous:<connection_id>`."),
          info: { description: "`earshot.info` of the token; null without one." },
          subscription_id: text("Of this connection."),
          connection_id: text("The connection that it belongs to."),
          subscribed_at: time("When it began."),
        }),
      },
      count: count("Users."),
      connections: nullable(count("Subscriptions; null where no router could be asked.")),
      next_cursor: NEXT_CURSOR,
      stale: { const: true, description: "The presence store does not answer: this is what it said last." },
    },
    ["stale"],
  ),
  Route: object({
    shard: count("Hash slot of the topic id."),
    epoch: count("Of the shard map that its router has in force."),
    routers: {
      type: "array",
      description: "Primary first.",
      items: object({ id: text("Name of its place."), incarnation: text("Of its process.") }),
    },
    gateways: {
      type: "array",
      items: object({
        id: text("Name of its place."),
        incarnation: text("Of its process."),
        subscriptions: count("Subscriptions there."),
      }),
    },
    last_drops: {
      type: "array",
      items: object({ at: time("When."), reason: text("Why."), count: count("How many.") }),
    },
  }),
  Status: object({
    version: text("Of Earshot."),
    epoch: count("Of the shard map in force at the gateway that answers."),
    operator_connected: { type: "boolean", description: "Whether that gateway has a live stream to an operator." },
    topics: count("Topics that it knows."),
    processes: {
      type: "array",
      description: "Those that take part.",
      items: object({
        ...PLACE,
        pid: { type: "integer", minimum: 1 },
        incarnation: text("Of this process: it stands in its logs, and in the `message_id`s of a router."),
        metrics: text("Its Prometheus metrics.", { format: "uri" }),
        ...LIFE,
      }),
    },
    missing: {
      type: "array",
      description: "Places without a process that takes part: one is starting there, or will be.",
      items: object({ ...PLACE, pid: { type: ["integer", "null"], minimum: 1 }, ...LIFE }),
    },
  }),
} as const satisfies Record<string, Schema>;
