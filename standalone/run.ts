// Owns: the life of `npm start`: help, or everything prepared, started, announced, and ended by a signal.

import { ConfigError } from "#core/runtime/config.ts";
import { bannerOf } from "./banner.ts";
import { CannotStart, EXIT_WRONG_SETTING } from "./cannot-start.ts";
import { helpText } from "./help.ts";
import { type Prepared, prepare } from "./prepare.ts";
import { Supervisor } from "./supervisor.ts";

/** Milliseconds in which a second signal is the same wish: npm passes on what the terminal already sent. */
const SAME_SIGNAL_MS = 1_000;
const EXIT_INTERRUPTED = 130;
const PARENT_LOOK_MS = 500;

const HANDOFF_LINE =
  "Ports:  gateways do not share the ports here; one process accepts connections and hands them over (portSharing: handoff)";

export async function run(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  // A terminal that was closed takes no more lines; the processes go on.
  process.stdout.on("error", () => {});
  process.stderr.on("error", () => {});
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(helpText());
    return;
  }
  try {
    await runPrepared(await prepare({ argv, env }));
  } catch (error) {
    process.exit(explain(error));
  }
}

async function runPrepared(prepared: Prepared): Promise<void> {
  const { config } = prepared.installation;
  const supervisor = new Supervisor(prepared, say);
  endOnSignals(supervisor, config.drain);
  if (!prepared.usualPortSharing) say(HANDOFF_LINE);
  try {
    await supervisor.start();
  } catch (error) {
    await supervisor.close();
    throw error;
  }
  if (supervisor.stopping) return;
  const { host, port, grpcPort, routers, gateways } = config;
  process.stdout.write(bannerOf({ host, ports: { http: port, grpc: grpcPort }, routers, gateways }));
}

function endOnSignals(supervisor: Supervisor, drainMs: number): void {
  let firstAtMs: number | undefined;
  const onSignal = (): void => {
    if (firstAtMs === undefined) {
      firstAtMs = performance.now();
      void supervisor.drain(drainMs).then(() => process.exit(0));
    } else if (performance.now() - firstAtMs > SAME_SIGNAL_MS) {
      void supervisor.close().then(() => process.exit(EXIT_INTERRUPTED));
    }
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  if (process.env["npm_lifecycle_event"] !== undefined) onShellGone(onSignal);
}

/**
 * Between npm and this process stands a shell. A signal that npm gets alone (no terminal sends it to all) ends the
 * shell, which tells nobody: that this process has another parent is all that is seen of it.
 */
function onShellGone(action: () => void): void {
  const shell = process.ppid;
  const look = setInterval(() => {
    if (process.ppid === shell) return;
    clearInterval(look);
    action();
  }, PARENT_LOOK_MS).unref();
}

function say(line: string): void {
  process.stderr.write(`${line.replaceAll(/\s*\n\s*/g, " ")}\n`);
}

/** Says what ended the start and returns the exit code. What is not an operating error is a bug, with its stack. */
function explain(error: unknown): number {
  if (error instanceof ConfigError) {
    say(error.message);
    return EXIT_WRONG_SETTING;
  }
  if (error instanceof CannotStart) {
    say(error.message);
    return error.exitCode;
  }
  throw error;
}
