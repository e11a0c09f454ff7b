import { expect, test } from "vitest";
import { Durations, durations, durationsBy } from "#core/runtime/durations.ts";
import { createRegistry, readCounters, readGauges } from "#core/runtime/metrics.ts";
import { measureProcess } from "#core/runtime/process-metrics.ts";
import { HandClock } from "../harness/hand-clock.ts";

/** Values of a text by series, without the role that all have. */
function seriesOf(text: string): Record<string, number> {
  const series: Record<string, number> = {};
  for (const [, name = "", labels = "", value = ""] of text.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)) {
    const own = labels.replace(/,?role="router"/, "");
    series[own === "" ? name : `${name}{${own}}`] = Number(value);
  }
  return series;
}

test("a duration is counted in its bucket and all above, and in sum and count", async () => {
  const registry = createRegistry("router");
  const made = durations(registry, "earshot_test_seconds", "A test.");
  for (const ms of [0.05, 50, 50.1, 5_000]) made.observeMs(ms);
  const text = await registry.metrics();
  expect(text).toContain("# TYPE earshot_test_seconds histogram");
  expect(seriesOf(text)).toMatchObject({
    'earshot_test_seconds_bucket{le="0.0001"}': 1,
    'earshot_test_seconds_bucket{le="0.025"}': 1,
    'earshot_test_seconds_bucket{le="0.05"}': 2,
    'earshot_test_seconds_bucket{le="0.1"}': 3,
    'earshot_test_seconds_bucket{le="1"}': 3,
    'earshot_test_seconds_bucket{le="+Inf"}': 4,
    earshot_test_seconds_count: 4,
    earshot_test_seconds_sum: expect.closeTo(5.10015, 6) as number,
  });
});

test("a duration below 0, of two clocks that differ, counts as 0", () => {
  const made = new Durations();
  made.observeMs(-7_200_000);
  const [first] = made.series("x", {});
  expect(first).toMatchObject({ labels: { le: 0.0001 }, value: 1 });
  expect(made.series("x", {}).find(({ metricName }) => metricName === "x_sum")?.value).toBe(0);
});

test("every value of a label is there from the start, at 0", async () => {
  const registry = createRegistry("router");
  durationsBy(registry, { name: "earshot_test_seconds", help: "A test.", label: "door" }, ["http", "grpc"]);
  readCounters(registry, { name: "earshot_test_total", help: "A test.", label: "reason" }, () => ({
    one: 0,
    other: 2,
  }));
  readGauges(registry, { name: "earshot_test_links", help: "A test.", label: "state" }, () => ({ alive: 0 }));
  expect(seriesOf(await registry.metrics())).toMatchObject({
    'earshot_test_seconds_count{door="http"}': 0,
    'earshot_test_seconds_count{door="grpc"}': 0,
    'earshot_test_total{reason="one"}': 0,
    'earshot_test_total{reason="other"}': 2,
    'earshot_test_links{state="alive"}': 0,
  });
});

test("what is read twice is not counted twice", async () => {
  const registry = createRegistry("router");
  readCounters(registry, { name: "earshot_test_total", help: "A test.", label: "reason" }, () => ({ one: 5 }));
  await registry.metrics();
  expect(seriesOf(await registry.metrics())).toMatchObject({ 'earshot_test_total{reason="one"}': 5 });
});

test("a process measures how late its event loop is, until it is closed", async () => {
  const registry = createRegistry("router");
  const clock = new HandClock();
  const measured = measureProcess(registry, clock);
  for (let looks = 0; looks < 100; looks++) clock.advance(20);
  const series = seriesOf(await registry.metrics());
  expect(series["earshot_event_loop_delay_seconds_count"]).toBe(100);
  expect(series['earshot_event_loop_delay_seconds_bucket{le="0.001"}']).toBe(100);
  expect(series["earshot_event_loop_utilization_ratio"]).toBeGreaterThanOrEqual(0);
  expect(series["earshot_event_loop_active_seconds_total"]).toBeGreaterThan(0);
  expect(Object.keys(series).filter((name) => /^nodejs_(?:eventloop|active|heap_space)/.test(name))).toEqual([]);
  await measured.close();
  clock.advance(1_000);
  expect(seriesOf(await registry.metrics())["earshot_event_loop_delay_seconds_count"]).toBe(100);
});
