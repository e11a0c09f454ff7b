// Owns: how one of our processes starts, drains and ends. A component registers how it drains and closes; components
// end in the reverse order of their registration. SIGTERM and SIGINT drain until the deadline, then close; a second
// signal closes at once. Invariant: `stop` runs once, whoever asks and however often.

import type { Log } from "./log.ts";
import { tellParent } from "./parent.ts";

/** Anything with a life of its own. Both calls are safe to make twice. */
export interface Component {
  /** Finishes what is under way, at most until `deadlineMs` from now; absent: nothing to finish. */
  drain?(deadlineMs: number): Promise<void>;
  /** Ends it: afterwards no timer, listener, stream or promise of it is left. */
  close(): Promise<void>;
}

export class Lifecycle {
  readonly #log: Log;
  readonly #components: { name: string; component: Component }[] = [];
  #stopping: Promise<void> | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Takes charge of ending a component; returns it. */
  own<T extends Component>(name: string, component: T): T {
    this.#components.push({ name, component });
    return component;
  }

  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Drains every component, last registered first, then closes them in the same order. */
  stop(deadlineMs: number): Promise<void> {
    this.#stopping ??= this.#stop(deadlineMs);
    return this.#stopping;
  }

  /** Ends the process on SIGTERM and SIGINT, with exit code 0 once drained. */
  handleSignals(deadlineMs: number): void {
    let signals = 0;
    const onSignal = (signal: NodeJS.Signals): void => {
      signals += 1;
      if (signals > 1) process.exit(130);
      this.#log.info({ signal, deadlineMs }, "process draining");
      void this.stop(deadlineMs).then(() => process.exit(0));
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  }

  async #stop(deadlineMs: number): Promise<void> {
    tellParent({ type: "draining" });
    const endsAt = performance.now() + deadlineMs;
    const reversed = this.#components.toReversed();
    for (const { name, component } of reversed) {
      const left = Math.max(0, endsAt - performance.now());
      if (component.drain !== undefined) await this.#attempt(name, "drain", component.drain(left), left);
    }
    for (const { name, component } of reversed) await this.#attempt(name, "close", component.close(), CLOSE_MS);
    this.#log.info("process ended");
  }

  async #attempt(name: string, step: string, work: Promise<void>, limitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(resolve, limitMs, "late");
    });
    try {
      const outcome = await Promise.race([work, late]);
      if (outcome === "late") this.#log.warn({ component: name, step, limitMs }, "component not done in time");
    } catch (error) {
      this.#log.error({ component: name, step, error }, "component failed to end");
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Milliseconds one component may take to close: closing only lets go, so this is for bugs. */
const CLOSE_MS = 1_000;
