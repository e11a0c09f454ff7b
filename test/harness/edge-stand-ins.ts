// Owns: an edge in the test's own process: a fleet that knows the Topics a test gives it and changes them as an
// operator would, and a placer that keeps what it was handed. For tests of core/edge alone; whole paths are tested with
// real processes (fleet.ts).

import { create } from "@bufbuild/protobuf";
import { createEdge, type EdgeConfig } from "#core/edge/create-edge.ts";
import type { Caller, Edge } from "#core/edge/edge.ts";
import type { EdgePlacer } from "#core/edge/publish.ts";
import type { Principal } from "#core/domain/principal.ts";
import { EMPTY_SHARD_MAP } from "#core/domain/shard-map.ts";
import { POLICY_DEFAULTS, type Topic, type TopicPolicy } from "#core/domain/topic.ts";
import type { Fleet, TopicChange } from "#core/fleet/fleet.ts";
import type { PublishOrder, PublishResult } from "#core/fleet/publish-order.ts";
import { policyFromProto, topicToRecord } from "#core/fleet/topic-codec.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import {
  type MutateTopicRequest,
  type MutateTopicResponse,
  MutateTopicResponseSchema,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { HandClock } from "./hand-clock.ts";

export class FleetStandIn implements Fleet {
  readonly topics = new Map<string, Topic>();
  readonly map = EMPTY_SHARD_MAP;
  readonly members = [];
  readonly synced = true;
  largestMessageBytes = 65_536;
  operatorConnected = true;
  /** What the operator refuses next. */
  refuse: { code: string; message: string } | undefined;
  /** What the operator was asked last. */
  lastMutation: MutateTopicRequest | undefined;
  readonly #listeners = new Set<(change: TopicChange) => void>();

  topic(key: string): Topic | undefined {
    return this.topics.get(key);
  }

  /** A Topic as a manifest makes it. */
  add(key: string, policy: Partial<TopicPolicy> = {}, httpManaged = false): Topic {
    const dot = key.indexOf(".");
    const topic: Topic = {
      key,
      namespace: key.slice(0, dot),
      name: key.slice(dot + 1),
      createdAtMs: 1_767_225_600_000,
      policy: { ...POLICY_DEFAULTS, ...policy },
      httpManaged,
    };
    this.#set(key, topic);
    return topic;
  }

  remove(key: string): void {
    this.#set(key, undefined);
  }

  onTopic(listener: (change: TopicChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onMap(): () => void {
    return () => {};
  }

  onMembers(): () => void {
    return () => {};
  }

  async mutateTopic(request: MutateTopicRequest): Promise<MutateTopicResponse> {
    this.lastMutation = request;
    if (!this.operatorConnected) throw new EarshotError("control_plane_unavailable");
    if (this.refuse !== undefined) {
      const error = { ...this.refuse, retryable: false };
      return create(MutateTopicResponseSchema, { error });
    }
    const key = `${request.namespace}.${request.name}`;
    if (request.change.case === "delete") {
      this.#set(key, undefined);
      return create(MutateTopicResponseSchema, { ready: true });
    }
    const policy = request.change.case === undefined ? undefined : policyFromProto(request.change.value);
    if (policy?.ok !== true) throw new Error(policy?.reason ?? "no change");
    return create(MutateTopicResponseSchema, { topic: topicToRecord(this.add(key, policy.value, true)), ready: true });
  }

  #set(key: string, after: Topic | undefined): void {
    const before = this.topics.get(key);
    if (after === undefined) this.topics.delete(key);
    else this.topics.set(key, after);
    for (const listener of this.#listeners) listener({ key, before, after });
  }
}

export const DELIVERED: PublishResult = {
  messageId: "r1-1",
  deliveredTo: 3,
  exact: false,
  dropped: false,
  reason: undefined,
  notDelivered: {},
};

export class PlacerStandIn implements EdgePlacer {
  readonly orders: PublishOrder[] = [];
  counts: (topicId: string) => number | undefined = () => 0;
  answer: (order: PublishOrder) => Promise<PublishResult> = async () => DELIVERED;

  place(order: PublishOrder): Promise<PublishResult> {
    this.orders.push(order);
    return this.answer(order);
  }

  async countSubscriptions(topicIds: readonly string[]): Promise<readonly (number | undefined)[]> {
    return topicIds.map((id) => this.counts(id));
  }

  /** The text of every payload, in order. */
  get payloads(): string[] {
    return this.orders.map((order) => (order.kind === "message" ? Buffer.from(order.payload).toString("utf8") : ""));
  }
}

export interface TestEdge {
  readonly edge: Edge & Component;
  readonly fleet: FleetStandIn;
  readonly placer: PlacerStandIn;
  readonly clock: HandClock;
  readonly registry: Registry;
}

export const EDGE_SECRET = "the secret of an edge under test, long enough";

const CONFIG: EdgeConfig = {
  secret: EDGE_SECRET,
  shutOut: [],
  issuers: [],
  audience: "earshot",
  anonymous: true,
  httpTopicsNamespace: "default",
  httpTopicsCreate: "Anyone",
  requestsPerSecondPerPrincipal: 1_000,
  requestsPerSecondPerAddress: 5_000,
};

/** An edge whose clock moves by hand: sign tokens for it with claims relative to `clock.now()`. */
export function testEdge(config: Partial<EdgeConfig> = {}): TestEdge {
  const fleet = new FleetStandIn();
  const placer = new PlacerStandIn();
  const clock = new HandClock();
  const registry = new Registry();
  const log = createLog("silent", {});
  const edge = createEdge({ config: { ...CONFIG, ...config }, fleet, placer, log, registry, clock });
  return { edge, fleet, placer, clock, registry };
}

/** Somebody who calls. */
export function callerOf(principal: Principal, address = "10.0.0.1", connectionId = "c1"): Caller {
  return { principal, address, connectionId, door: "http" };
}
