// Owns: Topics on the wire: our words to the proto's enums and back, for the internal TopicRecord and for the public
// services (core/edge). Enum values that this version does not know come back as undefined, so that a newer peer's
// Topic is refused with the field's name and never read as something it is not.

import { create } from "@bufbuild/protobuf";
import { parseTopicId } from "../domain/topic-id.ts";
import type {
  Channels,
  Permissions,
  Presence,
  Priority,
  SlowConsumer,
  Subject,
  Topic,
  TopicPolicy,
} from "../domain/topic.ts";
import {
  SlowConsumer as ProtoSlowConsumer,
  type TopicPolicy as ProtoTopicPolicy,
  TopicPolicySchema,
  type TopicRecord,
  TopicRecordSchema,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import {
  Channels as ProtoChannels,
  Permissions as ProtoPermissions,
  Presence as ProtoPresence,
  Priority as ProtoPriority,
  type Subject as ProtoSubject,
  SubjectKind,
  SubjectSchema,
} from "#proto/earshot/v1/topic_types_pb.ts";

/** A value, or what is wrong with the field it would have come from. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** Both directions of one enum. `from` answers undefined for UNSPECIFIED and for values of a newer version. */
export interface EnumCodec<Word extends string, Value extends number> {
  to(word: Word): Value;
  from(value: Value): Word | undefined;
}

function enumCodec<Word extends string, Value extends number>(
  values: Readonly<Record<Word, Value>>,
): EnumCodec<Word, Value> {
  const words = new Map(Object.entries<Value>(values).map(([word, value]) => [value, word as Word]));
  return { to: (word) => values[word], from: (value) => words.get(value) };
}

export const permissionsCodec = enumCodec<Permissions, ProtoPermissions>({
  Public: ProtoPermissions.PUBLIC,
  Private: ProtoPermissions.PRIVATE,
  PublishOnly: ProtoPermissions.PUBLISH_ONLY,
  SubscribeOnly: ProtoPermissions.SUBSCRIBE_ONLY,
});

export const channelsCodec = enumCodec<Channels, ProtoChannels>({
  None: ProtoChannels.NONE,
  Dynamic: ProtoChannels.DYNAMIC,
});

export const presenceCodec = enumCodec<Presence, ProtoPresence>({
  None: ProtoPresence.NONE,
  Count: ProtoPresence.COUNT,
  Members: ProtoPresence.MEMBERS,
});

export const priorityCodec = enumCodec<Priority, ProtoPriority>({
  Normal: ProtoPriority.NORMAL,
  Low: ProtoPriority.LOW,
});

const slowConsumerCodec = enumCodec<SlowConsumer, ProtoSlowConsumer>({
  DropOldest: ProtoSlowConsumer.DROP_OLDEST,
  DropNewest: ProtoSlowConsumer.DROP_NEWEST,
  Disconnect: ProtoSlowConsumer.DISCONNECT,
});

function subjectToProto(subject: Subject): ProtoSubject {
  switch (subject.kind) {
    case "User":
      return create(SubjectSchema, { kind: SubjectKind.USER, name: subject.name });
    case "Group":
      return create(SubjectSchema, { kind: SubjectKind.GROUP, name: subject.name });
    case "ServiceAccount":
      return create(SubjectSchema, {
        kind: SubjectKind.SERVICE_ACCOUNT,
        namespace: subject.namespace,
        name: subject.name,
      });
    case "ChannelUser":
      return create(SubjectSchema, { kind: SubjectKind.CHANNEL_USER });
  }
}

/** A subject as the CRD allows it: a name where one belongs, a namespace exactly on a ServiceAccount. */
function subjectFromProto(subject: ProtoSubject): Parsed<Subject> {
  const { kind, name, namespace } = subject;
  const hasNamespace = namespace !== "";
  if (hasNamespace !== (kind === SubjectKind.SERVICE_ACCOUNT)) {
    return refuse("namespace stands on a subject exactly when it is a ServiceAccount");
  }
  if ((name !== "") === (kind === SubjectKind.CHANNEL_USER)) {
    return refuse("name stands on every subject but a ChannelUser");
  }
  switch (kind) {
    case SubjectKind.USER:
      return { ok: true, value: { kind: "User", name } };
    case SubjectKind.GROUP:
      return { ok: true, value: { kind: "Group", name } };
    case SubjectKind.SERVICE_ACCOUNT:
      return { ok: true, value: { kind: "ServiceAccount", namespace, name } };
    case SubjectKind.CHANNEL_USER:
      return { ok: true, value: { kind: "ChannelUser" } };
    case SubjectKind.UNSPECIFIED:
    default:
      return refuse(`kind ${kind} is not a subject's kind`);
  }
}

/** A list of subjects; the reason names the first wrong one by its place. */
export function subjectsFromProto(field: string, subjects: readonly ProtoSubject[]): Parsed<readonly Subject[]> {
  const parsed: Subject[] = [];
  for (const [index, subject] of subjects.entries()) {
    const result = subjectFromProto(subject);
    if (!result.ok) return refuse(`${field}[${index}]: ${result.reason}`);
    parsed.push(result.value);
  }
  return { ok: true, value: parsed };
}

export function policyToProto(policy: TopicPolicy): ProtoTopicPolicy {
  return create(TopicPolicySchema, {
    permissions: permissionsCodec.to(policy.permissions),
    owner: policy.owner ?? "",
    publishers: policy.publishers.map(subjectToProto),
    subscribers: policy.subscribers.map(subjectToProto),
    channels: channelsCodec.to(policy.channels),
    presence: presenceCodec.to(policy.presence),
    slowConsumer: slowConsumerCodec.to(policy.slowConsumer),
    maxMessageBytes: policy.maxMessageBytes,
    batchWindowMilliseconds: policy.batchWindowMilliseconds,
    priority: priorityCodec.to(policy.priority),
    maxPublishesPerSecond: policy.maxPublishesPerSecond,
    maxSubscribers: policy.maxSubscribers,
    maxChannels: policy.maxChannels,
  });
}

export function policyFromProto(policy: ProtoTopicPolicy): Parsed<TopicPolicy> {
  const permissions = permissionsCodec.from(policy.permissions);
  if (permissions === undefined) return refuse(`permissions ${policy.permissions} is not known here`);
  const channels = channelsCodec.from(policy.channels);
  if (channels === undefined) return refuse(`channels ${policy.channels} is not known here`);
  const presence = presenceCodec.from(policy.presence);
  if (presence === undefined) return refuse(`presence ${policy.presence} is not known here`);
  const slowConsumer = slowConsumerCodec.from(policy.slowConsumer);
  if (slowConsumer === undefined) return refuse(`slow_consumer ${policy.slowConsumer} is not known here`);
  const priority = priorityCodec.from(policy.priority);
  if (priority === undefined) return refuse(`priority ${policy.priority} is not known here`);
  const publishers = subjectsFromProto("publishers", policy.publishers);
  if (!publishers.ok) return publishers;
  const subscribers = subjectsFromProto("subscribers", policy.subscribers);
  if (!subscribers.ok) return subscribers;
  if (policy.maxMessageBytes === 0) return refuse("max_message_bytes is 0");
  return {
    ok: true,
    value: {
      permissions,
      owner: policy.owner === "" ? undefined : policy.owner,
      publishers: publishers.value,
      subscribers: subscribers.value,
      channels,
      presence,
      slowConsumer,
      maxMessageBytes: policy.maxMessageBytes,
      batchWindowMilliseconds: policy.batchWindowMilliseconds,
      priority,
      maxPublishesPerSecond: policy.maxPublishesPerSecond,
      maxSubscribers: policy.maxSubscribers,
      maxChannels: policy.maxChannels,
    },
  };
}

/** Fields that a change over HTTP or gRPC may name. */
const CHANGEABLE = ["permissions", "channels", "presence", "publishers", "subscribers"] as const;

/** Those fields of a policy that a field mask names. */
export function policyChangeFromProto(
  policy: ProtoTopicPolicy,
  paths: readonly string[],
): Parsed<Partial<TopicPolicy>> {
  const unknown = paths.find((path) => !(CHANGEABLE as readonly string[]).includes(path));
  if (unknown !== undefined)
    return refuse(`update_mask names ${JSON.stringify(unknown)}, which is not changed this way`);
  const whole = policyFromProto(policy);
  if (!whole.ok) return whole;
  const named = CHANGEABLE.filter((path) => paths.includes(path));
  return { ok: true, value: Object.fromEntries(named.map((path) => [path, whole.value[path]])) };
}

export function topicToRecord(topic: Topic): TopicRecord {
  return create(TopicRecordSchema, {
    namespace: topic.namespace,
    name: topic.name,
    createdAtMs: BigInt(topic.createdAtMs),
    policy: policyToProto(topic.policy),
    httpManaged: topic.httpManaged,
  });
}

export function recordToTopic(record: TopicRecord): Parsed<Topic> {
  const key = `${record.namespace}.${record.name}`;
  const id = parseTopicId(key);
  if (!id.ok) return refuse(`Topic ${JSON.stringify(key.slice(0, 300))}: ${id.reason}`);
  if (record.policy === undefined) return refuse(`Topic ${key}: policy is missing`);
  const policy = policyFromProto(record.policy);
  if (!policy.ok) return refuse(`Topic ${key}: ${policy.reason}`);
  return {
    ok: true,
    value: {
      key,
      namespace: record.namespace,
      name: record.name,
      createdAtMs: Number(record.createdAtMs),
      policy: policy.value,
      httpManaged: record.httpManaged,
    },
  };
}

function refuse(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason };
}
