// Owns: what an operator does only while it leads: plans shard maps, and decides on the status of Topics. A new term starts
// from what is stored, never from what this replica thought before. Called by operator.ts as the leadership changes.

import type { ShardMap } from "#core/domain/shard-map.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { StatusKeeper, type StatusKeeperOptions } from "./control-plane/status-keeper.ts";
import type { Leadership } from "./platform/platform.ts";
import { Reconciler, type ReconcilerOptions } from "./reconcile/reconciler.ts";

export interface TermOptions {
  readonly reconciler: ReconcilerOptions;
  readonly keeper: StatusKeeperOptions;
}

class Term implements Component {
  readonly reconciler: Reconciler;
  readonly keeper: StatusKeeper;

  constructor(options: TermOptions) {
    this.keeper = new StatusKeeper(options.keeper);
    this.reconciler = new Reconciler(options.reconciler);
  }

  async start(): Promise<void> {
    await this.keeper.start();
    await this.reconciler.start();
  }

  async close(): Promise<void> {
    await this.reconciler.close();
    await this.keeper.close();
  }
}

/** Starts a term when this operator begins to lead, and ends it when it stops. */
export class Terms implements Component {
  readonly #options: TermOptions;
  readonly #leadership: Leadership;
  #term: Term | undefined;
  #unlisten: (() => void) | undefined;

  constructor(leadership: Leadership, options: TermOptions) {
    this.#leadership = leadership;
    this.#options = options;
  }

  /** Resolves when the first term, if this operator leads, has begun. */
  async start(): Promise<void> {
    this.#unlisten = this.#leadership.onChange(() => void this.#follow());
    await this.#follow();
  }

  /** Topics whose generation is not decided yet; 0 where another operator decides. */
  get undecided(): number {
    return this.#term?.keeper.undecided ?? 0;
  }

  /** Topics that are not Ready; 0 where another operator decides. */
  get notReady(): number {
    return this.#term?.keeper.notReady ?? 0;
  }

  /** The map that this operator planned last; undefined where another one plans. */
  get map(): ShardMap | undefined {
    return this.#term?.reconciler.map;
  }

  async close(): Promise<void> {
    this.#unlisten?.();
    await this.#end();
  }

  async #follow(): Promise<void> {
    if (!this.#leadership.leading) return this.#end();
    if (this.#term !== undefined) return;
    const term = new Term(this.#options);
    this.#term = term;
    await term.start();
  }

  async #end(): Promise<void> {
    const term = this.#term;
    this.#term = undefined;
    await term?.close();
  }
}
