// Owns: RouterService at the router: publish streams of edges, and the questions that edges and other routers ask. Whoever
// asks about a topic of which this router holds nothing by its own map is refused, never told a wrong 0.

import { create, toBinary } from "@bufbuild/protobuf";
import { shardOf } from "#core/domain/shard.ts";
import { PUBLISH_PROTOCOL_VERSION } from "#core/fleet/protocols.ts";
import type { PublishOrder } from "#core/fleet/publish-order.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { type Handlers, toStatus } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { ProcessSelf } from "#core/runtime/process.ts";
import {
  AdmitChannelResponseSchema,
  CountSubscriptionsResponseSchema,
  type DescribeTopicResponse,
  DescribeTopicResponseSchema,
  type PublisherFrame,
  type RouterService,
  SequencerFrameSchema,
} from "#proto/earshot/internal/v1/router_pb.ts";
import type { ChannelAdmission } from "../channel-admission.ts";
import type { InterestTable } from "../interest.ts";
import type { Link } from "../links/link.ts";
import type { Placement } from "../placement.ts";
import type { Drops } from "../sequencer/drops.ts";
import type { Sequenced } from "../sequencer/sequencer.ts";
import type { RouterStats } from "../stats.ts";
import { type PublishCall, SequencerStream } from "./sequencer-stream.ts";

export interface PublishServiceOptions {
  readonly self: ProcessSelf;
  readonly clock: Clock;
  readonly sequence: (order: PublishOrder) => Sequenced | Promise<Sequenced>;
  readonly table: InterestTable<Link>;
  readonly placement: Placement;
  readonly drops: Drops;
  readonly admission: Pick<ChannelAdmission, "answer">;
  readonly stats: Pick<RouterStats, "streamsRefused">;
}

/** Publish streams at once: one of every edge process. */
export const PUBLISH_STREAMS_MAX = 8_192;

/** Topic ids in one question for counts. */
const COUNTED_IDS_MAX = 1_000;

export class PublishService implements Component {
  readonly handlers: Handlers<typeof RouterService>;
  readonly #options: PublishServiceOptions;
  readonly #hello: Uint8Array;
  readonly #streams = new Set<SequencerStream>();
  #activeAtMs: number;
  #draining = false;
  #closed = false;

  constructor(options: PublishServiceOptions) {
    this.#options = options;
    this.#activeAtMs = options.clock.monotonic();
    const { incarnation, name } = options.self;
    const frame = create(SequencerFrameSchema, {
      frame: { case: "hello", value: { protocolVersion: PUBLISH_PROTOCOL_VERSION, incarnation, name } },
    });
    this.#hello = toBinary(SequencerFrameSchema, frame);
    this.handlers = {
      publishStream: (call) => this.#open(call),
      describeTopic: async ({ topicId }) => this.#describe(topicId),
      countSubscriptions: async ({ topicIds }) => this.#count(topicIds),
      admitChannel: async (request) =>
        create(AdmitChannelResponseSchema, { admitted: options.admission.answer(request) }),
    };
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Answers that wait to be written. */
  get outcomes(): number {
    let outcomes = 0;
    for (const stream of this.#streams) outcomes += stream.outcomes;
    return outcomes;
  }

  /** Milliseconds since the last publish came; 0 while one is unanswered. */
  idleMs(nowMs: number): number {
    for (const stream of this.#streams) if (!stream.idle) return 0;
    return nowMs - this.#activeAtMs;
  }

  announceDraining(): void {
    this.#draining = true;
    for (const stream of this.#streams) stream.announceDraining();
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
    return Promise.resolve();
  }

  #open(call: PublishCall): void {
    call.on("error", () => undefined);
    if (this.#closed || this.#streams.size >= PUBLISH_STREAMS_MAX) {
      this.#options.stats.streamsRefused.publish += 1;
      call.emit("error", toStatus(new EarshotError("overloaded", "this router takes no more publish streams")));
      return;
    }
    const { clock, sequence } = this.#options;
    const over = (): void => {
      stream.close();
      this.#streams.delete(stream);
    };
    const stream = new SequencerStream({
      call,
      clock,
      sequence,
      dead: over,
      active: () => {
        this.#activeAtMs = clock.monotonic();
      },
    });
    this.#streams.add(stream);
    call.on("cancelled", over);
    call.on("end", over);
    call.on("data", ({ frame }: PublisherFrame) => {
      if (!stream.open) return;
      stream.heard();
      if (frame.case === "batch") stream.take(frame.value);
      else if (frame.case === "hello") this.#greet(stream);
    });
  }

  #greet(stream: SequencerStream): void {
    stream.send(this.#hello);
    if (this.#draining) stream.announceDraining();
  }

  #describe(topicId: string): DescribeTopicResponse {
    this.#requireListed(topicId);
    const { table, placement, drops } = this.#options;
    const entry = table.get(topicId);
    const gateways = (entry?.links ?? []).map(({ gateway }, index) => ({
      gatewayName: gateway.name,
      gatewayIncarnation: gateway.incarnation,
      subscriptions: entry?.counts[index] ?? 0,
    }));
    return create(DescribeTopicResponseSchema, {
      shard: shardOf(topicId),
      epoch: BigInt(placement.map.epoch),
      gateways,
      lastDrops: drops.of(topicId).map(({ atMs, reason, count }) => ({
        atMs: BigInt(atMs),
        reason,
        count: BigInt(count),
      })),
      seq: BigInt(table.seqOf(topicId)),
    });
  }

  #count(topicIds: readonly string[]) {
    if (topicIds.length > COUNTED_IDS_MAX) {
      throw new EarshotError("invalid_request", `topic_ids has at most ${COUNTED_IDS_MAX} entries`, {
        field: "topic_ids",
      });
    }
    for (const topicId of topicIds) this.#requireListed(topicId);
    const counts = topicIds.map((topicId) => BigInt(this.#options.table.get(topicId)?.total ?? 0));
    return create(CountSubscriptionsResponseSchema, { counts });
  }

  #requireListed(topicId: string): void {
    if (this.#options.placement.part(topicId) !== "none") return;
    throw new EarshotError("shard_unavailable", "this router does not carry that topic");
  }
}
