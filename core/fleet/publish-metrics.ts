// Owns: the metrics of handing publishes to routers (earshot_publish_*).

import { Counter, type Registry, readGauge } from "../runtime/metrics.ts";

/** What is read from the placer whenever somebody asks. */
export interface PublishGauges {
  readonly unanswered: () => number;
  readonly waiting: () => number;
  readonly streamsLive: () => number;
}

export class PublishMetrics {
  readonly orders: Counter;
  readonly frames: Counter;
  readonly rerouted: Counter<"cause">;
  readonly failures: Counter<"code">;
  readonly moveWaitsGivenUp: Counter;

  constructor(registry: Registry, gauges: PublishGauges) {
    const registers = [registry];
    readGauge(registry, "earshot_publish_unanswered", "Publishes handed on and not yet answered.", gauges.unanswered);
    readGauge(registry, "earshot_publish_waiting", "Publishes that wait for their shard to move.", gauges.waiting);
    readGauge(registry, "earshot_publish_streams_live", "Publish streams that are up.", gauges.streamsLive);
    this.orders = new Counter({
      name: "earshot_publish_orders_total",
      help: "Publishes written to routers; with frames, how many share one write.",
      registers,
    });
    this.frames = new Counter({ name: "earshot_publish_frames_total", help: "Writes to routers.", registers });
    this.rerouted = new Counter({
      name: "earshot_publish_rerouted_total",
      help: "Publishes placed anew: refused unhandled (wrong_router), or not yet written when a stream died.",
      labelNames: ["cause"],
      registers,
    });
    this.failures = new Counter({
      name: "earshot_publish_failures_total",
      help: "Publishes that failed on their way to a router, by code.",
      labelNames: ["code"],
      registers,
    });
    this.moveWaitsGivenUp = new Counter({
      name: "earshot_publish_move_waits_given_up_total",
      help: "Moves of a shard to another router that did not wait for every answer of the old one.",
      registers,
    });
  }
}
