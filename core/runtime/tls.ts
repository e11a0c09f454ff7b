// Owns: what TLS is made of (a certificate, its key, whom to trust), which changes while a process runs: whoever asks gets
// what counts now, connections that are open go on with what they began with. Invariant: what cannot work is never taken,
// the last good one stays. Elsewhere: files that it comes from (tls-folder.ts), gRPC over it (grpc-tls.ts).

import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { messageOf } from "./errors.ts";

/** PEM texts. */
export interface TlsMaterial {
  /** The certificate, and those that lead from it to an authority's. */
  readonly certificate: string;
  readonly key: string;
  /** Certificates of the authorities that others' must come from; empty: nobody is dialled by it. */
  readonly authorities: string;
}

export interface TlsSource {
  /** Undefined while there is none yet. */
  readonly material: TlsMaterial | undefined;
  /** Called after every change of it. */
  onChange(listener: () => void): () => void;
}

/** What counts for a client: whom it trusts, and the name that the other side's certificate must have. */
export interface ClientTls {
  readonly source: TlsSource;
  readonly serverName: string;
}

/** Both sides are ours, or a library of today. */
const TLS_VERSION_MIN = "TLSv1.3";

/** TLS that somebody hands over, who knows where it comes from. */
export class HeldTls implements TlsSource {
  readonly #listeners = new Set<() => void>();
  #material: TlsMaterial | undefined;

  get material(): TlsMaterial | undefined {
    return this.#material;
  }

  /** Takes it, or answers why it cannot be used. */
  offer(material: TlsMaterial): string | undefined {
    const problem = tlsProblem(material);
    if (problem !== undefined) return problem;
    const before = this.#material;
    if (before !== undefined && fingerprint(before) === fingerprint(material)) return undefined;
    this.#material = material;
    for (const listener of this.#listeners) listener();
    return undefined;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

function fingerprint({ certificate, key, authorities }: TlsMaterial): string {
  return JSON.stringify([certificate, key, authorities]);
}

/** Why it cannot be used; undefined where it can. Says nothing of the key. */
function tlsProblem(material: TlsMaterial): string | undefined {
  try {
    const leaf = new X509Certificate(material.certificate);
    if (!leaf.checkPrivateKey(createPrivateKey(material.key))) return "the key does not belong to the certificate";
    createSecureContext(serverOptions(material));
  } catch (error) {
    return `the certificate or its key cannot be read: ${messageOf(error)}`;
  }
  try {
    for (const authority of certificatesOf(material.authorities)) void new X509Certificate(authority);
  } catch (error) {
    return `a certificate of an authority cannot be read: ${messageOf(error)}`;
  }
  return undefined;
}

/** The certificates in a PEM text, each by itself. */
export function certificatesOf(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
}

/** Milliseconds since the epoch at which a certificate ends. */
export function expiryOf({ certificate }: TlsMaterial): number {
  return new X509Certificate(certificate).validToDate.getTime();
}

/** What a server shows. */
export function serverOptions({ certificate, key }: TlsMaterial): SecureContextOptions {
  return { cert: certificate, key, minVersion: TLS_VERSION_MIN };
}

/** Kept as long as its material is: a handshake makes none. */
const clientContexts = new WeakMap<TlsMaterial, SecureContext>();

/** Whom a client trusts with this material. */
export function clientContextOf(material: TlsMaterial): SecureContext {
  const known = clientContexts.get(material);
  if (known !== undefined) return known;
  const made = createSecureContext({ ca: [...certificatesOf(material.authorities)], minVersion: TLS_VERSION_MIN });
  clientContexts.set(material, made);
  return made;
}
