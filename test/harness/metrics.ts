// Owns: reading metrics of processes in tests and benches. A metric that is not there is an error, never a 0: names change.

/** Sum of a metric's series, of those whose labels hold `labels` (`state="alive"`) where it is given. */
export function metricIn(text: string, name: string, labels = ""): number {
  const series = [...text.matchAll(new RegExp(`^${name}(\\{[^}]*\\})? (\\S+)$`, "gm"))];
  const wanted = series.filter(([, has = ""]) => has.includes(labels));
  if (wanted.length === 0) throw new Error(`no metric ${name}{${labels}}`);
  return wanted.reduce((sum, [, , value]) => sum + Number(value), 0);
}

export async function metricsAt(probes: string): Promise<string> {
  return (await fetch(`http://${probes}/metrics`)).text();
}
