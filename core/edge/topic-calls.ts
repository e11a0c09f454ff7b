// Owns: making, changing, showing and ending Topics for users, at every door alike: the rules of who may, the merge of
// a change into what there is, and the order to the operator, who alone writes (control_plane.proto, MutateTopic).

import { create } from "@bufbuild/protobuf";
import { FieldMaskSchema } from "@bufbuild/protobuf/wkt";
import type { AccessRules } from "../domain/access.ts";
import { anyMatches } from "../domain/capability.ts";
import { isCode } from "../domain/codes.ts";
import { SUBJECT_NAME_LENGTH_MAX, SUBJECTS_MAX } from "../domain/limits.ts";
import type { Principal } from "../domain/principal.ts";
import { POLICY_DEFAULTS, type Subject, type Topic, type TopicPolicy } from "../domain/topic.ts";
import { nameProblem, namespaceProblem, type TopicId } from "../domain/topic-id.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { policyToProto, recordToTopic } from "../fleet/topic-codec.ts";
import { EarshotError } from "../runtime/errors.ts";
import type { Config } from "../runtime/settings.ts";
import {
  type MutateTopicRequest,
  MutateTopicRequestSchema,
  type MutateTopicResponse,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { governing, grant, parsedTopicId, sees } from "./authorize.ts";
import type { Caller, TopicCalls, TopicFields, TopicView } from "./edge.ts";
import type { EdgePlacer } from "./publish.ts";
import { TopicList } from "./topic-list.ts";

/** Topics on one page of a list: as many ids as one CountSubscriptions takes. */
export const TOPIC_PAGE_MAX = 1_000;

interface TopicCallsOptions {
  readonly config: Pick<Config, "httpTopicsNamespace" | "httpTopicsCreate">;
  readonly rules: AccessRules;
  readonly fleet: Fleet;
  readonly placer: Pick<EdgePlacer, "countSubscriptions">;
}

type Change = MutateTopicRequest["change"];

export class EdgeTopicCalls implements TopicCalls {
  readonly #options: TopicCallsOptions;
  readonly #list: TopicList;

  constructor(options: TopicCallsOptions) {
    this.#options = options;
    this.#list = new TopicList(options.fleet);
  }

  async create(
    caller: Caller,
    namespace: string | undefined,
    name: string,
    fields: TopicFields,
  ): Promise<{ topic: TopicView; ready: boolean }> {
    const topicId = this.#newTopicId(namespace, name);
    this.#checkMayCreate(caller.principal, topicId);
    checkSubjects(fields);
    if (this.#options.fleet.topic(topicId.id) !== undefined) throw new EarshotError("topic_exists");
    const owner = caller.principal.kind === "anonymous" ? undefined : caller.principal.userId;
    const policy: TopicPolicy = { ...merged(POLICY_DEFAULTS, fields), owner };
    const { topic, ready } = await this.#mutate(topicId, { case: "create", value: policyToProto(policy) });
    return { topic: viewOf(topic, topicId.id, 0), ready };
  }

  async update(caller: Caller, id: string, fields: TopicFields): Promise<{ topic: TopicView; ready: boolean }> {
    const { topicId, topic: before } = this.#managed(caller.principal, id);
    checkSubjects(fields);
    const policy = merged(before.policy, fields);
    // What is stored may be newer than what this process knows: the operator takes only what was asked to change.
    const paths = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [name]));
    const { topic, ready } = await this.#mutate(topicId, { case: "update", value: policyToProto(policy) }, { paths });
    return { topic: viewOf(topic, id, await this.#count(id)), ready };
  }

  async get(caller: Caller, id: string): Promise<TopicView> {
    const { fleet, rules } = this.#options;
    const topicId = parsedTopicId(id);
    const topic = governing(fleet, topicId);
    if (topic === undefined || !sees(caller.principal, topic, topicId, rules))
      throw new EarshotError("topic_not_found");
    return viewOf(topic, id, await this.#count(id));
  }

  async list(
    caller: Caller,
    limit: number,
    cursor: string | undefined,
  ): Promise<{ topics: readonly TopicView[]; nextCursor: string | undefined }> {
    if (!(Number.isInteger(limit) && limit >= 1 && limit <= TOPIC_PAGE_MAX)) {
      throw new EarshotError("invalid_request", `limit must be a whole number from 1 to ${TOPIC_PAGE_MAX}`, {
        field: "limit",
      });
    }
    const { rules, placer } = this.#options;
    const { principal } = caller;
    const page = await this.#list.page((topic) => sees(principal, topic, idOf(topic), rules), limit, cursor);
    const counts = page.topics.length === 0 ? [] : await placer.countSubscriptions(page.topics.map(({ key }) => key));
    const topics = page.topics.map((topic, index) => viewOf(topic, topic.key, counts?.[index]));
    return { topics, nextCursor: page.nextCursor };
  }

  async delete(caller: Caller, id: string): Promise<void> {
    const { topicId } = this.#managed(caller.principal, id);
    await this.#order(topicId, { case: "delete", value: true });
  }

  close(): void {
    this.#list.close();
  }

  #newTopicId(namespace: string | undefined, name: string): TopicId {
    const served = this.#options.config.httpTopicsNamespace;
    if (served === "") {
      throw new EarshotError("namespace_not_served", "this installation makes no Topics over HTTP and gRPC");
    }
    const problem = namespace === undefined ? undefined : namespaceProblem(namespace);
    if (problem !== undefined) throw new EarshotError("topic_name_invalid", problem, { field: "namespace" });
    if (namespace !== undefined && namespace !== served) {
      const message = `this installation makes Topics in the namespace ${served} only`;
      throw new EarshotError("namespace_not_served", message, { field: "namespace" });
    }
    const wrongName = nameProblem(name);
    if (wrongName !== undefined) throw new EarshotError("topic_name_invalid", wrongName, { field: "name" });
    return parsedTopicId(`${served}.${name}`);
  }

  #checkMayCreate(principal: Principal, topicId: TopicId): void {
    const { config, rules } = this.#options;
    const { httpTopicsCreate } = config;
    if (principal.kind === "anonymous") {
      if (httpTopicsCreate === "Anyone" && rules.anonymousAccess) return;
      throw new EarshotError("unauthenticated", "a token is needed to make a Topic");
    }
    if (principal.namespaces !== undefined && !principal.namespaces.includes(topicId.namespace)) {
      throw new EarshotError("forbidden", `your token's issuer may not speak for the namespace ${topicId.namespace}`);
    }
    if (httpTopicsCreate !== "Manage" || anyMatches(principal.capabilities.manage, topicId.id)) return;
    throw new EarshotError("forbidden", "making this Topic needs a manage capability that covers its id");
  }

  /** A Topic that the caller may change. Throws as authorize does, and forbidden for one that is a manifest. */
  #managed(principal: Principal, id: string): { topicId: TopicId; topic: Topic } {
    const granted = grant("manage", principal, id, this.#options);
    if (granted.topicId.channel !== undefined) {
      const message = "a channel has nothing of its own to change: name its Topic";
      throw new EarshotError("topic_id_invalid", message, { field: "topic_id" });
    }
    if (!granted.topic.httpManaged) {
      throw new EarshotError("forbidden", "this Topic is a manifest and is changed where its manifest is");
    }
    return granted;
  }

  /** Creates or updates; the Topic as the operator then has it. */
  async #mutate(
    topicId: TopicId,
    change: Change,
    updateMask?: { paths: string[] },
  ): Promise<{ topic: Topic; ready: boolean }> {
    const { topic, ready } = await this.#order(topicId, change, updateMask);
    const parsed = topic === undefined ? undefined : recordToTopic(topic);
    if (parsed?.ok === true) return { topic: parsed.value, ready };
    throw new EarshotError("control_plane_unavailable", "the operator answered what this process does not understand");
  }

  async #order(
    { namespace, name }: TopicId,
    change: Change,
    updateMask?: { paths: string[] },
  ): Promise<MutateTopicResponse> {
    const mask = updateMask === undefined ? {} : { updateMask: create(FieldMaskSchema, updateMask) };
    const request = create(MutateTopicRequestSchema, { namespace, name, change, ...mask });
    const response = await this.#options.fleet.mutateTopic(request);
    const { error } = response;
    if (error === undefined) return response;
    const code = isCode(error.code) ? error.code : "control_plane_unavailable";
    throw new EarshotError(code, error.message === "" ? undefined : error.message);
  }

  async #count(id: string): Promise<number | undefined> {
    const counts = await this.#options.placer.countSubscriptions([id]);
    return counts?.[0];
  }
}

