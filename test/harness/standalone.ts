// Owns: a whole standalone installation for tests, as `npm start` starts it, in a folder of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type PeerEndpoint, parseEndpoint } from "#core/fleet/peer-endpoint.ts";
import { keepLogs } from "./kept-logs.ts";
import { until } from "./until.ts";

const MAIN = join(import.meta.dirname, "..", "..", "standalone", "main.ts");
/** Milliseconds for a start: ten times what it takes, for a machine that is busy with other things. */
const START_MS = 40_000;
const REPOSITORY = join(import.meta.dirname, "..", "..");

export interface StandaloneOptions {
  /** EARSHOT_* variables; ports are 0 and the state folder is a fresh one unless given. */
  readonly env?: Readonly<Record<string, string>>;
  readonly argv?: readonly string[];
  /** A command that runs it, in a mount namespace of its own: its state folder is looked at as it sees it. */
  readonly through?: readonly string[];
}

/** Starts it without waiting for anything. */
export function launchStandalone(options: StandaloneOptions = {}): Standalone {
  return new Standalone(options);
}

/** Starts it and waits for the banner. */
export async function startStandalone(options: StandaloneOptions = {}): Promise<Standalone> {
  const standalone = new Standalone(options);
  try {
    await standalone.listening();
    return standalone;
  } catch (error) {
    await standalone.close();
    throw error;
  }
}

export class Standalone {
  readonly folder = mkdtempSync(join(tmpdir(), "earshot-standalone-"));
  readonly stateFolder: string;
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";

  constructor(options: StandaloneOptions) {
    const foreign = Object.entries(process.env).filter(([name]) => !name.startsWith("EARSHOT_"));
    const { through = [] } = options;
    const state = options.env?.["EARSHOT_STATE"] ?? join(this.folder, "state");
    const [program = "", ...args] = [...through, process.execPath, MAIN, ...(options.argv ?? [])];
    this.child = spawn(program, args, {
      cwd: REPOSITORY,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...Object.fromEntries(foreign),
        EARSHOT_PORT: "0",
        EARSHOT_GRPC_PORT: "0",
        EARSHOT_STATE: state,
        ...options.env,
      },
    });
    this.stateFolder = through.length === 0 ? state : `/proc/${this.child.pid}/root${state}`;
    this.child.stdout?.on("data", (chunk: Buffer) => {
      this.stdout += chunk.toString();
    });
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  /** Resolves when the banner is printed. */
  async listening(): Promise<void> {
    await until(
      () => {
        if (this.stdout.includes("Token:")) return true;
        if (!this.hasEnded) return false;
        throw new Error(`standalone ended with ${this.child.exitCode}: ${this.stderr}`);
      },
      "standalone prints its banner",
      START_MS,
    );
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** `http://127.0.0.1:port`, as the banner says. */
  get http(): string {
    return `http://127.0.0.1:${/http:\/\/localhost:(\d+)/.exec(this.stdout)?.[1]}`;
  }

  get ws(): string {
    return this.http.replace("http", "ws");
  }

  get grpc(): string {
    return `127.0.0.1:${/gRPC: {3}localhost:(\d+)/.exec(this.stdout)?.[1]}`;
  }

  /** Resolves with the exit code (null: by a signal) once it and its outputs have ended. */
  async ended(): Promise<number | null> {
    if (!this.hasEnded) await once(this.child, "exit");
    await until(() => this.child.stderr?.readableEnded === true, "its output ends");
    return this.child.exitCode;
  }

  /** Its processes as the peers folder names them. */
  peers(): readonly PeerEndpoint[] {
    const folder = join(this.stateFolder, "run");
    const peers: PeerEndpoint[] = [];
    for (const file of readdirSync(folder)) {
      if (!file.endsWith(".json")) continue;
      const peer = parseEndpoint(JSON.parse(readFileSync(join(folder, file), "utf8")));
      if (peer !== undefined) peers.push(peer);
    }
    return peers;
  }

  peer(name: string): PeerEndpoint | undefined {
    return this.peers().find((peer) => peer.name === name);
  }

  /** Ends it at once, with all its processes, and removes its folder. Safe to call twice. */
  async close(): Promise<void> {
    if (!this.hasEnded) {
      const ended = once(this.child, "exit");
      this.child.kill("SIGTERM");
      await ended;
    }
    keepLogs(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Whether a process of this id is there (and no zombie). */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    if (process.platform === "linux") return false;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
