// Owns: telling people of what changed for an object, as events.k8s.io/v1 Events. Whoever records never waits and never
// fails: what is said again within REPEAT_MS is left out, what comes faster than the API server should bear is dropped,
// and an Event that cannot be written is let go of. All of it is counted. That only transitions are told is the caller's.

import { createHash, randomUUID } from "node:crypto";
import type { Clock } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { TokenBucket } from "#core/runtime/token-bucket.ts";
import type { KubeApi, KubeObject } from "./api.ts";
import { microTime } from "./lease.ts";
import { type EventOutcome, eventCounter } from "./metrics.ts";

export interface EventOptions {
  readonly api: Pick<KubeApi, "call">;
  /** Who reports: earshot.dev/operator. */
  readonly controller: string;
  /** Which of its processes. */
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

export interface EventText {
  readonly type: "Normal" | "Warning";
  /** Why, in CamelCase, for machines. */
  readonly reason: string;
  /** What was done or tried, in CamelCase. */
  readonly action: string;
  /** For people. */
  readonly note: string;
}

export type Regarding = KubeObject & { readonly apiVersion: string; readonly kind: string };

/** Events that wait to be written; one more is dropped. */
const WAITING_MAX = 1_000;

/** Events a second, and at once: as many as client-go's recorder allows itself for all objects of a second or so. */
const EVENTS_A_SECOND = 10;
const EVENTS_BURST = 100;

/** Milliseconds within which the same words about the same object are not said again. */
const REPEAT_MS = 300_000;

/** Words that are remembered for that. */
const REMEMBERED_MAX = 10_000;

/** Milliseconds of one write: what is late is no news. */
const WRITE_MS = 5_000;

/** Characters of the API's fields. */
const NOTE_LENGTH_MAX = 1_024;
const REASON_LENGTH_MAX = 128;

export class EventRecorder implements Component {
  readonly #options: EventOptions;
  readonly #count: (outcome: EventOutcome) => void;
  readonly #waiting: { readonly path: string; readonly body: unknown }[] = [];
  readonly #said = new Map<string, number>();
  readonly #bucket: TokenBucket;
  readonly #ending = new AbortController();
  #writing: Promise<void> | undefined;
  #failing = false;

  constructor(options: EventOptions) {
    this.#options = options;
    this.#count = eventCounter(options.registry);
    this.#bucket = new TokenBucket(EVENTS_A_SECOND, EVENTS_BURST, options.clock.monotonic());
  }

  record(regarding: Regarding, text: EventText): void {
    if (this.#ending.signal.aborted) return;
    const nowMs = this.#options.clock.monotonic();
    if (this.#isRepeated(regarding, text, nowMs)) return this.#count("repeated");
    if (this.#waiting.length >= WAITING_MAX || !this.#bucket.take(nowMs)) return this.#count("dropped");
    const namespace = regarding.metadata.namespace ?? "default";
    this.#waiting.push({
      path: `/apis/events.k8s.io/v1/namespaces/${namespace}/events`,
      body: this.#eventOf(regarding, text, namespace),
    });
    this.#writing ??= this.#write();
  }

  /** Writes what waits, as far as there is time. */
  async drain(deadlineMs: number): Promise<void> {
    if (this.#writing === undefined) return;
    const late = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(deadlineMs, late.resolve);
    await Promise.race([this.#writing, late.promise]);
    timer.cancel();
  }

  async close(): Promise<void> {
    this.#waiting.length = 0;
    this.#ending.abort();
    await this.#writing;
  }

  #isRepeated({ metadata }: Regarding, { type, reason, note }: EventText, nowMs: number): boolean {
    const words = [metadata.uid ?? `${metadata.namespace}/${metadata.name}`, type, reason, note];
    const key = createHash("sha256").update(JSON.stringify(words)).digest("base64");
    const saidAtMs = this.#said.get(key);
    if (saidAtMs !== undefined && nowMs - saidAtMs < REPEAT_MS) return true;
    this.#said.delete(key);
    this.#said.set(key, nowMs);
    const [oldest] = this.#said.keys();
    if (this.#said.size > REMEMBERED_MAX && oldest !== undefined) this.#said.delete(oldest);
    return false;
  }

  #eventOf({ apiVersion, kind, metadata }: Regarding, text: EventText, namespace: string): unknown {
    const { controller, instance, clock } = this.#options;
    return {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: `${metadata.name.slice(0, 200)}.${randomUUID().slice(0, 13)}`, namespace },
      eventTime: microTime(clock.now()),
      reportingController: controller,
      reportingInstance: instance.slice(0, REASON_LENGTH_MAX),
      action: text.action.slice(0, REASON_LENGTH_MAX),
      reason: text.reason.slice(0, REASON_LENGTH_MAX),
      type: text.type,
      note: text.note.slice(0, NOTE_LENGTH_MAX),
      regarding: {
        apiVersion,
        kind,
        name: metadata.name,
        ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
        ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
        ...(metadata.resourceVersion === undefined ? {} : { resourceVersion: metadata.resourceVersion }),
      },
    };
  }

  async #write(): Promise<void> {
    const { api, log } = this.#options;
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) {
      const { path, body } = event;
      try {
        await api.call("POST", path, { body, timeoutMs: WRITE_MS, signal: this.#ending.signal });
        this.#count("sent");
        this.#failing = false;
      } catch (error) {
        this.#count("failed");
        if (!this.#failing) log.warn({ error: messageOf(error) }, "an Event cannot be written, it is left out");
        this.#failing = true;
      }
    }
    this.#writing = undefined;
  }
}