function merged(policy: TopicPolicy, fields: TopicFields): TopicPolicy {
  return {
    ...policy,
    permissions: fields.permissions ?? policy.permissions,
    channels: fields.channels ?? policy.channels,
    presence: fields.presence ?? policy.presence,
    publishers: fields.publishers ?? policy.publishers,
    subscribers: fields.subscribers ?? policy.subscribers,
  };
}

function checkSubjects(fields: TopicFields): void {
  for (const field of ["publishers", "subscribers"] as const) {
    const subjects = fields[field] ?? [];
    if (subjects.length > SUBJECTS_MAX) {
      const message = `${field} has ${subjects.length} subjects, at most ${SUBJECTS_MAX} are allowed`;
      throw new EarshotError("invalid_request", message, { field });
    }
    for (const [index, subject] of subjects.entries()) checkSubject(`${field}[${index}]`, subject);
  }
}

/** As the CRD has it; here the wrong field can be named. */
function checkSubject(path: string, subject: Subject): void {
  if (subject.kind === "ChannelUser") return;
  if (Array.from(subject.name).length > SUBJECT_NAME_LENGTH_MAX) {
    const field = `${path}.name`;
    throw new EarshotError("invalid_request", `${field} has more than ${SUBJECT_NAME_LENGTH_MAX} characters`, {
      field,
    });
  }
  const problem = subject.kind === "ServiceAccount" ? namespaceProblem(subject.namespace) : undefined;
  if (problem === undefined) return;
  const field = `${path}.namespace`;
  throw new EarshotError("invalid_request", `${field} is wrong: ${problem}`, { field });
}

function idOf(topic: Topic): TopicId {
  const { key, namespace, name } = topic;
  return { id: key, topic: key, namespace, name, channel: undefined };
}

function viewOf(topic: Topic, topicId: string, subscriberCount: number | undefined): TopicView {
  const { permissions, channels, presence, owner } = topic.policy;
  const { name, createdAtMs } = topic;
  return { topicId, name, ownerId: owner, createdAtMs, permissions, channels, presence, subscriberCount };
}
