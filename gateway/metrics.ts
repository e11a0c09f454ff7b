// Owns: the metrics of a gateway's data path, earshot_gateway_*, and what the rooms of the gateway are given to count with.

import type { SlowConsumer } from "#core/domain/topic.ts";
import type { GapReason } from "#core/domain/codes.ts";
import { Counter, Gauge, Histogram, type Registry, readGauge } from "#core/runtime/metrics.ts";
import { ENCODING_NAMES, type Encoding } from "./fanout/encoding.ts";
import type { FanOut, FanOutMetrics } from "./fanout/fan-out.ts";
import type { LocalTopics } from "./fanout/local-topics.ts";
import type { AdmissionMetrics } from "./sessions/admission.ts";
import type { OutboxTotals } from "./sessions/outbox.ts";
import type { Sessions, SessionsMetrics } from "./sessions/sessions.ts";
import type { SubscribingMetrics } from "./sessions/subscribing.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** Seconds: a slice is 2 ms; what is far above it held the event loop. */
const SLICE_BUCKETS = [0.0001, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.1];

interface Observed {
  readonly topics: LocalTopics;
  readonly fanOut: FanOut;
  readonly upstream: Upstream;
  readonly sessions: Sessions;
}

export class GatewayMetrics
  implements FanOutMetrics, SessionsMetrics, SubscribingMetrics, AdmissionMetrics, OutboxTotals
{
  queuedBytes = 0;
  readonly #registry: Registry;
  readonly #connections: Gauge;
  readonly #subscriptions: Gauge;
  readonly #delivered: Counter;
  readonly #dropped: Counter;
  readonly #slices: Histogram;
  readonly #gaps: Counter;
  readonly #refused: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#registry = registry;
    this.#connections = new Gauge({
      name: "earshot_gateway_connections",
      help: "Connections of clients, by what carries them.",
      labelNames: ["transport"],
      registers,
    });
    this.#subscriptions = new Gauge({
      name: "earshot_gateway_subscriptions",
      help: "Subscriptions of all connections, asked for or granted.",
      registers,
    });
    this.#delivered = new Counter({
      name: "earshot_gateway_deliveries_total",
      help: "Messages handed to connections: one for each subscription that was given one.",
      registers,
    });
    this.#dropped = new Counter({
      name: "earshot_gateway_dropped_total",
      help: "Messages not given to a connection that was too slow, by its Topic's slowConsumer rule.",
      labelNames: ["rule"],
      registers,
    });
    this.#slices = new Histogram({
      name: "earshot_gateway_fan_out_slice_seconds",
      help: "Time of one slice of fan-out: how long everything else waited for it.",
      buckets: SLICE_BUCKETS,
      registers,
    });
    this.#gaps = new Counter({
      name: "earshot_gateway_gaps_total",
      help: "Gaps by reason: messages for slow_consumer, subscriptions for late_interest, else topics whose subscribers were told.",
      labelNames: ["reason"],
      registers,
    });
    this.#refused = new Counter({
      name: "earshot_gateway_connections_refused_total",
      help: "Connections that were not taken, by the limit that refused them.",
      labelNames: ["limit"],
      registers,
    });
  }

  /** Counts what others hold. */
  observe({ topics, fanOut, upstream, sessions }: Observed): void {
    const registry = this.#registry;
    readGauge(
      registry,
      "earshot_gateway_unsent_bytes",
      "Bytes that clients have not taken yet, in their sockets and in queues of this process.",
      () => sessions.unsentBytes(),
    );
    readGauge(registry, "earshot_gateway_topics", "Topic ids that somebody here is subscribed to.", () => topics.size);
    readGauge(
      registry,
      "earshot_gateway_fan_out_queued_bytes",
      "Bytes of messages that came from routers and wait for their turn to be handed on.",
      () => fanOut.queuedBytes,
    );
    readGauge(registry, "earshot_gateway_links_alive", "Links to routers that are alive.", () => {
      return [...upstream.links].filter((link) => link.alive).length;
    });
    readGauge(registry, "earshot_gateway_links", "Links to routers, alive or not.", () => [...upstream.links].length);
  }

  connections(encoding: Encoding, change: 1 | -1): void {
    this.#connections.inc({ transport: ENCODING_NAMES[encoding] }, change);
  }

  subscriptions(change: 1 | -1): void {
    this.#subscriptions.inc(change);
  }

  delivered(count: number): void {
    if (count > 0) this.#delivered.inc(count);
  }

  dropped(rule: SlowConsumer, count: number): void {
    this.#dropped.inc({ rule }, count);
    if (rule !== "Disconnect") this.#gaps.inc({ reason: "slow_consumer" }, count);
  }

  slice(seconds: number): void {
    this.#slices.observe(seconds);
  }

  gap(reason: GapReason): void {
    this.#gaps.inc({ reason });
  }

  refused(limit: "connections" | "address" | "rate" | "user"): void {
    this.#refused.inc({ limit });
  }
}
