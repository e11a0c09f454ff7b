// Owns: a real canary process for tests. Its log is a file of the given folder; it ends with the test's process.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { metricIn, metricsAt } from "./metrics.ts";
import { until } from "./until.ts";

const ENTRY = join(import.meta.dirname, "../../canary/main.ts");

export interface CanaryOptions {
  /** Where its log goes. */
  readonly folder: string;
  readonly topic: string;
  /** `host:port` of PublisherService and SubscriberService. */
  readonly publish: string;
  readonly subscribe: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
  readonly serverName?: string;
  readonly interval?: string;
}

/** Values of its metrics, by the names that follow `earshot_canary_`. */
export type CanaryCounts = Readonly<Record<"sent" | "heard" | "missed" | "refused" | "open" | "listening", number>>;

export class Canary {
  static #started = 0;
  readonly #child: ChildProcess;
  readonly #logPath: string;
  #probes = "";

  private constructor(child: ChildProcess, logPath: string) {
    this.#child = child;
    this.#logPath = logPath;
  }

  /** Starts it; resolves when it answers on its probe port. */
  static async start(options: CanaryOptions): Promise<Canary> {
    const { folder, topic, publish, subscribe, tokenFile = "", interval = "100ms" } = options;
    const { caFile = "", serverName = "" } = options;
    Canary.#started += 1;
    const logPath = join(folder, `canary-${Canary.#started}.log`);
    const descriptor = openSync(logPath, "a");
    const child = spawn(process.execPath, [ENTRY], {
      stdio: ["ignore", descriptor, descriptor, "ipc"],
      env: {
        PATH: process.env["PATH"] ?? "",
        EARSHOT_CANARY_TOPIC: topic,
        EARSHOT_CANARY_PUBLISH: publish,
        EARSHOT_CANARY_SUBSCRIBE: subscribe,
        EARSHOT_CANARY_TOKEN_FILE: tokenFile,
        EARSHOT_CANARY_INTERVAL: interval,
        EARSHOT_CANARY_CA_FILE: caFile,
        EARSHOT_CANARY_SERVER_NAME: serverName,
      },
    });
    closeSync(descriptor);
    const canary = new Canary(child, logPath);
    try {
      await until(() => canary.#find(), "the canary answers on its probe port", 60_000);
      return canary;
    } catch (error) {
      await canary.close();
      throw error;
    }
  }

  /** `host:port` of its probes. */
  get probes(): string {
    return this.#probes;
  }

  metrics(): Promise<string> {
    return metricsAt(this.#probes);
  }

  async counts(): Promise<CanaryCounts> {
    const text = await this.metrics();
    const total = (name: string): number => metricIn(text, `earshot_canary_${name}_total`);
    const gauge = (name: string): number => metricIn(text, `earshot_canary_${name}`);
    return {
      sent: total("sent"),
      heard: total("heard"),
      missed: total("missed"),
      refused: total("refused"),
      open: gauge("open"),
      listening: gauge("listening"),
    };
  }

  async readiness(): Promise<{ readonly status: number; readonly reasons: readonly string[] }> {
    const response = await fetch(`http://${this.#probes}/readyz`);
    const { reasons } = (await response.json()) as { reasons: string[] };
    return { status: response.status, reasons };
  }

  /** Its log lines whose message is this sentence. */
  said(message: string): readonly Record<string, unknown>[] {
    const lines = readFileSync(this.#logPath, "utf8")
      .split("\n")
      .filter((line) => line.startsWith("{"));
    return lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line["message"] === message);
  }

  /** Asks it to end; resolves with its exit code. */
  async stop(): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#child.exitCode;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await ended;
    return this.#child.exitCode;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  #find(): boolean {
    if (this.#child.exitCode !== null) throw new Error(`the canary ended: ${readFileSync(this.#logPath, "utf8")}`);
    const [started] = this.said("canary started");
    if (started === undefined) return false;
    this.#probes = `127.0.0.1:${String(started["port"])}`;
    return true;
  }
}
