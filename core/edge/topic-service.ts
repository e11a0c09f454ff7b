// Owns: earshot.v1.TopicService: the topic calls of edge.ts, typed on the wire.

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Subject } from "../domain/topic.ts";
import {
  channelsCodec,
  type EnumCodec,
  permissionsCodec,
  presenceCodec,
  subjectsFromProto,
} from "../fleet/topic-codec.ts";
import { EarshotError } from "../runtime/errors.ts";
import { bindService, type Handlers, type Server } from "../runtime/grpc.ts";
import {
  CreateTopicResponseSchema,
  DeleteTopicResponseSchema,
  GetTopicResponseSchema,
  ListTopicsResponseSchema,
  type Topic as TopicMessage,
  TopicSchema,
  TopicService,
  UpdateTopicResponseSchema,
} from "#proto/earshot/v1/topic_pb.ts";
import type { Channels, Permissions, Presence, Subject as SubjectMessage } from "#proto/earshot/v1/topic_types_pb.ts";
import type { Edge, TopicFields, TopicView } from "./edge.ts";
import { admitCaller } from "./grpc-caller.ts";

/** Topics on a page where the caller names no limit. */
const PAGE_DEFAULT = 100;

export function bindTopicService(server: Server, edge: Edge): void {
  const handlers: Handlers<typeof TopicService> = {
    createTopic: async (request, call) => {
      const caller = await admitCaller(edge, call);
      const { name, namespace } = request;
      const fields = fieldsOf(request, request.publishers, request.subscribers);
      const { topic, ready } = await edge.topics.create(caller, namespace === "" ? undefined : namespace, name, fields);
      return create(CreateTopicResponseSchema, { topic: topicMessage(topic), ready });
    },
    updateTopic: async (request, call) => {
      const caller = await admitCaller(edge, call);
      const fields = fieldsOf(request, request.publishers?.subjects, request.subscribers?.subjects);
      const { topic, ready } = await edge.topics.update(caller, request.topicId, fields);
      return create(UpdateTopicResponseSchema, { topic: topicMessage(topic), ready });
    },
    getTopic: async (request, call) => {
      const topic = await edge.topics.get(await admitCaller(edge, call), request.topicId);
      return create(GetTopicResponseSchema, { topic: topicMessage(topic) });
    },
    listTopics: async (request, call) => {
      const caller = await admitCaller(edge, call);
      const limit = request.limit === 0 ? PAGE_DEFAULT : request.limit;
      const page = await edge.topics.list(caller, limit, request.cursor === "" ? undefined : request.cursor);
      return create(ListTopicsResponseSchema, {
        topics: page.topics.map(topicMessage),
        nextCursor: page.nextCursor ?? "",
      });
    },
    deleteTopic: async (request, call) => {
      await edge.topics.delete(await admitCaller(edge, call), request.topicId);
      return create(DeleteTopicResponseSchema);
    },
  };
  bindService(server, TopicService, handlers);
}

interface EnumFields {
  readonly permissions: Permissions;
  readonly channels: Channels;
  readonly presence: Presence;
}

function fieldsOf(
  enums: EnumFields,
  publishers: readonly SubjectMessage[] | undefined,
  subscribers: readonly SubjectMessage[] | undefined,
): TopicFields {
  return {
    permissions: wordOf("permissions", permissionsCodec, enums.permissions),
    channels: wordOf("channels", channelsCodec, enums.channels),
    presence: wordOf("presence", presenceCodec, enums.presence),
    publishers: subjectsOf("publishers", publishers),
    subscribers: subjectsOf("subscribers", subscribers),
  };
}

/** Undefined for UNSPECIFIED (0 in every enum). Throws invalid_request for a value that this version does not know. */
function wordOf<Word extends string, Value extends number>(
  field: string,
  codec: EnumCodec<Word, Value>,
  value: Value,
): Word | undefined {
  const word = codec.from(value);
  if (word === undefined && value !== 0) {
    throw new EarshotError("invalid_request", `${field} is ${value}, which is no value of its enum`, { field });
  }
  return word;
}

function subjectsOf(field: string, subjects: readonly SubjectMessage[] | undefined): readonly Subject[] | undefined {
  if (subjects === undefined) return undefined;
  const parsed = subjectsFromProto(field, subjects);
  if (parsed.ok) return parsed.value;
  throw new EarshotError("invalid_request", parsed.reason, { field });
}

function topicMessage(view: TopicView): TopicMessage {
  const { topicId, name, ownerId = "", createdAtMs, permissions, subscriberCount } = view;
  return create(TopicSchema, {
    topicId,
    name,
    ownerId,
    createdAt: timestampFromMs(createdAtMs),
    permissions: permissionsCodec.to(permissions),
    ...(subscriberCount === undefined ? {} : { subscriberCount: BigInt(subscriberCount) }),
  });
}
