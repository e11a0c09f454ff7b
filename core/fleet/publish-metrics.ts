// Owns: the metrics of handing publishes to routers (earshot_publish_*).

import { type Durations, durations } from "../runtime/durations.ts";
import { Counter, type Registry, readGauge, readGauges } from "../runtime/metrics.ts";
import { UNANSWERED_BYTES_MAX, UNANSWERED_MAX } from "./publish-limits.ts";

/** What is read from the placer whenever somebody asks. */
export interface PublishGauges {
  readonly unanswered: () => number;
  readonly unansweredBytes: () => number;
  readonly waiting: () => number;
  readonly waitingBytes: () => number;
  /** By state. */
  readonly streams: () => Readonly<Record<string, number>>;
  /** Milliseconds since the quietest live stream was heard; 0: there is none. */
  readonly silenceMs: () => number;
  /** Shards none of whose routers can be reached from here. */
  readonly unreachableShards: () => number;
}

/** Codes that a publish may fail with between edge and router; others that a router answers come as they are met. */
const FAILURES = ["shard_unavailable", "publish_unknown", "backpressure", "draining"] as const;

export class PublishMetrics {
  readonly orders: Counter;
  readonly frames: Counter;
  readonly rerouted: Counter<"cause">;
  readonly failures: Counter<"code">;
  readonly moveWaitsGivenUp: Counter;
  readonly hop: Durations;

  constructor(registry: Registry, gauges: PublishGauges) {
    const registers = [registry];
    const cap = `${UNANSWERED_MAX} or ${UNANSWERED_BYTES_MAX} bytes a router at most; one more is told backpressure`;
    readGauge(
      registry,
      "earshot_publish_unanswered",
      `Publishes handed on and not yet answered, ${cap}.`,
      gauges.unanswered,
    );
    const unanswered = "Bytes of publishes handed on and not yet answered.";
    readGauge(registry, "earshot_publish_unanswered_bytes", unanswered, gauges.unansweredBytes);
    const waiting = `Publishes that wait for their shard to move, ${UNANSWERED_MAX} at most.`;
    readGauge(registry, "earshot_publish_waiting", waiting, gauges.waiting);
    const waitingBytes = "Bytes of publishes that wait for their shard to move.";
    readGauge(registry, "earshot_publish_waiting_bytes", waitingBytes, gauges.waitingBytes);
    const streams = {
      name: "earshot_publish_streams",
      help: "Publish streams to routers, by state: live, draining, pending (dialled for the first time), dead; retired: its router left the map.",
      label: "state",
    };
    readGauges(registry, streams, gauges.streams);
    const silence =
      "Time since the quietest live publish stream was heard; a router beats each second and is dead after 3.";
    readGauge(registry, "earshot_publish_stream_silence_seconds", silence, () => gauges.silenceMs() / 1_000);
    const unreachable = "Shards of the map none of whose routers this process can reach: publishes there are refused.";
    readGauge(registry, "earshot_publish_unreachable_shards", unreachable, gauges.unreachableShards);
    this.orders = new Counter({
      name: "earshot_publish_orders_total",
      help: "Publishes written to routers; with frames, how many share one write.",
      registers,
    });
    this.frames = new Counter({ name: "earshot_publish_frames_total", help: "Writes to routers.", registers });
    this.hop = durations(
      registry,
      "earshot_publish_hop_seconds",
      "From a publish's being written to a router to its answer, which waits for gateways where the publisher asked for it.",
    );
    this.rerouted = new Counter({
      name: "earshot_publish_rerouted_total",
      help: "Publishes placed anew: refused unhandled (wrong_router), or not yet written when a stream died (stream_lost).",
      labelNames: ["cause"],
      registers,
    });
    for (const cause of ["wrong_router", "stream_lost"]) this.rerouted.inc({ cause }, 0);
    this.failures = new Counter({
      name: "earshot_publish_failures_total",
      help: "Publishes that failed on their way to a router, by code.",
      labelNames: ["code"],
      registers,
    });
    for (const code of FAILURES) this.failures.inc({ code }, 0);
    this.moveWaitsGivenUp = new Counter({
      name: "earshot_publish_move_waits_given_up_total",
      help: "Moves of a shard to another router that did not wait for every answer of the old one.",
      registers,
    });
  }
}
