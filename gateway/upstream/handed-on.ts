// Owns: what a router is told of the batches of one stream: how far they were handed on, and receipts; once a turn of the
// event loop. Invariant: of a stream that has ended nothing is told any more, since the next one numbers its batches from
// 1 again. Called by fanout/deliver.ts. Elsewhere: the frames (link.ts).

import type { ReceiptCount } from "../fanout/receipts.ts";
import { BatchConfirms } from "./batch-confirms.ts";

interface Told {
  /** Every batch up to this one was handed on. */
  readonly confirm: (number: bigint) => void;
  readonly receipts: (counts: readonly ReceiptCount[]) => void;
}

export class HandedOn {
  /** Of the router whose batches these are. */
  readonly incarnation: string;
  readonly #told: Told;
  readonly #confirms = new BatchConfirms();
  #receipts: ReceiptCount[] = [];
  #due: NodeJS.Immediate | undefined;
  #ended = false;

  constructor(incarnation: string, told: Told) {
    this.incarnation = incarnation;
    this.#told = told;
  }

  /** A batch came. */
  began(number: bigint): void {
    this.#confirms.began(number);
  }

  /** A batch was handed on. Batches may end out of order. */
  batchDone(number: bigint): void {
    this.#confirms.done(number);
    this.#tellSoon();
  }

  receipt(count: ReceiptCount): void {
    this.#receipts.push(count);
    this.#tellSoon();
  }

  /** The stream ended. */
  end(): void {
    this.#ended = true;
    if (this.#due !== undefined) clearImmediate(this.#due);
    this.#receipts = [];
  }

  #tellSoon(): void {
    if (!this.#ended) this.#due ??= setImmediate(() => this.#tell());
  }

  #tell(): void {
    this.#due = undefined;
    const number = this.#confirms.take();
    if (number !== undefined) this.#told.confirm(number);
    if (this.#receipts.length === 0) return;
    const receipts = this.#receipts;
    this.#receipts = [];
    this.#told.receipts(receipts);
  }
}
