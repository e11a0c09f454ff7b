// Owns: the metrics of a gateway's data path, earshot_gateway_*, and what the rooms of the gateway are given to count with.
// What happens for every message or write is a plain number here; the state of others is read when somebody asks
// (state-metrics.ts).

import { CLOSES } from "#core/domain/closes.ts";
import type { GapReason } from "#core/domain/codes.ts";
import { CONNECTION_UNANSWERED_BYTES_MAX } from "#core/domain/limits.ts";
import type { SlowConsumer } from "#core/domain/topic.ts";
import { type Durations, durations } from "#core/runtime/durations.ts";
import { Histogram, type Registry, readCounter, readCounters, readGauge, readGauges } from "#core/runtime/metrics.ts";
import type { DeliverMetrics } from "./fanout/deliver.ts";
import { ENCODING_NAMES, type Encoding } from "./fanout/encoding.ts";
import type { FanOutMetrics } from "./fanout/fan-out.ts";
import type { Flight } from "./fanout/flight.ts";
import type { AdmissionMetrics } from "./sessions/admission.ts";
import type { OutboxTotals } from "./sessions/outbox.ts";
import type { SessionEnding } from "./sessions/session.ts";
import type { SessionsMetrics } from "./sessions/sessions.ts";
import type { SubscribingMetrics } from "./sessions/subscribing.ts";
import type { ClientTotals } from "./websocket/client.ts";

/** Seconds: a slice is 2 ms; what is far above it held the event loop. */
const SLICE_BUCKETS = [0.0001, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.1];

type Limit = Parameters<AdmissionMetrics["refused"]>[0];

export class GatewayMetrics
  implements
    FanOutMetrics,
    DeliverMetrics,
    SessionsMetrics,
    SubscribingMetrics,
    AdmissionMetrics,
    OutboxTotals,
    ClientTotals
{
  queuedBytes = 0;
  unansweredBytes = 0;
  framesDropped = 0;
  readonly #connections = ENCODING_NAMES.map(() => 0);
  #subscriptions = 0;
  #delivered = 0;
  readonly #dropped: Record<SlowConsumer, number> = { DropOldest: 0, DropNewest: 0, Disconnect: 0 };
  readonly #gaps: Record<GapReason, number> = {
    slow_consumer: 0,
    router_failover: 0,
    link_overflow: 0,
    late_interest: 0,
  };
  readonly #ended = Object.fromEntries(["gone", ...Object.keys(CLOSES)].map((how) => [how, 0])) as Record<
    SessionEnding,
    number
  >;
  readonly #refused: Record<Limit, number> = { connections: 0, address: 0, rate: 0, user: 0 };
  readonly #slices: Histogram;
  readonly #linked: Durations;
  readonly #fannedOut: Durations;
  readonly #delivery: Durations;

  constructor(registry: Registry) {
    this.#slices = new Histogram({
      name: "earshot_gateway_fan_out_slice_seconds",
      help: "Time of one slice of fan-out: how long everything else waited for it.",
      buckets: SLICE_BUCKETS,
      registers: [registry],
    });
    this.#linked = durations(
      registry,
      "earshot_gateway_link_delivery_seconds",
      "From a router's sequencing a record to its coming here, of each batch's first; by the clocks of both machines: their difference is in it, and below 0 counts as 0.",
    );
    this.#fannedOut = durations(
      registry,
      "earshot_gateway_fan_out_seconds",
      "From messages' coming from a router to the last of their subscribers' being given them.",
    );
    this.#delivery = durations(
      registry,
      "earshot_gateway_delivery_seconds",
      "From a router's sequencing a message to the last subscriber here being given it: link delivery and fan-out together, by the same two clocks.",
    );
    this.#registerCounts(registry);
  }

  #registerCounts(registry: Registry): void {
    readGauges(
      registry,
      {
        name: "earshot_gateway_connections",
        help: "Connections of clients, by what carries them.",
        label: "transport",
      },
      () => Object.fromEntries(ENCODING_NAMES.map((name, encoding) => [name, this.#connections[encoding] ?? 0])),
    );
    const subscriptions = "Subscriptions of all connections, asked for or granted.";
    readGauge(registry, "earshot_gateway_subscriptions", subscriptions, () => this.#subscriptions);
    const deliveries = "Messages handed to connections: one for each subscription that was given one.";
    readCounter(registry, "earshot_gateway_deliveries_total", deliveries, () => this.#delivered);
    const queued =
      "Bytes in queues of this process for clients that are behind; unsent bytes holds their sockets' too.";
    readGauge(registry, "earshot_gateway_queued_bytes", queued, () => this.queuedBytes);
    const dropped = {
      name: "earshot_gateway_dropped_total",
      help: "Messages not given to a connection that was too slow, by its Topic's slowConsumer rule.",
      label: "rule",
    };
    readCounters(registry, dropped, () => this.#dropped);
    const gaps = {
      name: "earshot_gateway_gaps_total",
      help: "Gaps by reason: messages for slow_consumer, subscriptions for late_interest, else topics whose subscribers were told.",
      label: "reason",
    };
    readCounters(registry, gaps, () => this.#gaps);
    const refused = {
      name: "earshot_gateway_connections_refused_total",
      help: "Connections that were not taken, by the limit that refused them.",
      label: "limit",
    };
    readCounters(registry, refused, () => this.#refused);
    const ended = {
      name: "earshot_gateway_connections_ended_total",
      help: "Connections that ended, by the close code that this gateway ended them with (whatever carried them); gone: the client left.",
      label: "code",
    };
    readCounters(registry, ended, () => this.#ended);
    const unanswered = `Bytes of publishes over WebSocket that wait for their answer; at ${CONNECTION_UNANSWERED_BYTES_MAX} of one connection it is not read.`;
    readGauge(registry, "earshot_gateway_unanswered_bytes", unanswered, () => this.unansweredBytes);
    const frames = "Frames of clients dropped because there were too many a second of one connection.";
    readCounter(registry, "earshot_gateway_frames_dropped_total", frames, () => this.framesDropped);
  }

  connections(encoding: Encoding, change: 1 | -1): void {
    this.#connections[encoding] = (this.#connections[encoding] ?? 0) + change;
  }

  ended(how: SessionEnding): void {
    this.#ended[how] += 1;
  }

  subscriptions(change: 1 | -1): void {
    this.#subscriptions += change;
  }

  delivered(count: number): void {
    this.#delivered += count;
  }

  linked(tookMs: number): void {
    this.#linked.observeMs(tookMs);
  }

  handedOn({ arrivedAtMs, sequencedAtMs }: Flight, nowMs: number): void {
    this.#fannedOut.observeMs(nowMs - arrivedAtMs);
    this.#delivery.observeMs(nowMs - Math.min(sequencedAtMs, arrivedAtMs));
  }

  dropped(rule: SlowConsumer, count: number): void {
    this.#dropped[rule] += count;
    if (rule !== "Disconnect") this.#gaps.slow_consumer += count;
  }

  slice(seconds: number): void {
    this.#slices.observe(seconds);
  }

  gap(reason: GapReason): void {
    this.#gaps[reason] += 1;
  }

  refused(limit: Limit): void {
    this.#refused[limit] += 1;
  }
}
