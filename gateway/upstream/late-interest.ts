// Owns: whether a router's first confirmation of a topic came too late for a subscription that was told `subscribed`
// before it: something was spoken there that this gateway did not hear. Pure.

export interface FirstConfirm {
  /** Of the topic's last message at the router. */
  readonly seq: number;
  /** Monotonic, by this process's clock: when that message was spoken; undefined where the router remembers none. */
  readonly spokenAtMs: number | undefined;
  readonly heardBefore: HeardBefore | undefined;
}

/** What this gateway had heard last of the topic from that router before it registered this interest. */
export interface HeardBefore {
  readonly seq: number;
  /** Monotonic. */
  readonly atMs: number;
}

export type LateInterest = { readonly late: false } | { readonly late: true; readonly missed: number | undefined };

const IN_TIME: LateInterest = { late: false };

/** `subscribedAtMs`: when the subscription was told `subscribed`, monotonic. */
export function judgeLateInterest(confirm: FirstConfirm, subscribedAtMs: number): LateInterest {
  const { seq, spokenAtMs, heardBefore } = confirm;
  if (spokenAtMs === undefined || spokenAtMs <= subscribedAtMs) return IN_TIME;
  if (heardBefore === undefined) return { late: true, missed: undefined };
  if (heardBefore.seq >= seq) return IN_TIME;
  // How many of them came after `subscribed` is known only where it heard the one before them itself.
  return { late: true, missed: heardBefore.atMs >= subscribedAtMs ? seq - heardBefore.seq : undefined };
}
