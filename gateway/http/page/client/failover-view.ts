// Owns: the ticker's part of the page: its switch, its picture, its counts, and the button that kills a router with a
// report of each kill. The ticker stands still while the page is hidden: nobody would see it.

import { Chart } from "./chart.ts";
import { announce, at, make, secondsText } from "./dom.ts";
import { type Arrival, Failover, repeatedText, reportOf } from "./failover.ts";
import { type KillOptions, killRouter, untilRunning } from "./killing.ts";
import type { Ticker } from "./ticker.ts";

/** Milliseconds between looks at what a failover has come to, and at the counts. */
const LOOK_MS = 100;
/** Ticks heard before a router is killed: what is usual has been seen by then. */
const WARM_TICKS = 20;
/** Milliseconds for that. */
const WARM_MS = 10_000;
/** Reports that stay. */
const REPORTS_MAX = 3;

export interface FailoverDeps {
  readonly ticker: Ticker;
  /** The topic whose Topic the ticker speaks in. */
  readonly topicId: () => string;
  /** Undefined where no router can be killed from here. */
  readonly killing: () => KillOptions | undefined;
}

export class FailoverView {
  readonly #deps: FailoverDeps;
  readonly #chart = new Chart();
  readonly #toggle = at("ticker-toggle", HTMLButtonElement);
  readonly #kill = at("kill", HTMLButtonElement);
  readonly #about = at("ticker-about", HTMLElement);
  readonly #counts = at("ticker-counts", HTMLElement);
  readonly #note = at("failover-note", HTMLElement);
  readonly #reports = at("failovers", HTMLOListElement);
  /** Under way; the ticker's messages are for it. */
  #failover: Failover | undefined;
  #timer: number | undefined;
  #isKilling = false;

  constructor(deps: FailoverDeps) {
    this.#deps = deps;
    this.#kill.hidden = deps.killing() === undefined;
    this.#toggle.addEventListener("click", () => (this.#isOn ? this.stop() : this.#start()));
    this.#kill.addEventListener("click", () => void this.#onKill());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) deps.ticker.pause();
      else deps.ticker.resume();
    });
  }

  get #isOn(): boolean {
    return this.#deps.ticker.topicId !== "";
  }

  arrived(arrival: Arrival): void {
    this.#failover?.hear(arrival);
  }

  failed(why: string): void {
    this.stop();
    this.#note.textContent = `The ticker cannot run here: ${why}`;
  }

  stop(): void {
    this.#deps.ticker.stop();
    this.#chart.stop();
    clearInterval(this.#timer);
    this.#failover = undefined;
    this.#showOn();
  }

  #start(): void {
    const { ticker, topicId } = this.#deps;
    this.#note.textContent = "";
    ticker.start(topicId());
    this.#chart.start(ticker.arrivals);
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#showCounts(), LOOK_MS);
    this.#showOn();
  }

  #showOn(): void {
    this.#toggle.textContent = this.#isOn ? "Stop the ticker" : "Start the ticker";
    if (this.#isOn) this.#about.textContent = `A number 40 times a second on ${this.#deps.ticker.topicId}.`;
  }

  #showCounts(): void {
    const { heard, lost, doubled } = this.#deps.ticker.ledger.counts;
    this.#counts.textContent = `${heard.toLocaleString("en")} heard · ${lost} lost · ${doubled} doubled`;
  }

  async #onKill(): Promise<void> {
    if (this.#isKilling) return;
    this.#setKilling(true);
    try {
      await this.#killOne();
    } finally {
      this.#setKilling(false);
    }
  }

  async #killOne(): Promise<void> {
    const { ticker, killing } = this.#deps;
    const options = killing();
    if (options === undefined) return;
    if (!this.#isOn) this.#start();
    this.#note.textContent = "Waiting for the ticker…";
    if (!(await this.#isWarm())) {
      // One that failed has said why.
      if (this.#isOn) this.#note.textContent = "The ticker is not heard, so nothing of a kill would be seen.";
      return;
    }
    this.#note.textContent = "";
    const { ledger } = ticker;
    const askedAtMs = performance.now();
    const before = { counts: ledger.counts, lastHeardAtMs: ticker.lastHeardAtMs ?? askedAtMs };
    const answer = await killRouter(ticker.topicId, options);
    if (answer.kind === "refused") {
      this.#note.textContent = `No router was killed: ${answer.why}.`;
      return;
    }
    this.#chart.killed(askedAtMs);
    const failover = new Failover(answer.router, ledger, before);
    // The next message may have been quicker than the answer.
    for (const arrival of ticker.arrivals) if (arrival.atMs > askedAtMs) failover.hear(arrival);
    this.#failover = failover;
    await this.#report(failover, answer.router, options);
  }

  /** Shows a kill, and goes on showing it until the router runs again. */
  async #report(failover: Failover, router: Parameters<typeof untilRunning>[0], options: KillOptions): Promise<void> {
    const what = `${router.name} (pid ${router.pid}) killed`;
    let running = "starting again…";
    const outcome = make("strong", "");
    const process = make("small", "");
    const row = make("li", "");
    row.append(outcome, process);
    const show = (text: string): void => {
      outcome.textContent = text;
      process.textContent = `${what}, ${running}${repeatedText(failover.state)}`;
    };
    show(reportOf(failover.state));
    this.#reports.prepend(row);
    while (this.#reports.childElementCount > REPORTS_MAX) this.#reports.lastElementChild?.remove();
    const timer = setInterval(() => {
      failover.look(performance.now());
      const { kind } = failover.state;
      const isAbandoned = kind === "silent" && this.#failover !== failover;
      show(isAbandoned ? "The ticker was stopped before its next message" : reportOf(failover.state));
      if (kind !== "over" && !isAbandoned) return;
      clearInterval(timer);
      announce(`${what}: ${outcome.textContent}`);
    }, LOOK_MS);
    const afterMs = await untilRunning(router, options);
    running = afterMs === undefined ? "not running again yet" : `running again after ${secondsText(afterMs)}`;
    show(outcome.textContent ?? "");
  }

  /** Waits until enough was heard to know what is usual. */
  async #isWarm(): Promise<boolean> {
    const endsAtMs = performance.now() + WARM_MS;
    while (performance.now() < endsAtMs && this.#isOn) {
      const { lastHeardAtMs, arrivals } = this.#deps.ticker;
      const isFresh = performance.now() - (lastHeardAtMs ?? 0) < 10 * LOOK_MS;
      if (arrivals.length >= WARM_TICKS && isFresh) return true;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return false;
  }

  /** Not `disabled`: that would throw whoever uses the keyboard off the button. */
  #setKilling(isKilling: boolean): void {
    this.#isKilling = isKilling;
    this.#kill.setAttribute("aria-disabled", String(isKilling));
  }
}
