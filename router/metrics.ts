// Owns: what this router's counters and state look like as Prometheus metrics (earshot_router_*). They are read only when
// somebody asks. No metric carries a topic, channel or user. Elsewhere: the counting (stats.ts).

import { LINK_UNDRAINED_BYTES_MAX } from "#core/domain/limits.ts";
import { RELAY_STREAMS_MAX, type SyncRelay } from "#core/fleet/sync-relay.ts";
import { type Durations, durations } from "#core/runtime/durations.ts";
import { Histogram, type Registry, readCounter, readCounters, readGauge, readGauges } from "#core/runtime/metrics.ts";
import type { LinkState } from "./links/link.ts";
import { LINKS_MAX } from "./links/link-service.ts";
import { RECEIPTS_MAX } from "./links/receipts.ts";
import { PUBLISH_STREAMS_MAX } from "./publish/publish-service.ts";
import { OUTCOMES_MAX } from "./publish/sequencer-stream.ts";
import { ALL_HELD_BYTES_MAX } from "./sequencer/batch-windows.ts";
import type { RouterStats } from "./stats.ts";

/** What is read from state that others keep. */
export interface RouterGauges {
  readonly links: () => Readonly<Record<LinkState, number>>;
  /** Milliseconds since the quietest gateway was heard; 0: there is none. */
  readonly linkSilenceMs: () => number;
  readonly interests: () => number;
  readonly subscriptions: () => number;
  readonly undrainedBytes: () => number;
  readonly hotTopics: () => number;
  readonly warm: () => boolean;
  readonly shards: () => Readonly<Record<"primary" | "standby", number>>;
  readonly pendingReceipts: () => number;
  readonly publishStreams: () => number;
  readonly outcomes: () => number;
  readonly interestBatches: () => number;
  readonly heldTopics: () => number;
  readonly heldBytes: () => number;
  readonly presenceDue: () => number;
  readonly heldAnswers: () => number;
  /** Entries of tables that remember for a while. */
  readonly remembered: () => Readonly<Record<"spoken" | "dropped" | "rate_limited" | "channels_told", number>>;
}

/** What happens too often to be looked at later. */
export interface RouterMeasures {
  /** From a record's being sequenced to its batch's being written to a link. */
  readonly batchWait: Durations;
  /** From a record's being sequenced to its gateway's confirm. */
  readonly handedOn: Durations;
  /** Records in one batch: 1 at low load, hundreds at high load. */
  readonly batchRecords: Histogram;
}

export function registerRouter(registry: Registry, stats: RouterStats, gauges: RouterGauges): void {
  registerCounters(registry, stats);
  registerState(registry, gauges);
  registerQueues(registry, gauges);
}

export function routerMeasures(registry: Registry): RouterMeasures {
  return {
    batchWait: durations(
      registry,
      "earshot_router_batch_wait_seconds",
      "From a record's being sequenced to its batch's being written to a link, of each batch's oldest; a Topic's batch window is in it.",
    ),
    handedOn: durations(
      registry,
      "earshot_router_handed_on_seconds",
      "From a record's being sequenced to its gateway's word that every subscriber's socket has it, of each batch's oldest; one clock.",
    ),
    batchRecords: new Histogram({
      name: "earshot_router_batch_records",
      help: "Records in one batch of a link.",
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
      registers: [registry],
    }),
  };
}

/** What this router serves to processes that start while no operator answers. */
export function registerRelay(registry: Registry, relay: Pick<SyncRelay, "size" | "refused">): void {
  const streams = `Sync streams of processes that started without an operator, ${RELAY_STREAMS_MAX} at most.`;
  readGauge(registry, "earshot_router_sync_streams", streams, () => relay.size);
  const refused = "Sync streams refused: too many, or this router has no complete state itself.";
  readCounter(registry, "earshot_router_sync_streams_refused_total", refused, () => relay.refused);
}

