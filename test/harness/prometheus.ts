// Owns: a real Prometheus for tests, which reads real processes every second and judges the chart's rules as often. Its files
// are in a folder of its own.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.ts";

/** Ports are free when they are looked for, and may be taken a moment later. */
const TRIES = 5;

export function isPrometheusThere(): boolean {
  return spawnSync("prometheus", ["--version"]).status === 0;
}

export interface Target {
  /** `host:port` of a process's probes. */
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** One series of an answer. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [atSeconds: number, value: string];
}

export interface JudgedRule {
  readonly name: string;
  readonly type: "recording" | "alerting";
  readonly health: string;
  readonly lastError?: string;
  /** Of an alert: inactive, pending or firing. */
  readonly state?: string;
}

export class Prometheus {
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #base: string;

  private constructor(folder: string, child: ChildProcess, base: string) {
    this.#folder = folder;
    this.#child = child;
    this.#base = base;
  }

  /** Starts it with the targets and a file of rules, all of whose groups are judged each second. */
  static async start(targets: readonly Target[], rulesFile: string): Promise<Prometheus> {
    for (let tried = 1; ; tried++) {
      const prometheus = await Prometheus.#launch(targets, rulesFile);
      try {
        await until(() => prometheus.#isReady(), "prometheus is ready", 60_000);
        return prometheus;
      } catch (error) {
        await prometheus.close();
        if (tried === TRIES) throw error;
      }
    }
  }

  /** The series that an expression gives now. Throws what Prometheus says against it. */
  async query(expression: string): Promise<readonly Sample[]> {
    const { result } = await this.#ask<{ result: Sample[] }>(`query?query=${encodeURIComponent(expression)}`);
    return result;
  }

  async rules(): Promise<readonly JudgedRule[]> {
    const { groups } = await this.#ask<{ groups: { rules: JudgedRule[] }[] }>("rules");
    return groups.flatMap((group) => group.rules);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  static async #launch(targets: readonly Target[], rulesFile: string): Promise<Prometheus> {
    const folder = mkdtempSync(join(tmpdir(), "earshot-prometheus-"));
    const rules = join(folder, "rules.yaml");
    writeFileSync(rules, readFileSync(rulesFile, "utf8").replaceAll("interval: 30s", "interval: 1s"));
    const config = join(folder, "prometheus.yaml");
    const content = {
      global: { scrape_interval: "1s", evaluation_interval: "1s" },
      rule_files: [rules],
      scrape_configs: [
        {
          job_name: "earshot",
          static_configs: targets.map(({ address, labels }) => ({ targets: [address], labels })),
        },
      ],
    };
    writeFileSync(config, JSON.stringify(content));
    const address = `127.0.0.1:${await freePort()}`;
    const args = [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=${address}`,
      "--log.level=error",
    ];
    const child = spawn("prometheus", args, { stdio: "ignore" });
    return new Prometheus(folder, child, `http://${address}`);
  }

  async #isReady(): Promise<boolean> {
    if (this.#child.exitCode !== null) throw new Error(`prometheus ended with ${this.#child.exitCode}`);
    try {
      return (await fetch(`${this.#base}/-/ready`)).ok;
    } catch {
      return false;
    }
  }

  async #ask<T>(what: string): Promise<T> {
    const response = await fetch(`${this.#base}/api/v1/${what}`);
    const answer = (await response.json()) as { status: string; data: T; error?: string };
    if (answer.status !== "success") throw new Error(answer.error ?? `prometheus answers ${response.status}`);
    return answer.data;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}
