// Owns: the interest batches of one link that the router has not confirmed yet. Batches are numbered by one and confirmed
// in order; numbers go on growing when the stream is opened anew, so that a number says when it was sent. Pure.

import type { InterestConfirm, InterestState } from "#proto/earshot/internal/v1/link_pb.ts";

/** One changed interest, and who is told of its confirm. */
export interface InterestChange {
  readonly topicId: string;
  readonly count: number;
  readonly presenceCount: number;
  /** Undefined for what ended. */
  readonly confirmed: ((state: InterestState) => void) | undefined;
}

export interface SentBatch {
  readonly number: bigint;
  readonly changes: readonly InterestChange[];
  readonly initialComplete: boolean;
}

/** Interests in one frame: at most 400 KB, far below what a gRPC message may be. */
const INTERESTS_PER_BATCH_MAX = 1_000;

export class InterestLog {
  /** Number of the last batch. */
  number = 0n;
  /** Whether the router has confirmed the whole list of the present stream. */
  initialConfirmed = false;
  #sent: SentBatch[] = [];

  /** Batches that the router has not confirmed. */
  get unconfirmed(): number {
    return this.#sent.length;
  }

  /** Cuts changes into the batches to send; the last one ends the first list when `initial`. */
  batches(changes: readonly InterestChange[], initial: boolean): readonly SentBatch[] {
    const batches: SentBatch[] = [];
    for (let from = 0; from === 0 || from < changes.length; from += INTERESTS_PER_BATCH_MAX) {
      this.number += 1n;
      batches.push({
        number: this.number,
        changes: changes.slice(from, from + INTERESTS_PER_BATCH_MAX),
        initialComplete: initial && from + INTERESTS_PER_BATCH_MAX >= changes.length,
      });
    }
    this.#sent.push(...batches);
    return batches;
  }

  /** Takes a confirm and tells those who wait for it; false when it is not that of the oldest batch. */
  confirm({ number, states }: InterestConfirm): boolean {
    const batch = this.#sent.shift();
    if (batch === undefined || batch.number !== number) return false;
    if (batch.initialComplete) this.initialConfirmed = true;
    for (const [index, change] of batch.changes.entries()) {
      const state = states[index];
      if (state !== undefined && state.topicId === change.topicId) change.confirmed?.(state);
    }
    return true;
  }

  /** Whether everything up to a batch is confirmed, the first list of the present stream included. */
  hasConfirmed(number: bigint): boolean {
    const [oldest] = this.#sent;
    return this.initialConfirmed && (oldest === undefined || oldest.number > number);
  }

  /** The stream ended: what was sent is void. */
  forget(): void {
    this.#sent = [];
    this.initialConfirmed = false;
  }
}
