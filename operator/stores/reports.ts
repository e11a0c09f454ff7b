// Owns: telling the user of what is wrong with manifests, once: in the log, and as a line in the terminal. A problem that
// is mended within a moment (a file that was only half written) is never told.

import type { Clock, Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { OperatorMetrics } from "../metrics.ts";

export interface ReportsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
  /** For the user's terminal. */
  readonly tell: (sentence: string) => void;
}

/** Milliseconds that a problem must last: writers in several steps take less. */
const LASTING_MS = 300;

/** Problems told one by one for one file; the rest are a number. */
const TOLD_MAX = 5;

/** Subjects told one by one in the terminal within WINDOW_MS; the rest are a number: a disk that fails, fails for all. */
export const SUBJECTS_TOLD_MAX = 10;
const WINDOW_MS = 2_000;

interface Report {
  readonly sentences: readonly string[];
  readonly timer: Timer;
  isTold: boolean;
}

export class Reports implements Component {
  readonly #options: ReportsOptions;
  readonly #reports = new Map<string, Report>();
  #window: Timer | undefined;
  #toldNow = 0;
  #untold = 0;

  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  /** Sets what is wrong with one subject (a file, a duplicate) now; an empty list: nothing. */
  set(subject: string, sentences: readonly string[]): void {
    const before = this.#reports.get(subject);
    if (before !== undefined && JSON.stringify(before.sentences) === JSON.stringify(sentences)) return;
    before?.timer.cancel();
    if (sentences.length > 0) {
      const timer = this.#options.clock.after(LASTING_MS, () => this.#tell(subject));
      this.#reports.set(subject, { sentences, timer, isTold: false });
    } else if (this.#reports.delete(subject) && before?.isTold === true) {
      this.#options.log.info({ subject }, "manifest is good again");
    }
    this.#options.metrics.rejectedManifests.set(this.#reports.size);
  }

  close(): Promise<void> {
    for (const { timer } of this.#reports.values()) timer.cancel();
    this.#reports.clear();
    this.#window?.cancel();
    return Promise.resolve();
  }

  #tell(subject: string): void {
    const report = this.#reports.get(subject);
    if (report === undefined) return;
    const { log, metrics, tell } = this.#options;
    report.isTold = true;
    metrics.event("manifest_rejected");
    const { sentences } = report;
    log.warn({ subject, problems: sentences.slice(0, TOLD_MAX), count: sentences.length }, "manifest is wrong");
    this.#window ??= this.#options.clock.after(WINDOW_MS, () => this.#endWindow());
    if (this.#toldNow >= SUBJECTS_TOLD_MAX) {
      this.#untold += 1;
      return;
    }
    this.#toldNow += 1;
    for (const sentence of sentences.slice(0, TOLD_MAX)) tell(sentence);
    if (sentences.length > TOLD_MAX) tell(`${subject}: ${sentences.length - TOLD_MAX} more problems`);
  }

  #endWindow(): void {
    if (this.#untold > 0) this.#options.tell(`${this.#untold} more have problems; the operator's log names them`);
    this.#window = undefined;
    this.#toldNow = 0;
    this.#untold = 0;
  }
}
