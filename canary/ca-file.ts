// Owns: whom the canary trusts at the public gRPC ports: a file of certificates, read again when it changes. While it cannot be
// read, or holds none, the last ones stay.

import { readFileSync, statSync } from "node:fs";
import { ConfigError } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";
import { certificatesOf, type TlsMaterial, type TlsSource } from "#core/runtime/tls.ts";

export class CaFile implements TlsSource {
  readonly #path: string;
  /** Of the file that was read last: the kubelet swaps it whole. */
  #modifiedMs = Number.NaN;
  #material: TlsMaterial | undefined;

  /** Throws ConfigError where there are none; `setting` names the file for it. */
  constructor(setting: string, path: string) {
    this.#path = path;
    try {
      this.#read();
    } catch (error) {
      throw new ConfigError(`${setting} ${JSON.stringify(path)} cannot be used: ${messageOf(error)}`);
    }
  }

  /** Asked for by each handshake. */
  get material(): TlsMaterial | undefined {
    try {
      this.#read();
    } catch {
      // Said by whoever cannot connect.
    }
    return this.#material;
  }

  /** Connections that are open go on with what they began with; new ones ask. */
  onChange(): () => void {
    return () => undefined;
  }

  #read(): void {
    const { mtimeMs } = statSync(this.#path);
    if (mtimeMs === this.#modifiedMs) return;
    const authorities = readFileSync(this.#path, "utf8");
    if (certificatesOf(authorities).length === 0) throw new Error("it holds no certificate");
    this.#modifiedMs = mtimeMs;
    this.#material = { certificate: "", key: "", authorities };
  }
}
