// Owns: how ioredis is told to connect. Pure but for files named in settings, which are read here. Why each option is as
// it is stands beside it; what ioredis does otherwise was read in its source (6.0.0).

import { readFileSync } from "node:fs";
import type { ConnectionOptions as TlsOptions } from "node:tls";
import type { ClusterOptions, RedisOptions } from "ioredis";
import { ConfigError } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { RedisTarget } from "#core/runtime/redis-target.ts";

/** Milliseconds for a connection, TLS included; then the next one is tried. */
const CONNECT_MS = 2_000;

/** Milliseconds without a byte, while answers are awaited, after which a connection counts as dead: its peer may be gone without a word. */
const SILENT_SOCKET_MS = 2_000;

/** Milliseconds that a command waits for its answer; a call of ours ends no later. */
const COMMAND_MS = 1_000;

/** Milliseconds between looks at who has which slots, as long as no answer says that it changed. */
const SLOTS_LOOK_MS = 10_000;

/** Milliseconds between tries of a command that met a Cluster in the middle of a change. */
const CLUSTER_RETRY_MS = 50;

type Retry = () => number;

/** Replies keep the one shape that RESP2 has. */
type PlainOptions = Omit<RedisOptions, "replyMapping">;

/** One server, or the master that Sentinels name. Throws ConfigError for a file that cannot be read. */
export function optionsOf(target: RedisTarget, retry: Retry): PlainOptions {
  const [node] = target.nodes;
  const tls = tlsOf(target);
  const common: PlainOptions = {
    ...sharedOf(target),
    db: target.database,
    retryStrategy: retry,
    // A server that is not there must be known at once, not waited for: member lists say `stale`.
    enableOfflineQueue: false,
    // A master that became a replica: Sentinels, or what stands before the servers, know the new one.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
  };
  if (target.mode === "Single") return { ...common, ...node };
  return {
    ...common,
    sentinels: target.nodes.map(({ host, port }) => ({ host, port })),
    name: target.sentinelMaster,
    sentinelRetryStrategy: retry,
    // Who takes over is asked for when the connection ends: Sentinels end it, or nothing comes from a master that is gone.
    // (ioredis' own listening to Sentinels writes to the terminal when one of them is away.)
    sentinelCommandTimeout: COMMAND_MS,
    ...(target.sentinelPassword === undefined ? {} : { sentinelPassword: target.sentinelPassword }),
    ...(tls === undefined ? {} : { sentinelTLS: tls, enableTLSForSentinelMode: true }),
  };
}

export function clusterOptionsOf(target: RedisTarget, retry: Retry) {
  return {
    clusterRetryStrategy: retry,
    // Whether it is there at all is asked before each call; a node that is being connected to is waited for.
    enableOfflineQueue: true,
    slotsRefreshInterval: SLOTS_LOOK_MS,
    slotsRefreshTimeout: COMMAND_MS,
    retryDelayOnFailover: CLUSTER_RETRY_MS,
    retryDelayOnClusterDown: CLUSTER_RETRY_MS,
    retryDelayOnTryAgain: CLUSTER_RETRY_MS,
    // Names stay names, so that certificates are checked with them.
    dnsLookup: (host, callback) => callback(null, host),
    redisOptions: sharedOf(target),
  } satisfies ClusterOptions;
}

function sharedOf(target: RedisTarget): PlainOptions {
  const password = passwordOf(target);
  const tls = tlsOf(target);
  return {
    connectionName: `${target.prefix}-presence`,
    connectTimeout: CONNECT_MS,
    commandTimeout: COMMAND_MS,
    socketTimeout: SILENT_SOCKET_MS,
    maxLoadingRetryTime: 500,
    // What was under way when a connection broke is the caller's to send again.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // Redis 5 and proxies know this one; our answers are the same in both.
    protocol: 2,
    ...(target.username === undefined ? {} : { username: target.username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
  };
}

function passwordOf({ password, passwordFile }: RedisTarget): string | undefined {
  if (passwordFile === undefined) return password;
  return read("redisPasswordFile (EARSHOT_REDIS_PASSWORD_FILE)", passwordFile).replace(/\r?\n$/, "");
}

function tlsOf({ tls, caFile }: RedisTarget): TlsOptions | undefined {
  if (!tls) return undefined;
  return caFile === undefined ? {} : { ca: read("redisCaFile (EARSHOT_REDIS_CA_FILE)", caFile) };
}

function read(setting: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(`${setting} cannot be read: ${messageOf(error)}`);
  }
}
