// Owns: a socket whose kernel takes as many bytes as a test says, with the part of node:net's contract that outboxes use:
// bytes written while the kernel takes them are gone at once, others count as writableLength; `taken` comes later, in
// order. Only for tests of what is inside a process.

interface Pending {
  readonly bytes: Uint8Array;
  readonly taken: ((error?: Error | null) => void) | undefined;
}

export class FakeSocket {
  /** What the other side has got. */
  readonly received: Buffer[] = [];
  readonly #pending: Pending[] = [];
  #open = true;
  #corked = false;
  writes = 0;

  get writableLength(): number {
    let length = 0;
    for (const { bytes } of this.#pending) length += bytes.length;
    return length;
  }

  /** Whether the kernel takes bytes. */
  set open(open: boolean) {
    this.#open = open;
    if (open) this.#drain();
  }

  /** The kernel takes what was given so far, and nothing after it. */
  takeOnce(): void {
    this.#drain();
  }

  write(bytes: Uint8Array, taken?: (error?: Error | null) => void): boolean {
    this.writes += 1;
    this.#pending.push({ bytes, taken });
    if (this.#open && !this.#corked) this.#drain();
    return true;
  }

  cork(): void {
    this.#corked = true;
  }

  uncork(): void {
    this.#corked = false;
    if (this.#open) this.#drain();
  }

  get text(): string {
    return Buffer.concat(this.received).toString("utf8");
  }

  /** As in Node, `taken` is never called within `write`. */
  #drain(): void {
    for (const { bytes, taken } of this.#pending.splice(0)) {
      this.received.push(Buffer.from(bytes));
      if (taken !== undefined) process.nextTick(taken);
    }
  }
}
