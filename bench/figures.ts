// Owns: how benches tell figures: which machine, and what of many values.

import { availableParallelism, cpus, loadavg, release } from "node:os";

/** CPU, cores, system, Node, and how busy it is now. */
export function machine(): string {
  const [{ model } = { model: "unknown" }] = cpus();
  const load = loadavg()[0]?.toFixed(1);
  return `${model}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}, load ${load}`;
}

/** The least value that `percent` of all do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}
