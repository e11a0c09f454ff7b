// Owns: ioredis: one connection to a server (found by Sentinels, if need be), or those to a Cluster's nodes. Runs our
// scripts by name. Invariants: a call ends within CALL_MS, with an answer or presence_unavailable; nothing waits for a
// server that is not there; connecting is tried for ever. Elsewhere: what scripts do (topic-scripts.ts,
// lease-scripts.ts), whether a server is still the one it was (servers.ts), what an operator is told (advice.ts).

import { Cluster, Redis } from "ioredis";
import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EarshotError, messageOf } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import type { RedisTarget } from "#core/runtime/redis-target.ts";
import { Advice } from "./advice.ts";
import { clusterOptionsOf, optionsOf } from "./connect-options.ts";
import { JUDGE, LOOK, RENEW, SETTLE, UNINDEX } from "./lease-scripts.ts";
import { Servers } from "./servers.ts";
import { APPLY, LIST, REMOVE } from "./topic-scripts.ts";

/** Milliseconds that a call may take, all its redirections included, before the store counts as gone. */
const CALL_MS = 1_000;

const SCRIPTS = {
  earshotApply: APPLY,
  earshotRemove: REMOVE,
  earshotList: LIST,
  earshotRenew: RENEW,
  earshotLook: LOOK,
  earshotSettle: SETTLE,
  earshotJudge: JUDGE,
  earshotUnindex: UNINDEX,
} as const;

export type ScriptName = keyof typeof SCRIPTS;

type Scripted = Record<ScriptName, (keyCount: number, ...rest: (string | number)[]) => Promise<unknown>>;

interface ConnectionOptions {
  readonly target: RedisTarget;
  readonly clock: Clock;
  readonly log: Log;
}

export class RedisConnection {
  readonly #client: Redis | Cluster;
  readonly #clock: Clock;
  readonly #advice: Advice;
  readonly #servers: Servers;
  readonly #readyListeners = new Set<() => void>();
  /** Calls by how they ended, since the start. */
  readonly calls = { answered: 0, failed: 0, late: 0, refused: 0 };
  #closed = false;

  constructor({ target, clock, log }: ConnectionOptions) {
    this.#clock = clock;
    this.#advice = new Advice(log, clock);
    const backoff = new Backoff({ firstMs: 50, maxMs: 500 });
    const retry = (): number => backoff.next();
    this.#client =
      target.mode === "Cluster"
        ? new Cluster([...target.nodes], clusterOptionsOf(target, retry))
        : new Redis(optionsOf(target, retry));
    for (const [name, lua] of Object.entries(SCRIPTS)) this.#client.defineCommand(name, { lua });
    this.#servers = new Servers(this.#client, (policy) => this.#advice.policy(policy));
    this.#client.on("error", (error: Error) => this.#advice.connecting(error));
    this.#client.on("node error", (error: Error) => this.#advice.connecting(error));
    this.#client.on("ready", () => {
      backoff.reset();
      this.#advice.connected();
    });
    this.#servers.onKnown(() => {
      for (const listener of this.#readyListeners) listener();
    });
  }

  /** Whether a call has somebody to go to. */
  get ready(): boolean {
    return this.#client.status === "ready" && this.#servers.known;
  }

  /** Counts up when a server may no longer hold all that it was told. */
  get losses(): number {
    return this.#servers.losses;
  }

  /** Called when a server was connected to, and it is known whether it is the one it was. */
  onReady(listener: () => void): void {
    this.#readyListeners.add(listener);
  }

  run(script: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return this.#call(() => (this.#client as unknown as Scripted)[script](keys.length, ...keys, ...args));
  }

  /** Adds members of a sorted set, whose scores only grow. */
  raise(key: string, score: number, members: readonly string[]): Promise<unknown> {
    return this.#call(() => this.#client.zadd(key, "GT", ...members.flatMap((member) => [String(score), member])));
  }

  /** The first members of a sorted set. */
  first(key: string, most: number): Promise<readonly string[]> {
    return this.#call(() => this.#client.zrange(key, "0", String(most - 1)));
  }

  drop(key: string, members: readonly string[]): Promise<unknown> {
    return this.#call(() => this.#client.zrem(key, ...members));
  }

  remove(key: string): Promise<unknown> {
    return this.#call(() => this.#client.unlink(key));
  }

  close(): void {
    this.#closed = true;
    this.#readyListeners.clear();
    this.#client.disconnect();
  }

  async #call<T>(call: () => Promise<T>): Promise<T> {
    if (this.#closed || !this.ready) {
      this.calls.refused += 1;
      throw unavailable("Redis is not connected");
    }
    let cancel = (): void => {};
    const deadline = new Promise<typeof LATE>((resolve) => {
      const timer = this.#clock.after(CALL_MS, () => resolve(LATE));
      cancel = () => timer.cancel();
    });
    try {
      const answer = await Promise.race([call(), deadline]);
      if (answer !== LATE) {
        this.calls.answered += 1;
        return answer;
      }
    } catch (error) {
      this.calls.failed += 1;
      this.#advice.failed(messageOf(error));
      throw unavailable(messageOf(error), error);
    } finally {
      cancel();
    }
    this.calls.late += 1;
    throw unavailable("Redis did not answer in time");
  }
}

const LATE = Symbol("late");

function unavailable(message: string, cause?: unknown): EarshotError {
  return new EarshotError("presence_unavailable", message, { cause });
}
