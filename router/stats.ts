// Owns: this router's counters, as plain numbers that hot paths add to, and their face as Prometheus metrics, which are
// read only when somebody asks. No metric carries a topic, channel or user.

import { Counter, Histogram, type Registry, readGauge } from "#core/runtime/metrics.ts";

/** Why a message, or one link's copy of it, went nowhere. */
export type DropCause = "no_subscribers" | "backpressure" | "rate_limited" | "link_overflow";

export class RouterStats {
  /** Messages sequenced, whether or not somebody had interest. */
  messages = 0;
  /** Bytes of their payloads. */
  messageBytes = 0;
  /** Records handed to links: one for each message and interested link. */
  fanoutRecords = 0;
  presenceFrames = 0;
  /** Receipts answered without every gateway's count. */
  receiptsLate = 0;
  /** Publishes refused because this router is not in the shard's list, or too cold to answer 0. */
  wrongRouter = 0;
  readonly dropped: Record<DropCause, number> = {
    no_subscribers: 0,
    backpressure: 0,
    rate_limited: 0,
    link_overflow: 0,
  };
}

/** What is read from state that others keep. */
export interface RouterGauges {
  readonly links: () => number;
  readonly interests: () => number;
  readonly subscriptions: () => number;
  readonly undrainedBytes: () => number;
  readonly hotTopics: () => number;
  readonly epoch: () => number;
  readonly pendingReceipts: () => number;
  readonly publishStreams: () => number;
}

export function registerStats(registry: Registry, stats: RouterStats, gauges: RouterGauges): void {
  const count = (name: string, help: string, read: () => number): void => {
    readCounter(registry, `earshot_router_${name}`, help, read);
  };
  count("messages_total", "Messages sequenced.", () => stats.messages);
  count("message_bytes_total", "Bytes of the payloads of messages sequenced.", () => stats.messageBytes);
  count("fanout_records_total", "Records handed to links.", () => stats.fanoutRecords);
  count("presence_frames_total", "Presence frames built.", () => stats.presenceFrames);
  count("receipts_late_total", "Receipts answered without every gateway's count.", () => stats.receiptsLate);
  count("wrong_router_total", "Publishes refused unhandled, for another router of the list.", () => stats.wrongRouter);
  const dropped: Counter = new Counter({
    name: "earshot_router_dropped_total",
    help: "Messages (link_overflow: records of one link) that went nowhere, by reason.",
    labelNames: ["reason"],
    registers: [registry],
    collect: () => {
      dropped.reset();
      for (const [reason, value] of Object.entries(stats.dropped)) dropped.inc({ reason }, value);
    },
  });
  const gauge = (name: string, help: string, read: () => number): void => {
    readGauge(registry, `earshot_router_${name}`, help, read);
  };
  gauge("links", "Gateways with a live link.", gauges.links);
  gauge("interests", "Topic ids remembered, also those whose last subscriber just left.", gauges.interests);
  gauge("subscriptions", "Subscriptions of all gateways, as this router counts them.", gauges.subscriptions);
  gauge("undrained_bytes", "Bytes that gateways have not confirmed, queued or sent.", gauges.undrainedBytes);
  gauge("hot_topics", "Topic ids at or above the hot threshold of which this router is primary.", gauges.hotTopics);
  gauge("epoch", "Epoch of the shard map in force here.", gauges.epoch);
  gauge("pending_receipts", "Publishes that wait for gateways' counts.", gauges.pendingReceipts);
  gauge("publish_streams", "Publish streams of edges.", gauges.publishStreams);
}

/** Records a batch: 1 at low load, hundreds at high load. */
export function batchHistogram(registry: Registry): Histogram {
  return new Histogram({
    name: "earshot_router_batch_records",
    help: "Records in one batch of a link.",
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
    registers: [registry],
  });
}

function readCounter(registry: Registry, name: string, help: string, read: () => number): void {
  const counter: Counter = new Counter({
    name,
    help,
    registers: [registry],
    collect: () => {
      counter.reset();
      counter.inc(read());
    },
  });
}
