// Owns: long work in slices, so that reading or sending many thousands of Topics never holds the event loop: streams
// beat, probes answer and maps go out meanwhile.

/** Milliseconds of work between two breaths: far below the 50 ms that nothing here may take. */
const SLICE_MS = 8;

export class Slices {
  #endsAtMs = performance.now() + SLICE_MS;

  /** Call between items: lets everything else run when the slice is used up. */
  async breathe(): Promise<void> {
    if (performance.now() < this.#endsAtMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#endsAtMs = performance.now() + SLICE_MS;
  }

  /** Whether `breathe` would let go: loops over very many items ask before they await. */
  get isOver(): boolean {
    return performance.now() >= this.#endsAtMs;
  }
}
