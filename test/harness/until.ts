// Owns: waiting in tests for what will be true, instead of sleeping.

const POLL_MS = 10;

/** Resolves with the first truthy value of `condition`, which is asked every 10 ms; rejects naming `what` after `timeoutMs`. */
export async function until<T>(
  condition: () => T | Promise<T>,
  what: string,
  timeoutMs = 10_000,
): Promise<Exclude<T, undefined | null | false | 0 | "">> {
  const endsAt = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Exclude<T, undefined | null | false | 0 | "">;
    if (performance.now() >= endsAt) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
