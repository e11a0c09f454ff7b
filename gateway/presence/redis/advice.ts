// Owns: what an operator is told when Redis does not do: one line an outage, and where the reason is known, what to do.
// Never carries an address's password. Called by connection.ts. That presence is stale meanwhile is said by tracker.ts.

import type { Clock } from "#core/runtime/clock.ts";
import type { Log } from "#core/runtime/log.ts";

/** Milliseconds before the same thing is said again. */
const REPEAT_MS = 60_000;

/** How an error begins, or what is in it, and what to do. */
const KNOWN: readonly (readonly [RegExp, string])[] = [
  [/^OOM /, "Redis is out of memory: give it more, or raise its maxmemory; its maxmemory-policy must be noeviction"],
  [/^NOAUTH|^WRONGPASS|invalid username-password/, "set redisUsername and redisPassword as Redis has them"],
  [/^NOPERM/, "the ACL of this user must allow scripts, INFO and all keys that begin with redisPrefix"],
  [/^LOADING/, "Redis is still reading its data; nothing to do"],
  [/^CLUSTERDOWN/, "slots of the Cluster have no master: see `redis-cli --cluster check`"],
  [/^READONLY/, "this server is a replica: redisUrl must lead to the master, or redisMode be Sentinel or Cluster"],
  [/^MISCONF/, "Redis cannot save to its disk and refuses writes: see its log"],
  [/^NOREPLICAS/, "Redis wants more replicas than it has (min-replicas-to-write)"],
  [/^MOVED|^ASK|^CROSSSLOT/, "this is a Cluster: set redisMode to Cluster"],
  [/cluster support disabled/, "this is no Cluster: set redisMode to Single or Sentinel"],
  [/All sentinels are unreachable/, "no Sentinel answers, or none knows redisSentinelMaster"],
  [/certificate|self-signed|altnames|SSL routines|wrong version number/i, "check rediss:// and redisCaFile"],
];

export class Advice {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #saidAtMs = new Map<string, number>();
  #connected: boolean | undefined;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  connected(): void {
    this.#connected = true;
  }

  /** A connection failed. That one was lost is said by the tracker, that none could be had is said here, once. */
  connecting(error: Error): void {
    const text = errorText(error);
    if (this.failed(text) || this.#connected !== undefined) return;
    this.#connected = false;
    this.#log.warn({ cause: text }, "Redis cannot be reached: member lists are stale until it can");
  }

  /** Says what to do, where it is known and was not just said. Answers whether it is known. */
  failed(text: string): boolean {
    const advice = KNOWN.find(([pattern]) => pattern.test(text))?.[1];
    if (advice === undefined) return false;
    this.#once(advice, { cause: text, advice }, "Redis refuses what presence needs");
    return true;
  }

  policy(policy: string): void {
    if (policy === "noeviction") return;
    const advice = "set maxmemory-policy noeviction";
    this.#once(advice, { policy, advice }, "Redis may throw members away when its memory is full");
  }

  #once(key: string, fields: Readonly<Record<string, string>>, sentence: string): void {
    const saidAtMs = this.#saidAtMs.get(key);
    if (saidAtMs !== undefined && this.#clock.monotonic() - saidAtMs < REPEAT_MS) return;
    this.#saidAtMs.set(key, this.#clock.monotonic());
    this.#log.warn(fields, sentence);
  }
}

/** A Cluster says of its nodes only that all have failed, and keeps the reason apart. */
function errorText(error: Error & { lastNodeError?: unknown }): string {
  return error.lastNodeError instanceof Error ? error.lastNodeError.message : error.message;
}
