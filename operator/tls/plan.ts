// Owns: when an authority is made, when it begins to sign, when certificates are signed anew, and how long the authorities
// before it are trusted. Pure: no clock, no randomness, no store.
// Invariant: whatever certificate a process shows comes from an authority that every other process has been told to trust
// long enough ago to have read it, and is told to trust until long after nobody shows such a one any more. Only where
// there is nothing left to show (a first start, everything ran out) this cannot hold.

import type { InstallationRole } from "#core/fleet/peer-names.ts";
import { type Authority, LEAF_ROLES, type Leaf, type Observed, type Trusted } from "./observed.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Milliseconds by which everything is valid before it is made: clocks of nodes differ. */
export const BACKDATED_MS = 5 * 60_000;

/** Milliseconds of an authority, and from which age on the next one is prepared: it then still outlives what it signs. */
export const AUTHORITY_MS = 365 * DAY_MS;
const AUTHORITY_RENEWED_MS = (AUTHORITY_MS * 2) / 3;

/** Milliseconds of a certificate, and the age at which it is signed anew: a month of outage of all operators harms nobody. */
export const LEAF_MS = 90 * DAY_MS;
const LEAF_RENEWED_MS = 60 * DAY_MS;

/** Milliseconds that everybody is given to read a changed Secret. A kubelet takes two minutes at most. */
const SETTLED_MS = HOUR_MS;

/** An authority with less than this left signs nothing more. */
const AUTHORITY_LEFT_MS = DAY_MS;

/** Authorities in a bundle: there are three in the worst of ordinary times. At the cap the oldest go. */
const TRUSTED_MAX = 8;

export interface Plan {
  /**
   * `create`: one that signs at once; `prepare`: one that signs when all trust it; `promote`: the prepared one signs from
   * now on.
   */
  readonly authority: "keep" | "create" | "prepare" | "promote";
  /** Whose certificates are signed now, by the authority that signs after this. */
  readonly issue: readonly InstallationRole[];
  /** Authorities besides those that sign, or will, which are trusted on. */
  readonly former: readonly Trusted[];
}

export function planCertificates(observed: Observed, nowMs: number): Plan {
  const authority = planAuthority(observed, nowMs);
  const signer = authority === "create" ? undefined : authority === "promote" ? observed.successor : observed.signer;
  const issue = LEAF_ROLES.filter((role) => isDue(observed, observed.leaves[role].leaf, { signer, nowMs }));
  return { authority, issue, former: formerOf(observed, { signer, issue, nowMs }) };
}

function planAuthority({ signer, successor, leaves }: Observed, nowMs: number): Plan["authority"] {
  if (!canSign(signer, nowMs)) return canSign(successor, nowMs) ? "promote" : "create";
  if (canSign(successor, nowMs)) return isTrusted(successor, { leaves }, nowMs) ? "promote" : "keep";
  return nowMs - issuedMs(signer) >= AUTHORITY_RENEWED_MS ? "prepare" : "keep";
}

function canSign(authority: Authority | undefined, nowMs: number): authority is Authority {
  return authority !== undefined && authority.fromMs <= nowMs && nowMs < authority.untilMs - AUTHORITY_LEFT_MS;
}

/** Whether everybody has been told long enough ago to trust an authority. */
function isTrusted({ fingerprint }: Trusted, { leaves }: Pick<Observed, "leaves">, nowMs: number): boolean {
  return LEAF_ROLES.every((role) => {
    const { bundle, bundleSinceMs } = leaves[role];
    if (bundleSinceMs === undefined || nowMs - bundleSinceMs < SETTLED_MS) return false;
    return bundle.some((trusted) => trusted.fingerprint === fingerprint);
  });
}

interface Signing {
  /** Who signs after this; undefined: one that is made now. */
  readonly signer: Authority | undefined;
  readonly nowMs: number;
}

function isDue(observed: Observed, leaf: Leaf | undefined, { signer, nowMs }: Signing): boolean {
  if (leaf === undefined || leaf.fromMs > nowMs || leaf.untilMs <= nowMs) return true;
  const isOld = nowMs - issuedMs(leaf) >= LEAF_RENEWED_MS || leaf.signedBy !== signer?.fingerprint;
  return isOld && signer !== undefined && isTrusted(signer, observed, nowMs);
}

function formerOf(
  { trusted, successor, leaves }: Observed,
  { signer, issue, nowMs }: Signing & { readonly issue: readonly InstallationRole[] },
): readonly Trusted[] {
  const others = trusted.filter(
    ({ fingerprint, untilMs }) =>
      fingerprint !== signer?.fingerprint && fingerprint !== successor?.fingerprint && untilMs > nowMs,
  );
  const shown = LEAF_ROLES.map((role) => leaves[role].leaf);
  // What was shown until a moment ago is shown on until its process has read the new one.
  const unsettled = issue.length > 0 || shown.some((leaf) => leaf !== undefined && nowMs - issuedMs(leaf) < SETTLED_MS);
  const kept = others.filter(({ fingerprint }) => unsettled || shown.some((leaf) => leaf?.signedBy === fingerprint));
  return kept.slice(-TRUSTED_MAX);
}

/** When something was made. */
function issuedMs({ fromMs }: { readonly fromMs: number }): number {
  return fromMs + BACKDATED_MS;
}
