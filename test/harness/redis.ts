// Owns: real Redis servers for tests: each on a free port of 127.0.0.1, in an empty folder, keeping nothing on disk.
// Ending is by process id; a server also ends with the test's process. Where the machine has no redis-server, tests that
// need one are skipped and say so.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis, type RedisOptions } from "ioredis";
import { until } from "./until.ts";

/** For `describe.skipIf`; says so once where there is none. */
export const HAS_REDIS = isThere("redis-server");
if (!HAS_REDIS) process.stderr.write("tests that need a real Redis are skipped: there is no redis-server here\n");

function isThere(program: string): boolean {
  return spawnSync(program, ["--version"]).status === 0;
}

export interface RedisServerOptions {
  /** Further command line, as `["--cluster-enabled", "yes"]`. */
  readonly args?: readonly string[];
  readonly port?: number;
  /** The whole command line instead. */
  readonly command?: readonly string[];
  /** How the harness itself gets in, where it needs a password or TLS. */
  readonly client?: Omit<RedisOptions, "replyMapping">;
}

export class RedisServer {
  readonly port: number;
  readonly folder = mkdtempSync(join(tmpdir(), "earshot-redis-"));
  readonly #options: RedisServerOptions;
  #child: ChildProcess | undefined;
  #client: Redis | undefined;

  constructor(port: number, options: RedisServerOptions = {}) {
    this.port = port;
    this.#options = options;
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(options.port ?? (await freePort()), options);
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Of the test itself, for what only it asks. */
  get client(): Redis {
    this.#client ??= new Redis({
      host: "127.0.0.1",
      port: this.port,
      retryStrategy: () => 50,
      maxRetriesPerRequest: null,
      ...this.#options.client,
    }).on("error", () => {});
    return this.#client;
  }

  /** Starts it, empty, and waits until it answers. */
  async start(): Promise<void> {
    const { args = [], command } = this.#options;
    const common = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", this.folder];
    const ports = args.includes("--tls-port") ? [] : ["--port", String(this.port)];
    this.#child = spawn("redis-server", command ?? [...ports, ...common, ...args], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    process.once("exit", this.#end);
    await until(async () => (await this.client.ping()) === "PONG", "redis answers");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Ends it at once, as a machine that dies; resolves when it has ended. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    process.removeListener("exit", this.#end);
  }

  async close(): Promise<void> {
    this.#client?.disconnect();
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  readonly #end = (): void => {
    this.#child?.kill("SIGKILL");
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
