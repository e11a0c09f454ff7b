// Owns: what is measured of publishes at the edge where they enter (earshot_edge_*): how many, what became of them, and how
// long their publisher waited. Called once a publish by create-edge.ts. Elsewhere: the way to the router
// (core/fleet/publish-metrics.ts).

import type { Code } from "../domain/codes.ts";
import type { Clock } from "../runtime/clock.ts";
import { durationsBy } from "../runtime/durations.ts";
import { EarshotError } from "../runtime/errors.ts";
import { Counter, type Registry } from "../runtime/metrics.ts";
import { DOORS, type Door } from "./edge.ts";

/**
 * Outcomes that are no publisher's doing: what the objective of publishes counts against Earshot. There from the start, at 0:
 * Prometheus sees no increase in a series that begins above it.
 */
const FAILURES: readonly (Code | "bug")[] = [
  "shard_unavailable",
  "publish_unknown",
  "backpressure",
  "overloaded",
  "draining",
  "control_plane_unavailable",
  "bug",
];

/** Wraps the work of one publish; what it resolves or rejects with is passed on. */
export type MeasurePublish = <T>(door: Door, work: () => Promise<T>) => Promise<T>;

export function measurePublishes(registry: Registry, clock: Clock): MeasurePublish {
  const seconds = durationsBy(
    registry,
    {
      name: "earshot_edge_publish_seconds",
      help: "From a publish's being read to its router's answer, by door; refused ones are not in it.",
      label: "door",
    },
    DOORS,
  );
  // Plain numbers: a Counter with labels costs more than the rest of what an edge does with a publish.
  const outcomes = Object.fromEntries(DOORS.map((door) => [door, startOutcomes()])) as Outcomes;
  const counter: Counter<"door" | "outcome"> = new Counter({
    name: "earshot_edge_publishes_total",
    help: "Publishes by door and outcome: accepted (a router took it, whether or not somebody heard it), or the code of the error.",
    labelNames: ["door", "outcome"],
    registers: [registry],
    collect: () => {
      counter.reset();
      for (const door of DOORS) for (const [outcome, count] of outcomes[door]) counter.inc({ door, outcome }, count);
    },
  });
  const count = (door: Door, outcome: string): void => {
    outcomes[door].set(outcome, (outcomes[door].get(outcome) ?? 0) + 1);
  };
  return async (door, work) => {
    const startedAtMs = clock.monotonic();
    try {
      const result = await work();
      seconds[door].observeMs(clock.monotonic() - startedAtMs);
      count(door, "accepted");
      return result;
    } catch (error) {
      count(door, error instanceof EarshotError ? error.code : "bug");
      throw error;
    }
  };
}

function startOutcomes(): Map<string, number> {
  return new Map(["accepted", ...FAILURES].map((outcome) => [outcome, 0]));
}

/** By door, then by outcome: at most as many as there are codes. */
type Outcomes = Readonly<Record<Door, Map<string, number>>>;
