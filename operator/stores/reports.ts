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

interface Report {
  readonly sentences: readonly string[];
  readonly timer: Timer;
  isTold: boolean;
}

export class Reports implements Component {
  readonly #options: ReportsOptions;
  readonly #reports = new Map<string, Report>();

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
    for (const sentence of sentences.slice(0, TOLD_MAX)) tell(sentence);
    if (sentences.length > TOLD_MAX) tell(`${subject}: ${sentences.length - TOLD_MAX} more problems`);
  }
}
