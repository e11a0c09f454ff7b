// Owns: what every process measures of itself: what prom-client measures of any Node.js process (CPU, memory, files, garbage
// collection, under the names that dashboards know), which build this is, and its event loop: how busy it is and how late
// it is for what is due. Called once, by process.ts.

import { type EventLoopUtilization, performance } from "node:perf_hooks";
import { collectDefaultMetrics } from "prom-client";
import type { Clock, Timer } from "./clock.ts";
import { durations } from "./durations.ts";
import type { Component } from "./lifecycle.ts";
import { Gauge, Histogram, type Registry, readCounter, readGauge } from "./metrics.ts";
import { VERSION } from "./version.ts";

/** Milliseconds between looks how late the event loop is: whatever stalls it for longer is seen, at 50 wake-ups a second. */
const LOOK_MS = 20;

/** Looks of which one tells the utilisation: a second, whoever asks and however often. */
const LOOKS_PER_TELL = 50;

/**
 * What is left out of prom-client's: its event loop lag measures from scrape to scrape (two readers spoil it for each other)
 * and never less than its own 10 ms; its active handles walk every socket of a full gateway at each scrape; its heap spaces
 * are as many series as all the rest.
 */
const LEFT_OUT = /^nodejs_(?:eventloop_lag|active_|heap_space_)/;

/** Kinds of garbage collection that prom-client tells apart (15.1, lib/metrics/gc.js); it begins a series with the first of each. */
const COLLECTIONS = ["major", "minor", "incremental", "weakcb"];

/** Milliseconds between looks of the lag monitor that prom-client starts and nobody reads. */
const IDLE_PRECISION_MS = 60_000;

/** Measures this process until it is closed. */
export function measureProcess(registry: Registry, clock: Clock): Component {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: IDLE_PRECISION_MS });
  for (const { name } of registry.getMetricsAsArray()) if (LEFT_OUT.test(name)) registry.removeSingleMetric(name);
  const collections = registry.getSingleMetric("nodejs_gc_duration_seconds");
  if (collections instanceof Histogram) for (const kind of COLLECTIONS) collections.zero({ kind });
  tellBuild(registry);
  const eventLoop = measureEventLoop(registry, clock);
  return {
    close: () => {
      eventLoop.cancel();
      return Promise.resolve();
    },
  };
}

function tellBuild(registry: Registry): void {
  new Gauge({
    name: "earshot_build_info",
    help: "Which Earshot this is, and which Node.js runs it; always 1.",
    labelNames: ["version", "node"],
    registers: [registry],
  }).set({ version: VERSION, node: process.version }, 1);
}

function measureEventLoop(registry: Registry, clock: Clock): Timer {
  const delay = durations(
    registry,
    "earshot_event_loop_delay_seconds",
    `How late the event loop was for a timer, looked at every ${LOOK_MS} ms: what everything else waited too.`,
  );
  let told = performance.eventLoopUtilization();
  let utilization = told.utilization;
  const since = (before?: EventLoopUtilization): EventLoopUtilization => performance.eventLoopUtilization(before);
  const active =
    "Time that the event loop was busy; its rate is the part of a core that this process's JavaScript uses.";
  readCounter(registry, "earshot_event_loop_active_seconds_total", active, () => since().active / 1_000);
  const idle = "Time that the event loop had nothing to do.";
  readCounter(registry, "earshot_event_loop_idle_seconds_total", idle, () => since().idle / 1_000);
  const part = "Part of the last second that the event loop was busy, 0 to 1; above 0.8 there is too much to do.";
  readGauge(registry, "earshot_event_loop_utilization_ratio", part, () => utilization);
  let looks = 0;
  let lookedAtMs = clock.monotonic();
  return clock.every(LOOK_MS, () => {
    const nowMs = clock.monotonic();
    delay.observeMs(nowMs - lookedAtMs - LOOK_MS);
    lookedAtMs = nowMs;
    looks += 1;
    if (looks % LOOKS_PER_TELL !== 0) return;
    const now = performance.eventLoopUtilization();
    utilization = performance.eventLoopUtilization(now, told).utilization;
    told = now;
  });
}
