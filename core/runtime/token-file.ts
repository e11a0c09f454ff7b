// Owns: a token in a file that somebody replaces before it ends (a projected ServiceAccount token: the kubelet, at 80 % of
// its life). Read when it is asked for, at most every few seconds; while it cannot be read the last one stays, told once.

import { readFileSync, statSync } from "node:fs";
import type { Clock } from "./clock.ts";
import { ConfigError } from "./config.ts";
import { messageOf } from "./errors.ts";
import { TOKEN_LENGTH_MAX } from "./jwt.ts";
import type { Log } from "./log.ts";

/** Milliseconds for which what was read counts: far below what is left of a token when it is replaced. */
export const TOKEN_REREAD_MS = 10_000;

interface TokenFileOptions {
  /** Flag and variable that name the file, for messages. */
  readonly setting: string;
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class TokenFile {
  readonly #options: TokenFileOptions;
  #token: string;
  #readAtMs: number;
  #failing = false;

  /** Throws ConfigError where there is none. */
  constructor(options: TokenFileOptions) {
    this.#options = options;
    try {
      this.#token = readToken(options.path);
    } catch (error) {
      throw new ConfigError(`${options.setting}: ${messageOf(error)}`);
    }
    this.#readAtMs = options.clock.monotonic();
  }

  get token(): string {
    const { path, clock, log } = this.#options;
    const nowMs = clock.monotonic();
    if (nowMs - this.#readAtMs < TOKEN_REREAD_MS) return this.#token;
    this.#readAtMs = nowMs;
    try {
      this.#token = readToken(path);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) log.warn({ path, reason: messageOf(error) }, "token file not readable, last token kept");
      this.#failing = true;
    }
    return this.#token;
  }
}

/** Throws an Error that names the file, and says nothing of what is in it. */
function readToken(path: string): string {
  if (statSync(path).size > TOKEN_LENGTH_MAX) throw new Error(`${path} has more than ${TOKEN_LENGTH_MAX} bytes`);
  const token = readFileSync(path, "utf8").trim();
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error(`${path} holds no token`);
  return token;
}
