// Owns: prom-client. Every metric of a process hangs on the Registry made here, with Prometheus' naming rules (base
// units, `_total` on counters). What is counted often is kept as plain numbers by whoever counts, and read only when
// somebody asks. Invariants: no label ever carries a topic, a channel, a user, a token or an address; every value of a
// label that can be named beforehand is there from the start, at 0.
// Elsewhere: what every process measures of itself (process-metrics.ts).

import { Counter, Gauge, Histogram, Registry } from "prom-client";

export { Counter, Gauge, Histogram, Registry };

/** A registry whose series are all labelled with the role. */
export function createRegistry(role: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ role });
  return registry;
}

/** A gauge that is read when it is asked for, from state that somebody keeps anyway. */
export function readGauge(registry: Registry, name: string, help: string, read: () => number): void {
  const gauge: Gauge = new Gauge({ name, help, registers: [registry], collect: () => gauge.set(read()) });
}

/** A counter that is read when it is asked for, from a number that somebody counts up. */
export function readCounter(registry: Registry, name: string, help: string, read: () => number): void {
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

/** Name and help of a metric with one label. */
export interface Labelled {
  readonly name: string;
  readonly help: string;
  readonly label: string;
}

/** As readGauge: one series for each key of what is read. Keys come from a table in the code, never from users. */
export function readGauges(registry: Registry, labelled: Labelled, read: () => Readonly<Record<string, number>>): void {
  const { name, help, label } = labelled;
  const gauge: Gauge = new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect: () => {
      gauge.reset();
      for (const [value, number] of Object.entries(read())) gauge.set({ [label]: value }, number);
    },
  });
}

/** As readCounter: one series for each key of what is read. Keys come from a table in the code, never from users. */
export function readCounters(
  registry: Registry,
  labelled: Labelled,
  read: () => Readonly<Record<string, number>>,
): void {
  const { name, help, label } = labelled;
  const counter: Counter = new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect: () => {
      counter.reset();
      for (const [value, number] of Object.entries(read())) counter.inc({ [label]: value }, number);
    },
  });
}
