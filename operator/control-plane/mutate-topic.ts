// Owns: Topics made, changed and deleted over HTTP and gRPC, on the operator's side: the edge has judged the caller's
// rights; here the namespace, the schema and what is stored decide. Answers when every connected gateway has it, or after
// 100 ms.

import { create } from "@bufbuild/protobuf";
import type { TopicPolicy } from "#core/domain/topic.ts";
import { type Parsed, policyChangeFromProto, policyFromProto, topicToRecord } from "#core/fleet/topic-codec.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import {
  type MutateTopicRequest,
  type MutateTopicResponse,
  MutateTopicResponseSchema,
  type TopicPolicy as ProtoTopicPolicy,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { OperatorMetrics } from "../metrics.ts";
import type { ObjectName } from "../schema/metadata.ts";
import type { Leadership } from "../platform/platform.ts";
import type { TopicStore } from "../stores/topic-store.ts";
import type { Catalog, TopicChange } from "./catalog.ts";
import type { Progress } from "./progress.ts";
import type { SyncServer } from "./sync-server.ts";

export interface TopicMutatorOptions {
  readonly store: TopicStore;
  readonly catalog: Catalog;
  readonly server: Pick<SyncServer, "onAnswered">;
  readonly progress: Progress;
  readonly leadership: Leadership;
  /** Empty: Topics are not made over HTTP. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
}

/** Milliseconds that an answer waits for gateways (design: "usable at every gateway"). */
const READY_WAIT_MS = 100;

export class TopicMutator {
  readonly #options: TopicMutatorOptions;
  readonly #waiting = new Set<() => void>();

  constructor(options: TopicMutatorOptions) {
    this.#options = options;
    options.server.onAnswered(() => {
      for (const look of this.#waiting) look();
    });
  }

  /** The handler of ControlPlaneService.MutateTopic. */
  async mutate(request: MutateTopicRequest): Promise<MutateTopicResponse> {
    const { log, metrics, catalog } = this.#options;
    // Not an answer but a refused call: whoever asked tries the next operator (core/fleet/mutate-topic.ts).
    this.#checkLeads();
    try {
      const key = await this.#change(request);
      const { version, revision } = catalog.entries.get(key)?.change ?? catalog;
      const ready = await this.#appliedEverywhere({ version, revision });
      const entry = catalog.entries.get(key);
      metrics.event(EVENTS[request.change.case ?? "delete"]);
      log.info({ topic: key, change: request.change.case, ready }, "topic changed over HTTP or gRPC");
      return create(MutateTopicResponseSchema, {
        ready,
        ...(entry === undefined ? {} : { topic: topicToRecord(entry.topic) }),
      });
    } catch (error) {
      if (!(error instanceof EarshotError)) throw error;
      metrics.event("topic_change_refused");
      const { code, message, retryable } = error;
      return create(MutateTopicResponseSchema, { error: { code, message, retryable } });
    }
  }

  async #change({ namespace, name, change, updateMask }: MutateTopicRequest): Promise<string> {
    const { store } = this.#options;
    const object: ObjectName = { namespace, name };
    this.#checkNamespace(namespace);
    switch (change.case) {
      case "create":
        return (await store.create(object, parsePolicy(change.value))).key;
      case "update":
        return (await store.update(object, parseChange(change.value, updateMask?.paths))).key;
      case "delete":
        await store.delete(object);
        return `${namespace}.${name}`;
      case undefined:
        throw new EarshotError("invalid_request", "change must be create, update or delete");
    }
  }

  #checkLeads(): void {
    if (this.#options.leadership.leading) return;
    throw new EarshotError("control_plane_unavailable", "this operator does not lead; another one does");
  }

  #checkNamespace(namespace: string): void {
    const served = this.#options.namespace;
    if (served === "") {
      throw new EarshotError("namespace_not_served", "this installation makes no Topics over HTTP or gRPC");
    }
    if (namespace !== served) {
      const message = `this installation makes Topics in the namespace ${served} alone, not in ${JSON.stringify(namespace)}`;
      throw new EarshotError("namespace_not_served", message, { field: "namespace" });
    }
  }

  /** Resolves true when every connected gateway has the change, false when the wait is over. */
  #appliedEverywhere(change: TopicChange): Promise<boolean> {
    if (this.#isApplied(change)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (isReady: boolean): void => {
        this.#waiting.delete(look);
        timer.cancel();
        resolve(isReady);
      };
      const look = (): void => {
        if (this.#isApplied(change)) finish(true);
      };
      const timer = this.#options.clock.after(READY_WAIT_MS, () => finish(false));
      this.#waiting.add(look);
    });
  }

  #isApplied(change: TopicChange): boolean {
    // One that is only starting gets the change with its first list, before it serves anybody.
    return this.#options.progress
      .holders()
      .every((holder) => holder.role !== "gateway" || holder.has(change) || (!holder.hasList && !holder.ready));
  }
}

const EVENTS = { create: "topic_created", update: "topic_updated", delete: "topic_deleted" } as const;

function parsePolicy(proto: ProtoTopicPolicy): TopicPolicy {
  return valueOf(policyFromProto(proto));
}

/** Without a mask the whole policy. */
function parseChange(proto: ProtoTopicPolicy, paths: readonly string[] | undefined): Partial<TopicPolicy> {
  return paths === undefined ? parsePolicy(proto) : valueOf(policyChangeFromProto(proto, paths));
}

function valueOf<T>(parsed: Parsed<T>): T {
  if (parsed.ok) return parsed.value;
  throw new EarshotError("invalid_request", parsed.reason);
}
