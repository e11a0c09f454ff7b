// Owns: taking away what dead holders left, and telling who is gone with them, each user once. They are told as soon as
// they are found: a user who comes back meanwhile is told by another gateway, and must not be overtaken by much. Dead ones
// are found by looking at the leases, and by meeting one in a topic. Invariant: one gateway looks at a time, so that looking
// costs as much as there are gateways, whatever they hold. Called by redis-store.ts.
// Elsewhere: who is dead (lease-scripts.ts), what is taken away in one step (topic-scripts.ts).

import type { Clock } from "#core/runtime/clock.ts";
import type { PresenceReaped } from "../presence.ts";
import type { RedisConnection } from "./connection.ts";
import { indexKey, leaseKeys, topicKeys } from "./keys.ts";
import type { Lease } from "./lease.ts";
import { parseEntry } from "./members.ts";
import { listOf, numberOf, textOf } from "./replies.ts";

/** Milliseconds for which one look is enough for all gateways: they look four times a second each. */
const LOOK_MS = 150;

/** Milliseconds for which a dead holder is one gateway's to look through; longer than it goes on at a time. */
const OWN_MS = 5_000;

/** Milliseconds that one look may take: then it tells what it found, and goes on at the next. */
const TURN_MS = 1_000;

/** Topics looked through at once, and subscriptions taken away in one step: some milliseconds of the server's time. */
const TOPICS_AT_ONCE = 100;
const STEP_ENTRIES = 1_000;

/** Milliseconds for which a holder that was found alive is not asked for again. */
const ALIVE_MS = 400;

/** Holders remembered as alive; at the cap all are asked for again. More than there are gateways. */
const ALIVE_MAX = 10_000;

/** Topics in which a holder was met that may be dead. At the cap the next read of a topic finds it. */
const DOUBTS_MAX = 10_000;

interface ReaperOptions {
  readonly connection: RedisConnection;
  readonly lease: Lease;
  readonly prefix: string;
  readonly clock: Clock;
}

export class Reaper {
  readonly #options: ReaperOptions;
  readonly #aliveUntilMs = new Map<string, number>();
  readonly #doubts = new Map<string, readonly string[]>();
  readonly #listeners = new Set<(gone: readonly PresenceReaped[]) => void>();
  /** Users who went with their gateways, told by this one since its start. */
  told = 0;

  constructor(options: ReaperOptions) {
    this.#options = options;
  }

  get sizes() {
    return { alive: this.#aliveUntilMs.size, doubts: this.#doubts.size };
  }

  onGone(listener: (gone: readonly PresenceReaped[]) => void): void {
    this.#listeners.add(listener);
  }

  /** Looks for dead holders. */
  async reap(): Promise<void> {
    await this.#look();
    await this.#settleDoubts();
  }

  /** Holders that a topic has, some of which may be dead: looked at with the next look. */
  doubt(topicId: string, holders: readonly string[]): void {
    const strangers = holders.filter((holder) => !this.#isAlive(holder));
    if (strangers.length > 0 && this.#doubts.size < DOUBTS_MAX) this.#doubts.set(topicId, strangers);
  }

  /** Takes away what dead ones among the holders have in a topic. Answers whether there were any. */
  async clear(topicId: string, holders: readonly string[]): Promise<boolean> {
    const dead = await this.#deadAmong(holders);
    for (const holder of dead) await this.#remove(topicId, holder);
    return dead.length > 0;
  }

  #isAlive(holder: string): boolean {
    const { lease, clock } = this.#options;
    return lease.isOwn(holder) || (this.#aliveUntilMs.get(holder) ?? 0) > clock.monotonic();
  }

  async #deadAmong(holders: readonly string[]): Promise<readonly string[]> {
    const { connection, prefix, clock } = this.#options;
    const strangers = holders.filter((holder) => !this.#isAlive(holder));
    if (strangers.length === 0) return [];
    const verdicts = listOf(await connection.run("earshotJudge", leaseKeys(prefix), strangers));
    if (this.#aliveUntilMs.size + strangers.length > ALIVE_MAX) this.#aliveUntilMs.clear();
    const untilMs = clock.monotonic() + ALIVE_MS;
    return strangers.filter((holder, index) => {
      if (verdicts[index] === 1) return this.#aliveUntilMs.delete(holder) || true;
      this.#aliveUntilMs.set(holder, untilMs);
      return false;
    });
  }

  async #settleDoubts(): Promise<void> {
    const doubts = [...this.#doubts];
    this.#doubts.clear();
    const dead = new Set(await this.#deadAmong([...new Set(doubts.flatMap(([, holders]) => holders))]));
    for (const [topicId, holders] of doubts) {
      for (const holder of holders) if (dead.has(holder)) await this.#remove(topicId, holder);
    }
  }

  async #look(): Promise<void> {
    const { connection, prefix, clock } = this.#options;
    const endsAtMs = clock.monotonic() + TURN_MS;
    const found = listOf(await connection.run("earshotLook", leaseKeys(prefix), [LOOK_MS, OWN_MS])).map(textOf);
    for (const holder of found) {
      const isThrough = await this.#lookThrough(holder, endsAtMs);
      const args = [holder, isThrough ? "1" : "0"];
      const isForgotten = await connection.run("earshotSettle", leaseKeys(prefix), args);
      if (isForgotten === 1) await connection.remove(indexKey(prefix, holder));
    }
  }

  /** Answers whether nothing is left in the holder's index. */
  async #lookThrough(holder: string, endsAtMs: number): Promise<boolean> {
    const { connection, prefix, clock } = this.#options;
    const key = indexKey(prefix, holder);
    this.#aliveUntilMs.delete(holder);
    while (clock.monotonic() < endsAtMs) {
      const topicIds = await connection.first(key, TOPICS_AT_ONCE);
      if (topicIds.length === 0) return true;
      await Promise.all(topicIds.map((topicId) => this.#remove(topicId, holder)));
      await connection.drop(key, topicIds);
    }
    return false;
  }

  async #remove(topicId: string, holder: string): Promise<void> {
    const { connection, prefix } = this.#options;
    for (;;) {
      const reply = await connection.run("earshotRemove", topicKeys(prefix, topicId, holder), [holder, STEP_ENTRIES]);
      const [isLeft, users, version, gone, here] = listOf(reply);
      const after = { topicId, count: numberOf(users), version: numberOf(version) };
      const went: PresenceReaped[] = listOf(gone).map((user) => ({ ...after, userId: textOf(user) }));
      const stay = listOf(here).flatMap((text): PresenceReaped[] => {
        const entry = parseEntry(topicId, textOf(text));
        return entry === undefined ? [] : [{ ...after, userId: entry.userId, stays: { info: entry.info } }];
      });
      this.#tell([...went, ...stay]);
      if (isLeft !== 1) return;
    }
  }

  #tell(gone: readonly PresenceReaped[]): void {
    if (gone.length === 0) return;
    this.told += gone.length;
    for (const listener of this.#listeners) listener(gone);
  }
}
