// Owns: what tokens.ts asks of the keys of one issuer, and the keys that are a shared secret.
// Elsewhere: keys fetched from an issuer (jwks.ts).

import { readFileSync } from "node:fs";
import type { CryptoKey, JWSHeaderParameters } from "jose";
import type { Clock } from "../runtime/clock.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { SECRET_BYTES_MIN } from "../runtime/secret.ts";

export interface KeySource extends Component {
  /** Algorithms that these keys are for; a token that names any other is refused before a key is asked for. */
  readonly algorithms: readonly string[];
  /** The key for a token. Throws unauthenticated or overloaded. */
  keyFor(header: JWSHeaderParameters): Promise<CryptoKey | Uint8Array>;
}

const HS256 = ["HS256"] as const;

/** The installation's own secret. */
export class SecretSource implements KeySource {
  readonly algorithms = HS256;
  readonly #key: Uint8Array;

  constructor(secret: string) {
    this.#key = Buffer.from(secret, "utf8");
  }

  async keyFor(): Promise<Uint8Array> {
    return this.#key;
  }

  async close(): Promise<void> {}
}

/** Milliseconds between looks at a secret's file: a mounted Secret takes a minute to change anyway. */
const REREAD_MS = 10_000;

/** A secret in a file, which may be replaced while we run. The last good one stays in use. */
export class SecretFileSource implements KeySource {
  readonly algorithms = HS256;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #key: Uint8Array;
  #readAtMs: number;

  /** Throws an Error whose message says what is wrong with the file. */
  constructor(path: string, clock: Clock, log: Log) {
    this.#path = path;
    this.#clock = clock;
    this.#log = log;
    this.#key = readSecretFile(path);
    this.#readAtMs = clock.monotonic();
  }

  async keyFor(): Promise<Uint8Array> {
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#readAtMs >= REREAD_MS) {
      this.#readAtMs = nowMs;
      try {
        this.#key = readSecretFile(this.#path);
      } catch (error) {
        this.#log.warn(
          { path: this.#path, reason: messageOf(error) },
          "issuer secret file not readable, last one kept",
        );
      }
    }
    return this.#key;
  }

  async close(): Promise<void> {}
}

function readSecretFile(path: string): Uint8Array {
  const key = Buffer.from(readFileSync(path, "utf8").trim(), "utf8");
  if (key.length < SECRET_BYTES_MIN)
    throw new Error(`${path} holds ${key.length} bytes, ${SECRET_BYTES_MIN} are needed`);
  return key;
}
