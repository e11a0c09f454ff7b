// Owns: TLS from a folder of tls.crt, tls.key and ca.crt, which may change at any time: a mounted Secret is swapped whole
// by the kubelet, others write file by file. Looked at again and again, for watching a mount misses its swap. What is
// half written, or does not fit together, leaves the last good one in use and is told once.

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Clock, SYSTEM_CLOCK, type Timer } from "./clock.ts";
import { ConfigError } from "./config.ts";
import { messageOf } from "./errors.ts";
import type { Component } from "./lifecycle.ts";
import type { Log } from "./log.ts";
import { HeldTls, type TlsMaterial, type TlsSource } from "./tls.ts";

interface TlsFolderOptions {
  /** The setting that names the folder, for messages. */
  readonly setting: "tlsFolder" | "publicTlsFolder";
  readonly path: string;
  readonly log: Log;
  readonly clock?: Clock;
}

/** Milliseconds between looks: a kubelet takes a minute to swap a Secret anyway. */
export const TLS_LOOK_MS = 5_000;

/** Bytes of one file: a chain of a few certificates, a bundle of a few authorities. */
const FILE_BYTES_MAX = 1024 * 1024;

export class TlsFolder implements TlsSource, Component {
  readonly #options: TlsFolderOptions;
  readonly #held = new HeldTls();
  readonly #looking: Timer;
  /** Of the last look, so that nothing is judged, or told, twice. */
  #seen = "";

  /** Throws ConfigError when what is there cannot be used. */
  constructor(options: TlsFolderOptions) {
    this.#options = options;
    const problem = this.#look();
    if (problem !== undefined) {
      throw new ConfigError(`${options.setting} ${JSON.stringify(options.path)} cannot be used: ${problem}`);
    }
    this.#looking = (options.clock ?? SYSTEM_CLOCK).every(TLS_LOOK_MS, () => this.#lookAgain());
  }

  get material(): TlsMaterial | undefined {
    return this.#held.material;
  }

  onChange(listener: () => void): () => void {
    return this.#held.onChange(listener);
  }

  close(): Promise<void> {
    this.#looking.cancel();
    return Promise.resolve();
  }

  #lookAgain(): void {
    const before = this.#held.material;
    const problem = this.#look();
    const { log, path } = this.#options;
    if (problem !== undefined) log.warn({ path, reason: problem }, "certificates not usable, last ones kept");
    else if (this.#held.material !== before) log.info({ path }, "certificates read again");
  }

  /** Why what is there, and was not there at the last look, cannot be used. */
  #look(): string | undefined {
    let material: TlsMaterial | string;
    try {
      material = readMaterial(this.#options);
    } catch (error) {
      material = messageOf(error);
    }
    const seen = JSON.stringify(material);
    if (seen === this.#seen) return undefined;
    this.#seen = seen;
    return typeof material === "string" ? material : this.#held.offer(material);
  }
}

/** Throws an Error that names the file. */
function readMaterial({ setting, path }: TlsFolderOptions): TlsMaterial {
  return {
    certificate: readPem(join(path, "tls.crt")),
    key: readPem(join(path, "tls.key")),
    // Who comes to the public port is proven by a token.
    authorities: setting === "publicTlsFolder" ? "" : readPem(join(path, "ca.crt")),
  };
}

function readPem(path: string): string {
  if (statSync(path).size > FILE_BYTES_MAX) throw new Error(`${path} has more than ${FILE_BYTES_MAX} bytes`);
  const text = readFileSync(path, "utf8");
  if (!text.includes("-----BEGIN ")) throw new Error(`${path} holds no PEM text`);
  return text;
}
