// Owns: the presence store of a cluster: Redis or Valkey, one server or several. Every gateway is a client of its own; what
// has to be decided at one place is decided by scripts in Redis. Invariants: one call a (batch, topic), which
// do not wait for each other; what keeps a gateway's subscriptions alive is its one lease, whatever their number.
// Called by tracker.ts. Elsewhere: ioredis (connection.ts), scripts (topic-scripts.ts, lease-scripts.ts), who is dead
// (reaper.ts). docs/adr/0016 says why it is so.

import { PRESENCE_PAGE_MAX } from "#core/domain/limits.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import { type Registry, readCounter, readCounters, readGauges } from "#core/runtime/metrics.ts";
import type { RedisTarget } from "#core/runtime/redis-target.ts";
import { Slices } from "#core/runtime/slices.ts";
import { RECOVERY_MS } from "../memory-store.ts";
import { PAGE_BYTES_MAX, parseCursor, renderCursor } from "../page.ts";
import type {
  PresenceDecision,
  PresenceEmptied,
  PresenceEntry,
  PresenceOperation,
  PresencePage,
  PresenceReaped,
  PresenceStore,
} from "../presence.ts";
import { RedisConnection } from "./connection.ts";
import { HolderIndex } from "./holder-index.ts";
import { topicKeys } from "./keys.ts";
import { Lease } from "./lease.ts";
import { argumentsOf, parseEntry, placeOf, positionOf } from "./members.ts";
import { Reaper } from "./reaper.ts";
import { listOf, numberOf, textOf } from "./replies.ts";

/** How often a list is read again because dead gateways were met in it: each time those are taken away first. */
const LIST_TRIES = 3;

interface RedisStoreOptions {
  readonly target: RedisTarget;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

/** What a batch has for one topic. */
interface TopicPart {
  readonly holder: string;
  readonly batch: number;
  readonly operations: readonly PresenceOperation[];
  /** Of the operations. */
  readonly indexes: readonly number[];
  /** Of the batch; filled in. */
  readonly decisions: PresenceDecision[];
}

/** Of one gateway. */
export class RedisPresenceStore implements PresenceStore {
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #connection: RedisConnection;
  readonly #lease: Lease;
  readonly #index: HolderIndex;
  readonly #reaper: Reaper;
  readonly #listeners = new Set<(why: PresenceEmptied) => void>();

  constructor({ target, clock, log, registry }: RedisStoreOptions) {
    const { prefix } = target;
    const connection = new RedisConnection({ target, clock, log });
    this.#prefix = prefix;
    this.#clock = clock;
    this.#connection = connection;
    this.#lease = new Lease({ connection, prefix, clock, isFenced: target.mode !== "Cluster" });
    this.#index = new HolderIndex(connection, prefix);
    this.#reaper = new Reaper({ connection, lease: this.#lease, prefix, clock });
    this.#measure(registry);
  }

  onEmptied(listener: (why: PresenceEmptied) => void): void {
    this.#listeners.add(listener);
  }

  onFound(listener: () => void): void {
    this.#connection.onReady(listener);
  }

  onGone(listener: (gone: readonly PresenceReaped[]) => void): void {
    this.#reaper.onGone(listener);
  }

