// Owns: what the settings say of Redis, as one value: where it is and how to get in. Pure. Called by the gateway, which
// connects, and by standalone mode, which wants to know of a mistake before it starts anything. Invariant: no message
// carries an address, since an address may hold a password.

import { ConfigError } from "./config.ts";
import { redisUrlProblem, redisUrlsOf } from "./redis-url.ts";
import type { Config } from "./settings.ts";

export interface RedisNode {
  readonly host: string;
  readonly port: number;
}

export interface RedisTarget {
  readonly mode: Config["redisMode"];
  /** The server, the Sentinels, or some nodes of the Cluster. */
  readonly nodes: readonly RedisNode[];
  readonly tls: boolean;
  /** Path of the PEM file that the server's certificate is checked with; undefined: what Node trusts. */
  readonly caFile: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly passwordFile: string | undefined;
  readonly database: number;
  readonly sentinelMaster: string;
  readonly sentinelPassword: string | undefined;
  /** Begins every key. */
  readonly prefix: string;
}

type RedisConfig = Pick<
  Config,
  | "redisUrl"
  | "redisMode"
  | "redisSentinelMaster"
  | "redisSentinelPassword"
  | "redisUsername"
  | "redisPassword"
  | "redisPasswordFile"
  | "redisCaFile"
  | "redisPrefix"
>;

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;

/** Undefined: no Redis. Throws ConfigError where settings do not fit each other. */
export function redisTargetOf(config: RedisConfig): RedisTarget | undefined {
  if (config.redisUrl === "") return undefined;
  const urls = redisUrlsOf(config.redisUrl) ?? [];
  const [first] = urls;
  if (first === undefined)
    throw new ConfigError(`redisUrl (EARSHOT_REDIS_URL) must be ${redisUrlProblem(config.redisUrl)}`);
  const mode = config.redisMode;
  const database = Number(first.pathname.slice(1));
  refuse(mode === "Single" && urls.length > 1, "names several servers, so redisMode must be Sentinel or Cluster");
  refuse(mode === "Cluster" && database !== 0, "names a database, and a Cluster has only number 0");
  if (mode === "Sentinel" && config.redisSentinelMaster === "") {
    throw new ConfigError("redisSentinelMaster (EARSHOT_REDIS_SENTINEL_MASTER) must be the name Sentinels have for it");
  }
  const passwords = [decodeURIComponent(first.password), config.redisPassword, config.redisPasswordFile];
  if (passwords.filter((one) => one !== "").length > 1) {
    throw new ConfigError("the password of Redis must stand in one of redisUrl, redisPassword and redisPasswordFile");
  }
  return {
    mode,
    nodes: urls.map((url) => nodeOf(url, mode === "Sentinel" ? SENTINEL_PORT : REDIS_PORT)),
    tls: first.protocol === "rediss:",
    caFile: orNone(config.redisCaFile),
    username: orNone(config.redisUsername) ?? orNone(decodeURIComponent(first.username)),
    password: orNone(config.redisPassword) ?? orNone(decodeURIComponent(first.password)),
    passwordFile: orNone(config.redisPasswordFile),
    database,
    sentinelMaster: config.redisSentinelMaster,
    sentinelPassword: orNone(config.redisSentinelPassword),
    prefix: config.redisPrefix,
  };
}

function refuse(isWrong: boolean, what: string): void {
  if (isWrong) throw new ConfigError(`redisUrl (EARSHOT_REDIS_URL) ${what}`);
}

function orNone(text: string): string | undefined {
  return text === "" ? undefined : text;
}

function nodeOf({ hostname, port }: URL, defaultPort: number): RedisNode {
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? defaultPort : Number(port) };
}
