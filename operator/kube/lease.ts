// Owns: what a Lease says and when it may be taken: pure. Times in it are other machines', and only written, never
// compared: what counts is when this process saw it change. Elsewhere: calls and timers (leader.ts).

import type { KubeMetadata, KubeObject } from "./api.ts";

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

export interface Lease extends KubeObject {
  readonly spec?: LeaseSpec;
}

export interface ObservedLease {
  /** Undefined: it is gone, or was never there. */
  readonly lease: Lease | undefined;
  /** Monotonic: when what it says was seen to change last. */
  readonly changedAtMs: number;
  /** Whoever held it when it went. */
  readonly lostHolder?: string;
}

export interface Claimant {
  readonly identity: string;
  readonly leaseMs: number;
}

/** Milliseconds of a duration that is believed: a Lease that somebody edited must not stop everybody for ever. */
const DURATION_MS_MAX = 60_000;

/** Joins what was known with what was read at `nowMs`. */
export function observe(known: ObservedLease | undefined, lease: Lease | undefined, nowMs: number): ObservedLease {
  if (lease === undefined) {
    if (known === undefined) return { lease, changedAtMs: nowMs };
    // Its holder may not know yet that it is gone, and leads on until its next renewal.
    const lostHolder = known.lease?.spec?.holderIdentity ?? known.lostHolder;
    return { lease, changedAtMs: known.changedAtMs, ...(lostHolder === undefined ? {} : { lostHolder }) };
  }
  const isSame = known?.lease !== undefined && recordOf(known.lease) === recordOf(lease);
  return { lease, changedAtMs: isSame ? known.changedAtMs : nowMs };
}

/** Whether `claimant` may write itself into it. */
export function mayTake(
  observed: ObservedLease | undefined,
  { identity, leaseMs, nowMs }: Claimant & { readonly nowMs: number },
): boolean {
  if (observed === undefined) return false;
  const holder = observed.lease?.spec?.holderIdentity ?? observed.lostHolder ?? "";
  if (holder === "" || holder === identity) return true;
  const toldMs = (observed.lease?.spec?.leaseDurationSeconds ?? 0) * 1_000;
  return nowMs - observed.changedAtMs >= Math.max(leaseMs, Math.min(toldMs, DURATION_MS_MAX));
}

/** The Lease as `claimant` writes it: with what others keep in it, and its resourceVersion, which makes it a swap. */
export function claim(
  known: Lease | undefined,
  { identity, leaseMs, wallMs, metadata }: Claimant & { readonly wallMs: number; readonly metadata: KubeMetadata },
): Lease {
  const now = microTime(wallMs);
  const spec = known?.spec ?? {};
  const isMine = spec.holderIdentity === identity;
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: known?.metadata ?? metadata,
    spec: {
      ...spec,
      holderIdentity: identity,
      leaseDurationSeconds: Math.max(1, Math.ceil(leaseMs / 1_000)),
      acquireTime: isMine ? (spec.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (spec.leaseTransitions ?? 0) + (isMine || known === undefined ? 0 : 1),
    },
  };
}

/** The Lease as nobody's. */
export function released(lease: Lease, wallMs: number): Lease {
  const now = microTime(wallMs);
  return {
    ...lease,
    spec: { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, acquireTime: now, renewTime: now },
  };
}

/** As metav1.MicroTime is read: with exactly six digits of a second's fraction. */
export function microTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace("Z", "000Z");
}

function recordOf({ metadata: { uid }, spec }: Lease): string {
  return JSON.stringify([uid, spec?.holderIdentity, spec?.renewTime, spec?.acquireTime, spec?.leaseTransitions]);
}
