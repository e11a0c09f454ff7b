// Owns: counting what became of one message here, for publishers that asked (`receipt: "gateway"`). "Written" is what a
// connection took: given to its socket, or to its queue when the socket is behind (a later overflow of that queue is told
// to the client as a gap, but no longer to the publisher, who waits a second at most), or kept for a client that does not
// know yet who is there (and that may give the subscription up before it does).

export class ReceiptCount {
  readonly receiptId: bigint;
  written = 0;
  readonly notWritten: Record<string, number> = {};

  constructor(receiptId: bigint) {
    this.receiptId = receiptId;
  }

  missed(reason: string, count: number): void {
    this.notWritten[reason] = (this.notWritten[reason] ?? 0) + count;
  }
}
