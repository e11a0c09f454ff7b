// Owns: everything that standalone mode checks and makes before the first process is started, so that whatever is wrong
// is one sentence on the terminal: settings, folders, the lock, the secret, the ports.

import { randomBytes } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type ConfigSources, loadConfig, variableOf } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";
import { redisTargetOf } from "#core/runtime/redis-target.ts";
import { loadOrCreateSecret } from "#core/runtime/secret.ts";
import { type Config, SETTINGS, type SettingName } from "#core/runtime/settings.ts";
import { publicUrl } from "./banner.ts";
import { CannotStart, EXIT_WRONG_SETTING } from "./cannot-start.ts";
import { type Doors, isLoopback, openDoors, type PortSharing, portsOf, resolvePortSharing } from "./doors.ts";
import { waitForPredecessors } from "./leftovers.ts";
import { type Lock, takeLock } from "./lock.ts";
import type { Installation } from "./slots.ts";

/** What standalone mode takes for settings that nobody set, where it is not the table's default. */
export const STANDALONE_DEFAULTS = {
  anonymous: true,
  httpTopicsNamespace: "default",
  httpTopicsCreate: "Anyone",
} as const satisfies Partial<Config>;

export interface Prepared {
  readonly installation: Installation;
  readonly portSharing: PortSharing;
  /** Whether `auto` chose how ports are shared, and what it chose is the usual. */
  readonly usualPortSharing: boolean;
  /** Listening already. Where the kernel shares the ports they are closed once a gateway listens too. */
  readonly doors: Doors;
  readonly lock: Lock;
}

/** Bytes of the secret between processes: it lives as long as this start. */
const PEER_SECRET_BYTES = 32;

/** Throws ConfigError or CannotStart, with nothing left behind but folders. */
export async function prepare(sources: ConfigSources): Promise<Prepared> {
  const asked = readSettings(sources);
  const portSharing = resolvePortSharing(asked.portSharing, process.platform);
  refuseOpenHost(asked);
  requireFolder(asked.topics);
  makeStateFolder(asked.state);
  try {
    return await prepareState(asked, portSharing);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new CannotStart(
      `the state folder ${asked.state} (--state, EARSHOT_STATE) cannot be written: ${messageOf(error)}`,
    );
  }
}

/** What is made in the state folder, by whoever holds its lock, and the ports. */
async function prepareState(asked: Config, portSharing: PortSharing): Promise<Prepared> {
  const lock = takeLock(asked.state);
  try {
    const peersFolder = join(asked.state, "run");
    if (lock.tookOver) await waitForPredecessors(peersFolder);
    rmSync(peersFolder, { recursive: true, force: true });
    mkdirSync(peersFolder);
    const secret = asked.secret === "" ? loadOrCreateSecret(asked.state) : asked.secret;
    const doors = await openDoors(asked.host, { http: asked.port, grpc: asked.grpcPort }, portSharing);
    const ports = portsOf(doors);
    lock.listensAt(publicUrl(asked.host, ports.http));
    const config = { ...asked, secret, portSharing, port: ports.http, grpcPort: ports.grpc };
    const peerSecret = randomBytes(PEER_SECRET_BYTES).toString("base64url");
    return {
      installation: { config, peersFolder, peerSecret, node: hostname() },
      portSharing,
      usualPortSharing: portSharing === "reusePort",
      doors,
      lock,
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** What a call of the system threw, with its own words; a full disk, as a rule. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}

function readSettings(sources: ConfigSources): Config {
  const known = new Set(["EARSHOT_CONFIG", ...(Object.keys(SETTINGS) as SettingName[]).map(variableOf)]);
  for (const name of Object.keys(sources.env)) {
    if (name.startsWith("EARSHOT_") && !known.has(name)) {
      throw new CannotStart(`${name} is not a setting; --help lists them`, EXIT_WRONG_SETTING);
    }
  }
  const { config, given } = loadConfig("standalone", sources);
  const unset = Object.entries(STANDALONE_DEFAULTS).filter(([name]) => !given.has(name as SettingName));
  const all: Config = { ...config, ...Object.fromEntries(unset) };
  redisTargetOf(all);
  if (all.port === all.grpcPort && all.port !== 0) {
    throw new CannotStart(
      `--port (EARSHOT_PORT) and --grpc-port (EARSHOT_GRPC_PORT) must differ, both are ${all.port}`,
      EXIT_WRONG_SETTING,
    );
  }
  return all;
}

function refuseOpenHost(config: Config): void {
  if (isLoopback(config.host) || config.secret !== "") return;
  throw new CannotStart(
    `${config.host} (--host, EARSHOT_HOST) can be reached from other machines, so tokens need a key of your own: set --secret or EARSHOT_SECRET`,
    EXIT_WRONG_SETTING,
  );
}

function requireFolder(topics: string): void {
  const problem = topicsProblem(topics);
  if (problem !== undefined) throw new CannotStart(`the topics folder ${topics} (--topics, EARSHOT_TOPICS) ${problem}`);
}

function topicsProblem(topics: string): string | undefined {
  try {
    if (!statSync(topics).isDirectory()) return "is not a folder";
    accessSync(topics, constants.R_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return missing ? "is not there" : `cannot be read: ${messageOf(error)}`;
  }
}

/** As mkdir's `recursive`, which never comes back where a folder takes no children (/proc). */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  if (!existsSync(dirname(path))) makeFolder(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}

function makeStateFolder(state: string): void {
  try {
    makeFolder(resolve(state));
    if (!statSync(state).isDirectory()) throw new Error("it is not a folder");
    accessSync(state, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new CannotStart(`the state folder ${state} (--state, EARSHOT_STATE) cannot be used: ${messageOf(error)}`);
  }
}
