// Owns: what a panel of the dashboard is, and the expressions that most of them are made of. In an expression `@` stands for
// the labels that choose the installation (dashboard.ts puts them in).

export interface Panel {
  readonly title: string;
  /** Grafana's name of the unit. */
  readonly unit: string;
  /** Expressions with their legends. */
  readonly queries: readonly (readonly [expression: string, legend: string])[];
  /** A number in the place of a graph. */
  readonly stat?: true;
  /** Columns of 24. Default: 8. */
  readonly width?: number;
  readonly description?: string;
  /** From where on it is red; a stat that is bad below has `badBelow`. */
  readonly badFrom?: number;
  readonly badBelow?: number;
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export function rate(metric: string, by: string, labels = ""): string {
  return `sum by (${by}) (rate(${metric}{@${labels}}[$__rate_interval]))`;
}

export function quantile(part: number, metric: string, by = ""): string {
  const groups = by === "" ? "le" : `le, ${by}`;
  return `histogram_quantile(${part}, sum by (${groups}) (rate(${metric}_bucket{@}[$__rate_interval])))`;
}

/** p50, p95 and p99 of a histogram. */
export function quantiles(title: string, metric: string, description: string): Panel {
  return {
    title,
    unit: "s",
    description,
    badFrom: 0.05,
    queries: [0.5, 0.95, 0.99].map((part) => [quantile(part, metric), `p${part * 100}`] as const),
  };
}
