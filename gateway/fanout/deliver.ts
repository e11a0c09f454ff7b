// Owns: turning the records of a link's batch into flights, in order, and telling the router when all of them were handed
// on (BatchConfirm, receipts). Each record is decoded once. Elsewhere: who writes to whom (fan-out.ts).

import { fromBinary } from "@bufbuild/protobuf";
import type { Clock } from "#core/runtime/clock.ts";
import {
  type Eviction,
  EvictionSchema,
  type Record as LinkRecord,
  type RecordBatch,
  RecordKind,
  RecordSchema,
} from "#proto/earshot/internal/v1/link_pb.ts";
import type { FanOut } from "./fan-out.ts";
import { type Audience, Flight, type GrpcEncoder } from "./flight.ts";
import type { LocalTopic } from "./local-topic.ts";
import type { LocalTopics } from "./local-topics.ts";
import { ReceiptCount } from "./receipts.ts";
import type { Subscription } from "./subscription.ts";

/** What deliver needs of the link that a batch came over. */
interface BatchSource {
  readonly incarnation: string;
  /** Everything of the batch was handed on. Batches may end out of order. */
  batchDone(number: bigint): void;
  receipt(count: ReceiptCount): void;
}

interface DeliverOptions {
  readonly topics: LocalTopics;
  readonly fanOut: FanOut;
  readonly clock: Clock;
  readonly encodeGrpc: GrpcEncoder;
  /** Whether a router is the first alive of a topic's list, as this gateway sees it. */
  readonly isFirstAlive: (topic: LocalTopic, incarnation: string) => boolean;
  /** The subscription of a connection to a topic, if the connection is one of this gateway's. */
  readonly subscriptionOf: (connectionId: string, topicId: string) => Subscription | undefined;
  readonly metrics: DeliverMetrics;
  /** Ends the subscriptions that an eviction names; returns how many. */
  readonly evict: (topic: LocalTopic, eviction: Eviction) => number;
}

export interface DeliverMetrics {
  /** A batch came; its first record was sequenced so long ago, by the clocks of both machines. */
  linked(tookMs: number): void;
}

/** One batch under way: told when its last flight is done. */
interface Work {
  remaining: number;
  readonly done: () => void;
  /** Monotonic: when it came. */
  readonly nowMs: number;
  /** The wall clock minus the monotonic one, by which a router's stamp becomes a time of here. */
  readonly wallMs: number;
}

export class Deliver {
  readonly #options: DeliverOptions;

  constructor(options: DeliverOptions) {
    this.#options = options;
  }

  batch(source: BatchSource, batch: RecordBatch): void {
    const { clock, metrics } = this.#options;
    const nowMs = clock.monotonic();
    // One for the batch itself, so that it is not done before all of it was put.
    const work: Work = {
      remaining: 1,
      done: () => {
        work.remaining -= 1;
        if (work.remaining === 0) source.batchDone(batch.number);
      },
      nowMs,
      wallMs: clock.now() - nowMs,
    };
    let isFirst = true;
    for (const bytes of batch.records) {
      const record = fromBinary(RecordSchema, bytes);
      if (isFirst) metrics.linked(nowMs - sequencedAtMs(record, work));
      isFirst = false;
      this.#record(source, record, work);
    }
    work.done();
    this.#options.fanOut.run();
  }

  #record(source: BatchSource, record: LinkRecord, work: Work): void {
    const topic = this.#options.topics.get(record.topicId);
    const receipt = record.receiptId === 0n ? undefined : new ReceiptCount(record.receiptId);
    if (topic === undefined) {
      if (receipt !== undefined) source.receipt(receipt);
      return;
    }
    switch (record.kind) {
      case RecordKind.PRESENCE:
        this.#presence(source, topic, record, work);
        return;
      case RecordKind.EVICT:
        this.#evict(source, topic, record, receipt);
        return;
      case RecordKind.UNSPECIFIED:
        topic.hear(source.incarnation, Number(record.seq), work.nowMs);
        this.#message(source, topic, record, { work, receipt });
    }
  }

  #message(
    source: BatchSource,
    topic: LocalTopic,
    record: LinkRecord,
    { work, receipt }: { work: Work; receipt: ReceiptCount | undefined },
  ): void {
    const skipped = this.#skipped(record);
    if (skipped === undefined && receipt === undefined) {
      const last = topic.items.at(-1);
      if (last?.kind === "flight" && last.flight.takes(record.envelope)) {
        last.flight.add(record.envelope);
        this.#options.fanOut.queuedBytes += record.envelope.length;
        this.#follow(last.flight, work);
        return;
      }
    }
    const flight = this.#fly(topic, record.envelope, { audience: "all", skipped, receipt, work });
    flight.arrivedAtMs = work.nowMs;
    flight.sequencedAtMs = sequencedAtMs(record, work);
    if (receipt === undefined) return;
    flight.done.push(() => source.receipt(receipt));
  }

  #presence(source: BatchSource, topic: LocalTopic, record: LinkRecord, work: Work): void {
    // Counts come from every router of the list; lists of members from the one that sequenced the change.
    const counts = topic.topic.policy.presence !== "Members";
    if (counts && !this.#options.isFirstAlive(topic, source.incarnation)) return;
    if (topic.presenceInterested === 0) return;
    this.#fly(topic, record.envelope, { audience: "presence", skipped: undefined, receipt: undefined, work });
  }

  #evict(source: BatchSource, topic: LocalTopic, record: LinkRecord, receipt: ReceiptCount | undefined): void {
    const eviction = fromBinary(EvictionSchema, record.envelope);
    this.#options.fanOut.inTurn(topic, () => {
      const ended = this.#options.evict(topic, eviction);
      if (receipt === undefined) return;
      receipt.written = ended;
      source.receipt(receipt);
    });
  }

  #fly(
    topic: LocalTopic,
    envelope: Uint8Array,
    rest: {
      audience: Audience;
      skipped: readonly Subscription[] | undefined;
      receipt: ReceiptCount | undefined;
      work: Work;
    },
  ): Flight {
    const flight = new Flight(this.#options.encodeGrpc, rest.audience, rest.skipped, rest.receipt);
    flight.add(envelope);
    this.#follow(flight, rest.work);
    this.#options.fanOut.put(topic, flight);
    return flight;
  }

  /** The batch is done only after the flight; a flight may hold messages of several batches. */
  #follow(flight: Flight, work: Work): void {
    if (flight.done.at(-1) === work.done) return;
    work.remaining += 1;
    flight.done.push(work.done);
  }

  /** Those subscribed here who shall not hear a record; undefined for nearly every one. */
  #skipped(record: LinkRecord): readonly Subscription[] | undefined {
    const { originConnectionId: origin, excludeConnectionId: excluded, topicId } = record;
    if (origin === "" && excluded === "") return undefined;
    const skipped: Subscription[] = [];
    const speaker = origin === "" ? undefined : this.#options.subscriptionOf(origin, topicId);
    if (speaker !== undefined && !speaker.echo) skipped.push(speaker);
    const shut = excluded === "" ? undefined : this.#options.subscriptionOf(excluded, topicId);
    if (shut !== undefined) skipped.push(shut);
    return skipped.length === 0 ? undefined : skipped;
  }
}

/** When a router sequenced a record, on this process's monotonic clock; later than now where the clocks differ. */
function sequencedAtMs({ routerTimeMs }: LinkRecord, { wallMs }: Work): number {
  return Number(routerTimeMs) - wallMs;
}
