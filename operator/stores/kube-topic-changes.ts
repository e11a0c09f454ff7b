// Owns: making, changing and deleting Topics over HTTP and gRPC in Kubernetes: one call of the API each, whose refusal is
// told in our codes. The API server decides what is there and what the quota is; what it cannot name as well is judged here
// first, by the same schema.

import { isDeepStrictEqual } from "node:util";
import type { TopicPolicy } from "#core/domain/topic.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { type KubeApi, KubeError } from "../kube/api.ts";
import { policyToSpec, TOPIC_API_VERSION, TOPIC_KIND } from "../schema/judge.ts";
import type { ObjectName } from "../schema/metadata.ts";
import { judgeChange } from "./judge-change.ts";
import { MADE_OVER_HTTP, specPatch, type TopicObject, topicsPath } from "./topic-object.ts";
import type { StoredTopic } from "./topic-store.ts";

export interface KubeTopicChangesOptions {
  readonly api: Pick<KubeApi, "call">;
  /** Topics made over HTTP that there may be, and that there are. */
  readonly max: number;
  readonly count: () => number;
  readonly inForce: (key: string) => StoredTopic | undefined;
  /** Takes what was written into force, before the watch tells of it. */
  readonly took: (object: TopicObject) => void;
  readonly untilGone: (key: string) => Promise<void>;
}

/** Milliseconds of a write: whoever asked waits 3 s for an answer. */
const CALL_MS = 2_500;

export class KubeTopicChanges {
  readonly #options: KubeTopicChangesOptions;
  /** Topics that are being made: they count already. */
  #creating = 0;

  constructor(options: KubeTopicChangesOptions) {
    this.#options = options;
  }

  async create(name: ObjectName, policy: TopicPolicy): Promise<StoredTopic> {
    const { max, count } = this.#options;
    const { key } = judgeChange(name, policy, undefined);
    if (this.#options.inForce(key) !== undefined) throw existsError(key);
    if (count() + this.#creating >= max) {
      throw new EarshotError("quota_exceeded", `there are ${max} Topics made over HTTP, and no more may be`);
    }
    this.#creating += 1;
    try {
      const body = {
        apiVersion: TOPIC_API_VERSION,
        kind: TOPIC_KIND,
        metadata: { ...name, labels: { [MADE_OVER_HTTP.label]: MADE_OVER_HTTP.value } },
        spec: policyToSpec(policy),
      };
      return this.#took(key, await this.#call("POST", topicsPath(name.namespace), { key, body }));
    } finally {
      this.#creating -= 1;
    }
  }

  async update(name: ObjectName, changes: Partial<TopicPolicy>): Promise<StoredTopic> {
    const before = this.#changeable(name);
    const policy = { ...before.policy, ...changes };
    judgeChange(name, policy, before.policy);
    if (isDeepStrictEqual(before.policy, policy)) return before;
    const { key } = before;
    // Only what was asked to change: of two changes at once neither is lost.
    const body = { spec: specPatch(changes) };
    const path = `${topicsPath(name.namespace)}/${name.name}`;
    return this.#took(key, await this.#call("PATCH", path, { key, body, contentType: "application/merge-patch+json" }));
  }

  async delete(name: ObjectName): Promise<void> {
    const { key } = this.#changeable(name);
    await this.#call("DELETE", `${topicsPath(name.namespace)}/${name.name}`, { key });
    await this.#options.untilGone(key);
  }

  #took(key: string, object: TopicObject): StoredTopic {
    this.#options.took(object);
    const topic = this.#options.inForce(key);
    if (topic === undefined) throw new EarshotError("topic_not_found", `Topic ${key} is gone`);
    return topic;
  }

  #changeable({ namespace, name }: ObjectName): StoredTopic {
    const key = `${namespace}.${name}`;
    const topic = this.#options.inForce(key);
    if (topic === undefined) throw new EarshotError("topic_not_found");
    if (!topic.httpManaged) {
      throw new EarshotError("forbidden", `Topic ${key} was made with kubectl, and is changed there alone`);
    }
    return topic;
  }

  async #call(
    verb: "POST" | "PATCH" | "DELETE",
    path: string,
    { key, ...options }: { key: string; body?: unknown; contentType?: string },
  ): Promise<TopicObject> {
    try {
      return await this.#options.api.call<TopicObject>(verb, path, { ...options, timeoutMs: CALL_MS });
    } catch (error) {
      throw error instanceof KubeError ? toEarshotError(error, key) : error;
    }
  }
}

/** What the API server refused, in our codes. */
function toEarshotError(error: KubeError, key: string): EarshotError {
  const { status, message } = error;
  if (status === 409 && error.reason === "AlreadyExists") return existsError(key);
  if (status === 404) return new EarshotError("topic_not_found", `Topic ${key} is not there`, { cause: error });
  // kube-apiserver's quota admission: 403 Forbidden, "exceeded quota: ...".
  if (status === 403 && message.includes("exceeded quota")) {
    return new EarshotError("quota_exceeded", "the namespace's ResourceQuota of Topics is used up", { cause: error });
  }
  if (status === 422 || status === 400) return new EarshotError("invalid_request", message, { cause: error });
  const why = status === 403 ? "the operator may not do this" : "the Kubernetes API did not take it";
  return new EarshotError("control_plane_unavailable", `${why}; try again later`, { cause: error });
}

function existsError(key: string): EarshotError {
  return new EarshotError("topic_exists", `Topic ${key} is there already`);
}
