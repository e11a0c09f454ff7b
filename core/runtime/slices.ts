// Owns: long work in slices, so that reading, applying or forgetting many thousands of anything never holds the event
// loop: streams beat, probes answer and messages go out meanwhile.

/** Milliseconds of work between two breaths: far below the 50 ms that nothing of ours may take. */
const SLICE_MS = 4;

export class Slices {
  #endsAtMs = performance.now() + SLICE_MS;

  /** Call between items: lets everything else run when the slice is used up. */
  async breathe(): Promise<void> {
    if (!this.isOver) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#endsAtMs = performance.now() + SLICE_MS;
  }

  /** Whether `breathe` would let go: loops over very many items ask before they await. */
  get isOver(): boolean {
    return performance.now() >= this.#endsAtMs;
  }
}