  async renewLease(gatewayIncarnation: string, ttlMs: number): Promise<void> {
    const why = await this.#lease.renew(gatewayIncarnation, ttlMs);
    if (why !== undefined) for (const listener of this.#listeners) listener(why);
  }

  allTold(): void {
    this.#lease.settle();
  }

  async apply(
    _gatewayIncarnation: string,
    operations: readonly PresenceOperation[],
    batch: number,
  ): Promise<readonly PresenceDecision[]> {
    const holder = this.#holder();
    const topics = new Map<string, number[]>();
    const joined = new Set<string>();
    for (const [index, { kind, entry }] of operations.entries()) {
      const indexes = topics.get(entry.topicId);
      if (indexes === undefined) topics.set(entry.topicId, [index]);
      else indexes.push(index);
      if (kind === "join") joined.add(entry.topicId);
    }
    await this.#index.hold(holder, [...joined]);
    const decisions: PresenceDecision[] = Array.from({ length: operations.length });
    const calls: Promise<void>[] = [];
    const slices = new Slices();
    for (const [topicId, indexes] of topics) {
      const call = this.#applyTo(topicId, { holder, batch, operations, indexes, decisions });
      // While the others are still being written nobody waits for this one yet.
      call.catch(() => {});
      calls.push(call);
      if (slices.isOver) await slices.breathe();
    }
    await Promise.all(calls);
    return decisions;
  }

  async list(topicId: string, limit: number, cursor: string | undefined): Promise<PresencePage> {
    const from = cursor === undefined ? "" : placeOf(parseCursor(cursor));
    for (let tries = 0; tries < LIST_TRIES; tries++) {
      const holder = this.#holder();
      const args = [Math.min(limit, PRESENCE_PAGE_MAX), PAGE_BYTES_MAX, from];
      const reply = await this.#connection.run("earshotList", topicKeys(this.#prefix, topicId, holder), args);
      const [count, version, holders, more, page] = listOf(reply);
      if (await this.#reaper.clear(topicId, listOf(holders).map(textOf))) continue;
      return {
        ...membersOf(topicId, listOf(page).map(textOf), more === 1),
        count: numberOf(count),
        version: numberOf(version),
      };
    }
    throw new EarshotError("presence_unavailable", "gateways that are gone are still being taken out of this topic");
  }

  reap(): Promise<void> {
    return this.#reaper.reap();
  }

  close(): Promise<void> {
    this.#connection.close();
    return Promise.resolve();
  }

  #measure(registry: Registry): void {
    const kept = "What this gateway keeps about presence in Redis, by kind.";
    readGauges(registry, { name: "earshot_presence_redis_size", help: kept, label: "kind" }, () => ({
      topics: this.#index.size,
      ...this.#reaper.sizes,
    }));
    const calls =
      "Calls to Redis by how they ended: answered, failed (an error was the answer), late (none in time), refused (not connected).";
    const labelled = { name: "earshot_presence_redis_calls_total", help: calls, label: "outcome" };
    readCounters(registry, labelled, () => this.#connection.calls);
    const losses =
      "Times that another server had taken over from one, which may lack the last that it was told: all was told again.";
    readCounter(registry, "earshot_presence_redis_takeovers_total", losses, () => this.#connection.losses);
    const gone = "Users who went with their gateways, as this gateway found and told.";
    readCounter(registry, "earshot_presence_redis_gone_total", gone, () => this.#reaper.told);
  }

  #holder(): string {
    const { holder } = this.#lease;
    if (holder === undefined) throw new EarshotError("presence_unavailable", "this gateway has no lease at Redis now");
    return holder;
  }

  async #applyTo(topicId: string, part: TopicPart): Promise<void> {
    const { holder, batch, operations, indexes, decisions } = part;
    const args = indexes.flatMap((index) => argumentsAt(operations, index));
    const keys = topicKeys(this.#prefix, topicId, holder);
    const reply = await this.#connection.run("earshotApply", keys, [holder, batch, this.#lease.fenceMs, ...args]);
    const [left, holders, results] = listOf(reply);
    if (left === 0) this.#index.left(topicId);
    this.#reaper.doubt(topicId, listOf(holders).map(textOf));
    this.#decide(operations, indexes, listOf(results).map(numberOf), decisions);
  }

  /** `results`: changed, users and version of each operation, in turn. */
  #decide(
    operations: readonly PresenceOperation[],
    indexes: readonly number[],
    results: readonly number[],
    decisions: PresenceDecision[],
  ): void {
    // What was answered by then was done by then: whole lists, which are read later, have it.
    const isRecovering = this.#clock.monotonic() < this.#lease.storeBornAtMs + RECOVERY_MS;
    for (const [at, index] of indexes.entries()) {
      const [changed, count = 0, version = 0] = results.slice(at * 3, at * 3 + 3);
      const isSilent = isRecovering && operations[index]?.resent === true;
      decisions[index] = { changed: changed === 1 && !isSilent, count, version };
    }
  }
}

function argumentsAt(operations: readonly PresenceOperation[], index: number): string[] {
  const operation = operations[index];
  return operation === undefined ? [] : argumentsOf(operation);
}

/** `page`: place and text of each subscription, in turn. */
function membersOf(topicId: string, page: readonly string[], more: boolean) {
  const members: PresenceEntry[] = [];
  let last: string | undefined;
  for (let at = 0; at + 1 < page.length; at += 2) {
    const entry = parseEntry(topicId, page[at + 1] ?? "");
    if (entry !== undefined) members.push(entry);
    last = page[at];
  }
  return { members, nextCursor: more && last !== undefined ? renderCursor(positionOf(last)) : undefined };
}
