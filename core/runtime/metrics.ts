// Owns: prom-client. Every metric of a process hangs on the Registry made here, with Prometheus' naming rules (base
// units, `_total` on counters). Invariant: no label ever carries a topic, a channel or a user.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export { Counter, Gauge, Histogram, Registry };

/** A registry with the Node.js process metrics, all its series labelled with the role. */
export function createRegistry(role: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ role });
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** A gauge that is read when it is asked for, from state that somebody keeps anyway. */
export function readGauge(registry: Registry, name: string, help: string, read: () => number): Gauge {
  return new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}
