// Owns: what a client costs a gateway that does nothing: memory that stays, and CPU time to let it in and subscribe it. Real
// processes (operator, router, gateway). Run it: npx node bench/idle.ts [connections] [steps].
// Method: connections are opened in steps, each with one subscription of its own channel in its URL, as fast as they are let
// in; after each step RSS and CPU time of gateway and router are read from /proc. The slope over the last steps counts: what
// the first ones make Node.js allocate is there once.

import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release } from "node:os";
import { startFleet, type TestFleet } from "../test/harness/fleet.ts";
import { cpuSeconds } from "./cpu.ts";
import { Ears } from "./ears.ts";

const [connections = 10_000, steps = 5] = process.argv.slice(2).map(Number);

/** Milliseconds after a step in which what is still under way is done. */
const SETTLE_MS = 500;

function rssBytes(pid: number): number {
  const [, kib = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1_024;
}

interface Reading {
  readonly connections: number;
  readonly rss: number;
  readonly routerRss: number;
  readonly cpu: number;
  readonly routerCpu: number;
}

function read(fleet: TestFleet, open: number): Reading {
  const [gateway, router] = [fleet.pid("gateway-0"), fleet.pid("router-0")];
  return {
    connections: open,
    rss: rssBytes(gateway),
    routerRss: rssBytes(router),
    cpu: cpuSeconds(gateway),
    routerCpu: cpuSeconds(router),
  };
}

function report(first: Reading, last: Reading): void {
  const count = last.connections - first.connections;
  const kib = (bytes: number): string => (bytes / count / 1_024).toFixed(1);
  const perSecond = (cpu: number): string => Math.round(count / cpu).toLocaleString("en");
  process.stdout.write(
    `connections ${first.connections} to ${last.connections}: gateway ${kib(last.rss - first.rss)} KiB RSS a connection, ` +
      `router ${kib(last.routerRss - first.routerRss)} KiB\n` +
      `accepted and subscribed: ${perSecond(last.cpu - first.cpu)} a CPU-second of the gateway, ` +
      `${perSecond(last.routerCpu - first.routerCpu)} a CPU-second of the router\n`,
  );
}

const fleet = await startFleet({
  routers: 1,
  gateways: 1,
  presence: false,
  env: { EARSHOT_UPGRADES_PER_SECOND: "1000000", EARSHOT_CONNECTIONS_MAX: "1000000", EARSHOT_LOG_LEVEL: "warn" },
});
const ears: Ears[] = [];
try {
  const [{ model } = { model: "unknown" }] = cpus();
  process.stdout.write(
    `${model}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}, ` +
      `load before ${loadavg()[0]?.toFixed(1)}\n`,
  );
  const readings = [read(fleet, 0)];
  const each = Math.floor(connections / steps);
  for (let step = 1; step <= steps; step++) {
    for (let index = 0; index < each; index++) {
      const one = new Ears();
      ears.push(one);
      const opened = one.open(`${fleet.ws()}/ws/subscribe?topic_id=default.demo:${step}-${index}`, 1);
      if (index % 50 === 0) await opened;
    }
    // `welcome` and `subscribed`.
    await Promise.all(ears.map((one) => one.until(2)));
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    readings.push(read(fleet, step * each));
    const { rss, routerRss } = readings.at(-1) ?? { rss: 0, routerRss: 0 };
    process.stdout.write(
      `${step * each} connections: gateway ${(rss / 2 ** 20).toFixed(0)} MiB, router ${(routerRss / 2 ** 20).toFixed(0)} MiB\n`,
    );
  }
  const [first, second, last] = [readings[0], readings[1], readings.at(-1)];
  if (first !== undefined && last !== undefined) report(first, last);
  if (second !== undefined && last !== undefined && steps > 1) report(second, last);
} finally {
  for (const one of ears) one.close();
  await fleet.close();
}
