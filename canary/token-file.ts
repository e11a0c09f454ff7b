// Owns: the canary's token: a file that the kubelet renews (a projected ServiceAccount token), read again from time to time.
// A file that cannot be read leaves the last token in force.

import { readFileSync } from "node:fs";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";

/** Milliseconds between looks. Kubelets renew a token when a fifth of its life, 10 minutes at least, is left. */
const LOOK_MS = 10_000;

export class TokenFile implements Component {
  readonly #path: string;
  readonly #log: Log;
  readonly #changed: () => void;
  readonly #timer: Timer | undefined;
  #token: string | undefined;
  #unreadable = false;

  /** `path` may be empty: then there is no token. */
  constructor(path: string, { clock, log, changed }: { clock: Clock; log: Log; changed: () => void }) {
    this.#path = path;
    this.#log = log;
    this.#changed = changed;
    if (path === "") return;
    this.#read();
    this.#timer = clock.every(LOOK_MS, () => this.#read());
  }

  get token(): string | undefined {
    return this.#token;
  }

  close(): Promise<void> {
    this.#timer?.cancel();
    return Promise.resolve();
  }

  #read(): void {
    try {
      const token = readFileSync(this.#path, "utf8").trim();
      this.#unreadable = false;
      if (token === this.#token || token === "") return;
      const isFirst = this.#token === undefined;
      this.#token = token;
      if (!isFirst) this.#changed();
    } catch (error) {
      if (!this.#unreadable) this.#log.warn({ error, path: this.#path }, "token cannot be read, the last one is shown");
      this.#unreadable = true;
    }
  }
}
