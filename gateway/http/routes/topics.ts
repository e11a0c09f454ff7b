// Owns: making, changing, showing and deleting Topics over HTTP. Elsewhere: who may (core/edge), how it is done (the
// operator).

import type { FastifyInstance } from "fastify";
import type { JsonFields } from "#core/domain/json-text.ts";
import { SUBJECTS_MAX } from "#core/domain/limits.ts";
import type { Channels, Presence, Subject } from "#core/domain/topic.ts";
import type { TopicFields } from "#core/edge/edge.ts";
import { readFields } from "../body.ts";
import type { HttpDeps } from "../deps.ts";
import { readPaging } from "../paging.ts";
import { PERMISSION_WORDS, type PermissionWord, topicChanged, topicSeen } from "../views.ts";

const WORDS = Object.keys(PERMISSION_WORDS) as PermissionWord[];
const CHANNELS: readonly Channels[] = ["None", "Dynamic"];
const PRESENCES: readonly Presence[] = ["None", "Count", "Members"];
const SUBJECT_KINDS = ["User", "Group", "ServiceAccount", "ChannelUser"] as const satisfies Subject["kind"][];

/** What a field is when a merge patch removes it (RFC 7396): the CRD's default. */
const DEFAULTS = {
  permissions: "Private",
  channels: "None",
  presence: "Count",
} as const satisfies Partial<TopicFields>;

interface WithTopicId {
  Params: { topicId: string };
}

export function topicRoutes(app: FastifyInstance, { edge }: HttpDeps): void {
  app.post("/api/v1/topics", async (request, reply) => {
    const { name, namespace, fields } = readFields(request.body, readNewTopic);
    const { topic, ready } = await edge.topics.create(request.caller, namespace, name, fields);
    reply.code(201).header("location", `/api/v1/topics/${topic.topicId}`);
    return topicChanged(topic, ready);
  });

  app.get("/api/v1/topics", async (request) => {
    const { limit, cursor } = readPaging(request.query);
    const { topics, nextCursor } = await edge.topics.list(request.caller, limit, cursor);
    return { topics: topics.map(topicSeen), next_cursor: nextCursor ?? null };
  });

  app.get<WithTopicId>("/api/v1/topics/:topicId", async (request) =>
    topicSeen(await edge.topics.get(request.caller, request.params.topicId)),
  );

  app.patch<WithTopicId>("/api/v1/topics/:topicId", async (request) => {
    const changes = readFields(request.body, readTopicPatch);
    const { topic, ready } = await edge.topics.update(request.caller, request.params.topicId, changes);
    return topicChanged(topic, ready);
  });

  app.delete<WithTopicId>("/api/v1/topics/:topicId", async (request, reply) => {
    await edge.topics.delete(request.caller, request.params.topicId);
    reply.code(204);
  });
}

function readNewTopic(fields: JsonFields): { name: string; namespace: string | undefined; fields: TopicFields } {
  return {
    name: fields.string("name"),
    namespace: fields.optionalString("namespace"),
    fields: {
      permissions: PERMISSION_WORDS[fields.choice("permissions", WORDS)],
      channels: fields.optionalChoice("channels", CHANNELS),
      presence: fields.optionalChoice("presence", PRESENCES),
      publishers: readSubjects(fields, "publishers"),
      subscribers: readSubjects(fields, "subscribers"),
    },
  };
}

function readTopicPatch(fields: JsonFields): TopicFields {
  for (const fixed of ["name", "namespace"]) {
    if (fields.has(fixed)) fields.fail(fixed, "cannot be changed: it is the Topic's identity");
  }
  const word = patched(fields, "permissions", undefined, () => fields.optionalChoice("permissions", WORDS));
  return {
    permissions: fields.kind("permissions") === "null" ? DEFAULTS.permissions : word && PERMISSION_WORDS[word],
    channels: patched(fields, "channels", DEFAULTS.channels, () => fields.optionalChoice("channels", CHANNELS)),
    presence: patched(fields, "presence", DEFAULTS.presence, () => fields.optionalChoice("presence", PRESENCES)),
    publishers: patched(fields, "publishers", [], () => readSubjects(fields, "publishers")),
    subscribers: patched(fields, "subscribers", [], () => readSubjects(fields, "subscribers")),
  };
}

/** A field of a merge patch: null takes it away, which leaves the default. */
function patched<T>(fields: JsonFields, name: string, removed: T, read: () => T): T {
  return fields.kind(name) === "null" ? removed : read();
}

function readSubjects(fields: JsonFields, name: string): readonly Subject[] | undefined {
  return fields.optionalObjects(name, SUBJECTS_MAX, readSubject);
}

function readSubject(fields: JsonFields): Subject {
  const kind = fields.choice("kind", SUBJECT_KINDS);
  switch (kind) {
    case "ChannelUser":
      return { kind };
    case "ServiceAccount":
      return { kind, namespace: nonEmpty(fields, "namespace"), name: nonEmpty(fields, "name") };
    case "User":
    case "Group":
      return { kind, name: nonEmpty(fields, "name") };
  }
}

function nonEmpty(fields: JsonFields, name: string): string {
  const text = fields.string(name);
  return text === "" ? fields.fail(name, "must not be empty") : text;
}
