// Owns: what the Secrets of an installation say of its authorities and certificates, for plan.ts. Whatever cannot be used
// (broken, of another key, of another name) counts as not there. Pure.

import { createPrivateKey, X509Certificate } from "node:crypto";
import { type Installation, type InstallationRole, peerServerName } from "#core/fleet/peer-names.ts";
import { certificatesOf } from "#core/runtime/tls.ts";
import type { KeyPair } from "./certificates.ts";
import type { StoredSecret } from "./secret-store.ts";

/** Processes that have a certificate. A gateway serves nobody inside; it has one like the others. */
export const LEAF_ROLES = ["operator", "router", "gateway"] as const satisfies readonly InstallationRole[];

/** Since when a Secret has its bundle: who reads it has had that long to take it in. */
export const TRUSTED_SINCE = "earshot.dev/trusted-since";

/** Files of the authority's Secret for the next authority, which does not sign yet. */
export const NEXT = { certificate: "next.crt", key: "next.key" } as const;

export interface Trusted {
  readonly fingerprint: string;
  readonly pem: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** An authority that can sign. */
export interface Authority extends Trusted {
  readonly pair: KeyPair;
}

export interface Leaf {
  readonly pair: KeyPair;
  readonly fromMs: number;
  readonly untilMs: number;
  /** Fingerprint of the authority that signed it; undefined where that is none we know. */
  readonly signedBy: string | undefined;
}

export interface LeafSecret {
  readonly leaf: Leaf | undefined;
  readonly bundle: readonly Trusted[];
  /** Undefined: not known. */
  readonly bundleSinceMs: number | undefined;
}

export interface Observed {
  readonly signer: Authority | undefined;
  readonly successor: Authority | undefined;
  /** Every authority that somebody is told to trust, oldest first. */
  readonly trusted: readonly Trusted[];
  readonly leaves: Readonly<Record<InstallationRole, LeafSecret>>;
}

export interface StoredSecrets {
  readonly authority: StoredSecret | undefined;
  readonly leaves: Readonly<Record<InstallationRole, StoredSecret | undefined>>;
}

export function observe({ authority, leaves }: StoredSecrets, installation: Installation): Observed {
  const signer = authorityOf(authority?.data["tls.crt"], authority?.data["tls.key"]);
  const successor = authorityOf(authority?.data[NEXT.certificate], authority?.data[NEXT.key]);
  const all = [authority, ...Object.values(leaves)].map((secret) => secret?.data["ca.crt"] ?? "");
  const trusted = byAge([
    ...(signer === undefined ? [] : [signer]),
    ...(successor === undefined ? [] : [successor]),
    ...all.flatMap(bundleOf),
  ]);
  const secretOf = (role: InstallationRole): LeafSecret => {
    const secret = leaves[role];
    const since = Date.parse(secret?.annotations[TRUSTED_SINCE] ?? "");
    return {
      leaf: leafOf(secret, peerServerName(role, installation), trusted),
      bundle: bundleOf(secret?.data["ca.crt"] ?? ""),
      bundleSinceMs: Number.isNaN(since) ? undefined : since,
    };
  };
  return {
    signer,
    successor,
    trusted,
    leaves: { operator: secretOf("operator"), router: secretOf("router"), gateway: secretOf("gateway") },
  };
}

/** Undefined where it cannot sign. */
export function authorityOf(certificate = "", key = ""): Authority | undefined {
  const [pem] = certificatesOf(certificate);
  const trusted = pem === undefined ? undefined : trustedOf(pem);
  if (trusted === undefined || !fits(certificate, key)) return undefined;
  return { ...trusted, pair: { certificate, key } };
}

function leafOf(secret: StoredSecret | undefined, name: string, trusted: readonly Trusted[]): Leaf | undefined {
  const { "tls.crt": certificate = "", "tls.key": key = "" } = secret?.data ?? {};
  if (!fits(certificate, key)) return undefined;
  const leaf = new X509Certificate(certificate);
  if (leaf.checkHost(name) === undefined) return undefined;
  const signer = trusted.find(({ pem }) => {
    const authority = new X509Certificate(pem);
    return leaf.checkIssued(authority) && leaf.verify(authority.publicKey);
  });
  return {
    pair: { certificate, key },
    fromMs: leaf.validFromDate.getTime(),
    untilMs: leaf.validToDate.getTime(),
    signedBy: signer?.fingerprint,
  };
}

function fits(certificate: string, key: string): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

function bundleOf(pem: string): readonly Trusted[] {
  return certificatesOf(pem).flatMap((one) => trustedOf(one) ?? []);
}

function trustedOf(pem: string): Trusted | undefined {
  try {
    const certificate = new X509Certificate(pem);
    if (!certificate.ca) return undefined;
    return {
      fingerprint: certificate.fingerprint256,
      pem: `${pem}\n`,
      fromMs: certificate.validFromDate.getTime(),
      untilMs: certificate.validToDate.getTime(),
    };
  } catch {
    return undefined;
  }
}

/** Each once, oldest first. */
export function byAge<T extends Trusted>(all: readonly T[]): readonly T[] {
  const each = [...new Map(all.map((one) => [one.fingerprint, one])).values()];
  return each.sort((a, b) => a.fromMs - b.fromMs || a.fingerprint.localeCompare(b.fingerprint));
}
