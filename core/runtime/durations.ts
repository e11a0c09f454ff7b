// Owns: histograms of durations that are cheap enough for every message: a handful of comparisons and one addition, no
// allocation (prom-client's own takes a closure, a label check and a string for each value). Read only when somebody asks.
// All have the same buckets, so that the parts of a message's way can be laid beside each other.

import { Histogram, type Registry } from "./metrics.ts";

/** Seconds, from what one process takes to what a user feels; 0.05 is the promise (95 % within 50 ms). */
const BUCKETS_S = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1] as const;

const BUCKETS_MS = BUCKETS_S.map((seconds) => seconds * 1_000);

/** One series of a histogram. */
export class Durations {
  /** Values in each bucket; the last one holds what is above all bounds. */
  readonly #counts = new Float64Array(BUCKETS_MS.length + 1);
  #sumMs = 0;

  /** Counts one duration. What is below 0 (two clocks that differ) counts as 0. */
  observeMs(ms: number): void {
    let at = 0;
    while (at < BUCKETS_MS.length && ms > (BUCKETS_MS[at] as number)) at += 1;
    this.#counts[at] = (this.#counts[at] as number) + 1;
    if (ms > 0) this.#sumMs += ms;
  }

  /** The series as prom-client exports them. */
  series(name: string, labels: Readonly<Record<string, string>>): Series[] {
    const series: Series[] = [];
    let count = 0;
    for (const [at, le] of [...BUCKETS_S, "+Inf"].entries()) {
      count += this.#counts[at] ?? 0;
      series.push({ metricName: `${name}_bucket`, labels: { le, ...labels }, value: count });
    }
    series.push({ metricName: `${name}_sum`, labels, value: this.#sumMs / 1_000 });
    series.push({ metricName: `${name}_count`, labels, value: count });
    return series;
  }
}

interface Series {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** Registers a histogram without labels. */
export function durations(registry: Registry, name: string, help: string): Durations {
  const made = new Durations();
  register(registry, name, help, () => made.series(name, {}));
  return made;
}

/** Registers a histogram with one label, all of whose values are known. */
export function durationsBy<Value extends string>(
  registry: Registry,
  metric: { readonly name: string; readonly help: string; readonly label: string },
  values: readonly Value[],
): Readonly<Record<Value, Durations>> {
  const { name, help, label } = metric;
  const made = Object.fromEntries(values.map((value) => [value, new Durations()])) as Record<Value, Durations>;
  register(registry, name, help, () => values.flatMap((value) => made[value].series(name, { [label]: value })));
  return made;
}

/** A registry asks a metric for nothing but `name` and `get()` (prom-client 15.1, lib/registry.js). */
function register(registry: Registry, name: string, help: string, read: () => Series[]): void {
  const metric = {
    name,
    get: () => Promise.resolve({ name, help, type: "histogram", values: read(), aggregator: "sum" }),
    reset: () => undefined,
  };
  registry.registerMetric(metric as unknown as Histogram);
}
