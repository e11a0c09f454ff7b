// Owns: certificates for tests: an authority, and folders as processes read them.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TlsMaterial } from "#core/runtime/tls.ts";
import { type KeyPair, makeAuthority, makeLeaf } from "../../operator/tls/certificates.ts";

const HOUR_MS = 3_600_000;

export class TestAuthority {
  static #made = 0;
  readonly #domain: string;
  readonly pair: KeyPair;

  constructor(domain = "earshot.internal") {
    TestAuthority.#made += 1;
    this.#domain = domain;
    this.pair = makeAuthority(`authority ${TestAuthority.#made}`, domain, validity());
  }

  /** A certificate for names, with whom its owner trusts: this authority, unless others are given. */
  material(names: readonly [string, ...string[]] = [`router.${this.#domain}`], trusts?: string): TlsMaterial {
    return { ...makeLeaf(this.pair, names, validity()), authorities: trusts ?? this.pair.certificate };
  }
}

/** From five minutes ago, for an hour. */
function validity() {
  const nowMs = Date.now();
  return { fromMs: nowMs - 5 * 60_000, untilMs: nowMs + HOUR_MS };
}

/** Writes a folder as a mounted Secret has it. */
export function writeTlsFolder(folder: string, { certificate, key, authorities }: TlsMaterial): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "tls.crt"), certificate);
  writeFileSync(join(folder, "tls.key"), key);
  writeFileSync(join(folder, "ca.crt"), authorities);
}
