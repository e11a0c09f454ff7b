// Owns: checking in tests that something stays as it is for a while: the counterpart of `until`, for what must not happen.

const POLL_MS = 10;

/** Resolves when `condition` held at every look for `forMs`; rejects naming `what` at the first look where it did not. */
export async function holds(condition: () => boolean, what: string, forMs: number): Promise<void> {
  const endsAt = performance.now() + forMs;
  while (performance.now() < endsAt) {
    if (!condition()) throw new Error(`no longer true within ${forMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