function registerCounters(registry: Registry, stats: RouterStats): void {
  const count = (name: string, help: string, read: () => number): void => {
    readCounter(registry, `earshot_router_${name}`, help, read);
  };
  count("messages_total", "Messages sequenced.", () => stats.messages);
  count("message_bytes_total", "Bytes of the payloads of messages sequenced.", () => stats.messageBytes);
  count("fanout_records_total", "Records handed to links.", () => stats.fanoutRecords);
  count("presence_frames_total", "Presence frames built.", () => stats.presenceFrames);
  count("receipts_late_total", "Receipts answered without every gateway's count.", () => stats.receiptsLate);
  count("wrong_router_total", "Publishes refused unhandled, for another router of the list.", () => stats.wrongRouter);
  const count1 = (name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void => {
    readCounters(registry, { name: `earshot_router_${name}`, help, label }, read);
  };
  const dropped = "Messages (link_overflow: records of one link) that went nowhere, by reason.";
  count1("dropped_total", dropped, "reason", () => stats.dropped);
  count1("links_ended_total", "Links to gateways that ended, by reason.", "reason", () => stats.linksEnded);
  const refused = "Streams refused because there were too many, by what they were for.";
  count1("streams_refused_total", refused, "kind", () => stats.streamsRefused);
}

function registerState(registry: Registry, gauges: RouterGauges): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    readGauge(registry, `earshot_router_${name}`, help, read);
  };
  const links = {
    name: "earshot_router_links",
    help: `Links to gateways, ${LINKS_MAX} at most, by state: registering (its interest is still coming), complete.`,
    label: "state",
  };
  readGauges(registry, links, gauges.links);
  const silence = "Time since the quietest gateway was heard; each beats once a second and its link is dead after 3.";
  gauge("link_silence_seconds", silence, () => gauges.linkSilenceMs() / 1_000);
  gauge("interests", "Topic ids remembered, also those whose last subscriber just left.", gauges.interests);
  gauge("subscriptions", "Subscriptions of all gateways, as this router counts them.", gauges.subscriptions);
  gauge("hot_topics", "Topic ids at or above the hot threshold of which this router is primary.", gauges.hotTopics);
  const warm = "1 when this router knows the interest of every gateway and may answer that nobody listens, else 0.";
  gauge("warm", warm, () => (gauges.warm() ? 1 : 0));
  const shards = {
    name: "earshot_router_shards",
    help: "Shards of which this router is in the list, by its place there.",
    label: "place",
  };
  readGauges(registry, shards, gauges.shards);
}

function registerQueues(registry: Registry, gauges: RouterGauges): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    readGauge(registry, `earshot_router_${name}`, help, read);
  };
  const undrained = `Bytes that gateways have not confirmed, queued or sent; ${LINK_UNDRAINED_BYTES_MAX} a link at most.`;
  gauge("undrained_bytes", undrained, gauges.undrainedBytes);
  gauge(
    "pending_receipts",
    `Publishes that wait for gateways' counts, ${RECEIPTS_MAX} at most.`,
    gauges.pendingReceipts,
  );
  gauge("publish_streams", `Publish streams of edges, ${PUBLISH_STREAMS_MAX} at most.`, gauges.publishStreams);
  const outcomes = `Answers that wait to be written to edges; at ${OUTCOMES_MAX} of one stream its publishes are not read.`;
  gauge("outcomes_waiting", outcomes, gauges.outcomes);
  const batches = "Batches of interest that came from gateways and are not answered.";
  gauge("interest_batches_waiting", batches, gauges.interestBatches);
  gauge("held_topics", "Topic ids whose messages wait for their batch window to end.", gauges.heldTopics);
  const held = `Bytes that wait for a batch window's end, ${ALL_HELD_BYTES_MAX} at most; beyond, the oldest windows end early.`;
  gauge("held_bytes", held, gauges.heldBytes);
  gauge("presence_frames_due", "Topic ids with a presence frame to be built.", gauges.presenceDue);
  const answers = "Answers of this leaving router that wait until gateways have handed on what they are about.";
  gauge("answers_held", answers, gauges.heldAnswers);
  const remembered = {
    name: "earshot_router_remembered",
    help: "Entries of tables that remember for a while, each bounded: topic ids that spoke with nobody listening, whose messages were dropped, that have a rate limit and nobody listening; Topics whose channels were told to another router.",
    label: "table",
  };
  readGauges(registry, remembered, gauges.remembered);
}
