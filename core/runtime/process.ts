// Owns: how one of our processes begins: its settings, its identity, its log, its end by signal or with its parent; and
// what it says when it cannot begin: one sentence to its parent and to whoever reads the terminal, exit code 2.
// Called once by each main. Elsewhere: how it ends (lifecycle.ts), what it does (the mains).

import { SYSTEM_CLOCK } from "./clock.ts";
import { ConfigError, type LoadedConfig, loadConfig } from "./config.ts";
import { newIncarnation } from "./incarnation.ts";
import { Lifecycle } from "./lifecycle.ts";
import { createLog, type Log } from "./log.ts";
import { createRegistry, type Registry } from "./metrics.ts";
import { onParentGone, tellParent } from "./parent.ts";
import { measureProcess } from "./process-metrics.ts";

export type ProcessRole = "operator" | "router" | "gateway" | "presence" | "canary";

/** Who a process is: of this start, and of the place it runs in. */
export interface ProcessSelf {
  readonly incarnation: string;
  readonly name: string;
  readonly node: string;
  readonly zone: string;
}

export interface ProcessParts extends LoadedConfig {
  readonly self: ProcessSelf;
  readonly log: Log;
  readonly lifecycle: Lifecycle;
  readonly registry: Registry;
}

/** Runs a process; what `start` owns by its lifecycle is ended also when it throws a ConfigError. */
export async function runProcess(role: ProcessRole, start: (parts: ProcessParts) => Promise<void>): Promise<void> {
  let lifecycle: Lifecycle | undefined;
  try {
    const loaded = loadConfig(role, { argv: process.argv.slice(2), env: process.env });
    const { name, node, zone, logLevel, drain } = loaded.config;
    const self = { incarnation: newIncarnation(), name: name === "" ? `${role}-0` : name, node, zone };
    const log = createLog(logLevel, { role, name: self.name, incarnation: self.incarnation });
    const owner = new Lifecycle(log);
    lifecycle = owner;
    owner.handleSignals(drain);
    // The exit code is 0, or what was set when it could not begin.
    onParentGone(() => void owner.stop(drain).then(() => process.exit()));
    const registry = createRegistry(role);
    owner.own("process metrics", measureProcess(registry, SYSTEM_CLOCK));
    await start({ ...loaded, self, log, lifecycle, registry });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.exitCode = 2;
    tellParent({ type: "cannotStart", text: error.message });
    process.stderr.write(`${error.message}\n`);
    await lifecycle?.stop(0);
    process.disconnect?.();
  }
}

/** `host:port`, with brackets where the host is an IPv6 address. */
export function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
