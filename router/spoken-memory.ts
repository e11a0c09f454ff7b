// Owns: when topics that nobody listens to last spoke. A gateway whose interest comes late (its router was frozen) must
// be told that something was spoken meanwhile, though it went to nobody. Remembers 10 to 20 s in two generations.
// At the cap it forgets names and not the fact: every topic it does not know then counts as having spoken just now, so
// that a gap may be told that was none, and none is kept silent.

import { FAILOVER_MEMORY_MS } from "#core/domain/limits.ts";

/** Topic ids in one generation: 10 MB. */
const IDS_MAX = 100_000;

interface Generation {
  readonly startedAtMs: number;
  readonly spokenAtMs: Map<string, number>;
  /** The cap was reached: what every unknown topic counts as. */
  allSpokenAtMs: number | undefined;
}

export class SpokenMemory {
  readonly #idsMax: number;
  #young: Generation;
  #old: Generation;

  constructor(nowMs: number, idsMax = IDS_MAX) {
    this.#idsMax = idsMax;
    this.#young = newGeneration(nowMs);
    this.#old = newGeneration(nowMs);
  }

  get size(): number {
    return this.#young.spokenAtMs.size + this.#old.spokenAtMs.size;
  }

  remember(id: string, nowMs: number): void {
    if (nowMs - this.#young.startedAtMs > FAILOVER_MEMORY_MS) this.#turn(nowMs);
    const { spokenAtMs } = this.#young;
    if (spokenAtMs.size >= this.#idsMax && !spokenAtMs.has(id)) this.#young.allSpokenAtMs = nowMs;
    else spokenAtMs.set(id, nowMs);
  }

  /** Monotonic; undefined when nothing is remembered. */
  get(id: string): number | undefined {
    const times = [
      this.#young.spokenAtMs.get(id),
      this.#young.allSpokenAtMs,
      this.#old.spokenAtMs.get(id),
      this.#old.allSpokenAtMs,
    ].filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.max(...times);
  }

  /** Lets go of what is older than it need be. */
  sweep(nowMs: number): void {
    if (nowMs - this.#young.startedAtMs > FAILOVER_MEMORY_MS) this.#turn(nowMs);
  }

  #turn(nowMs: number): void {
    this.#old = this.#young;
    this.#young = newGeneration(nowMs);
  }
}

function newGeneration(startedAtMs: number): Generation {
  return { startedAtMs, spokenAtMs: new Map(), allSpokenAtMs: undefined };
}
