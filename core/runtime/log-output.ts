// Owns: log lines on their way into a file or pipe: written at once and whole, or let go of. A disk that is full, or a pipe
// that nobody reads, costs lines and nothing else: how many they were is written once there is room again.
// pino's own output (sonic-boom 4.2) waits for ever in its flushSync then, and the process with it.

import { writeSync } from "node:fs";
import { messageOf } from "./errors.ts";

const NOTHING = Buffer.alloc(0);

export class LogOutput {
  readonly #descriptor: number;
  readonly #fields: Readonly<Record<string, string>>;
  /** Of lines of which a part was taken. */
  #rest: Buffer = NOTHING;
  #lost = 0;
  #cause = "";

  /** `fields` stand on the line that says what was lost. */
  constructor(descriptor: number, fields: Readonly<Record<string, string>>) {
    this.#descriptor = descriptor;
    this.#fields = fields;
  }

  /** Writes one line with its end. Never throws. */
  write(line: string): void {
    this.#flush();
    const bytes = Buffer.from(this.#lost === 0 ? line : this.#lostLine() + line);
    if (this.#rest.length === 0) {
      this.#rest = bytes;
      this.#flush();
      if (this.#rest !== bytes) {
        this.#lost = 0;
        return;
      }
      this.#rest = NOTHING;
    }
    this.#lost += 1;
  }

  /** Writes what it can of what was begun. */
  #flush(): void {
    try {
      while (this.#rest.length > 0) this.#rest = this.#rest.subarray(writeSync(this.#descriptor, this.#rest));
    } catch (error) {
      this.#cause = messageOf(error);
    }
  }

  #lostLine(): string {
    const told = { level: "warn", time: new Date().toISOString(), ...this.#fields };
    const message = "log lines lost, they could not be written";
    return `${JSON.stringify({ ...told, lost: this.#lost, cause: this.#cause, message })}\n`;
  }
}
