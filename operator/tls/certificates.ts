// Owns: making an authority and the certificates that it signs (X.509 version 3, RFC 5280; ECDSA with P-256), as PEM.
// Times are the caller's. Elsewhere: when which one is made (plan.ts), where they are kept (authority.ts).

import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { bits, boolean, explicit, implicit, integer, octets, oid, sequence, set, time, utf8 } from "./der.ts";

/** A certificate and its key, PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** Milliseconds since the epoch. */
export interface Validity {
  readonly fromMs: number;
  readonly untilMs: number;
}

const OIDS = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
} as const;

/** Bytes of a serial number: random, as long as any may be (RFC 5280, section 4.1.2.2) but for its first bit. */
const SERIAL_BYTES = 16;

/** An authority that may sign for names below `domain` alone. */
export function makeAuthority(name: string, domain: string, validity: Validity): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const extensions = [
    // It signs leaves, and no further authorities.
    extension(OIDS.basicConstraints, sequence(boolean(true), integer(Buffer.from([0]))), "critical"),
    // keyCertSign (5), cRLSign (6).
    extension(OIDS.keyUsage, bits(Buffer.from([0b0000_0110]), 1), "critical"),
    extension(OIDS.nameConstraints, sequence(explicit(0, sequence(dnsName(domain)))), "critical"),
    extension(OIDS.subjectKeyIdentifier, octets(keyIdentifier(spki))),
  ];
  const parts = { issuer: nameOf(name), subject: nameOf(name), validity, spki, extensions };
  return { certificate: signed(parts, privateKey), key: pemOfKey(privateKey) };
}

/** A server's certificate for these DNS names, with a key of its own. */
export function makeLeaf(authority: KeyPair, names: readonly [string, ...string[]], validity: Validity): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const issuer = new X509Certificate(authority.certificate);
  const issuerSpki = issuer.publicKey.export({ type: "spki", format: "der" });
  const extensions = [
    extension(OIDS.basicConstraints, sequence(), "critical"),
    // digitalSignature (0).
    extension(OIDS.keyUsage, bits(Buffer.from([0b1000_0000]), 7), "critical"),
    extension(OIDS.extendedKeyUsage, sequence(oid(OIDS.serverAuth))),
    extension(OIDS.subjectAltName, sequence(...names.map(dnsName))),
    extension(OIDS.subjectKeyIdentifier, octets(keyIdentifier(spki))),
    extension(OIDS.authorityKeyIdentifier, sequence(implicit(0, keyIdentifier(issuerSpki)))),
  ];
  const parts = { issuer: nameOf(commonNameOf(issuer)), subject: nameOf(names[0]), validity, spki, extensions };
  return { certificate: signed(parts, createPrivateKey(authority.key)), key: pemOfKey(privateKey) };
}

/** Characters of a common name (RFC 5280, upper bound): what is longer is cut, names that count are in subjectAltName. */
const COMMON_NAME_MAX = 64;

function nameOf(commonName: string): Buffer {
  return sequence(set(sequence(oid(OIDS.commonName), utf8(commonName.slice(0, COMMON_NAME_MAX)))));
}

/** The common name of an authority of ours, which has nothing else in its name. */
function commonNameOf(certificate: X509Certificate): string {
  return certificate.subject.replace(/^CN=/, "");
}

function dnsName(name: string): Buffer {
  return implicit(2, Buffer.from(name, "ascii"));
}

/** RFC 5280, section 4.2.1.2, method 1, but over the whole of the key's description and with SHA-256 (RFC 7093). */
function keyIdentifier(spki: Uint8Array): Buffer {
  return createHash("sha256").update(spki).digest().subarray(0, 20);
}

function extension(id: string, value: Uint8Array, critical?: "critical"): Buffer {
  return sequence(oid(id), ...(critical === undefined ? [] : [boolean(true)]), octets(value));
}

interface CertificateParts {
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly validity: Validity;
  readonly spki: Uint8Array;
  readonly extensions: readonly Uint8Array[];
}

function signed({ issuer, subject, validity, spki, extensions }: CertificateParts, by: KeyObject): string {
  const algorithm = sequence(oid(OIDS.ecdsaWithSha256));
  const serial = randomBytes(SERIAL_BYTES);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const toSign = sequence(
    // Version 3.
    explicit(0, integer(Buffer.from([2]))),
    integer(serial),
    algorithm,
    issuer,
    sequence(time(validity.fromMs), time(validity.untilMs)),
    subject,
    spki,
    explicit(3, sequence(...extensions)),
  );
  return pem("CERTIFICATE", sequence(toSign, algorithm, bits(sign("sha256", toSign, by))));
}

function pemOfKey(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
