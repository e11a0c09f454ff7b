// Owns: knowing all objects of one kind, for ever: a whole list, then a watch from there, and again wherever that breaks.
// Invariants: half a line or half a list is never applied; a stream that says nothing for SILENCE_MS is given up; failures
// wait longer and longer, with jitter, and never end it. Listeners get keys only: what they do with them is a work queue's.
// Elsewhere: what is known (object-cache.ts), reading events (watch-event.ts), a list by pages (whole-list.ts).

import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { Slices } from "#core/runtime/slices.ts";
import { type KubeApi, KubeError, type KubeObject } from "./api.ts";
import { type InformerMetrics, informerMetrics } from "./metrics.ts";
import { ObjectCache, type Unlisten } from "./object-cache.ts";
import { keyOf, parseEvent, type WatchEvent } from "./watch-event.ts";
import { linesOf } from "./watch-lines.ts";
import { listPages } from "./whole-list.ts";

export interface InformerOptions<T extends KubeObject = KubeObject> {
  readonly api: Pick<KubeApi, "call" | "watch">;
  /** Of the collection: /apis/earshot.dev/v1alpha1/topics, or of one namespace. */
  readonly path: string;
  /** In logs and metrics: topics. */
  readonly name: string;
  readonly query?: { readonly labelSelector?: string; readonly fieldSelector?: string };
  /** What is kept of an object; its key, uid and resourceVersion must stay. Default: all of it. */
  readonly keep?: (object: T) => T;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  /** For tests: milliseconds without a byte after which a stream counts as dead. */
  readonly silenceMs?: number;
  /** For tests: see BACKOFF. */
  readonly backoff?: { readonly firstMs: number; readonly maxMs: number };
}

/** Milliseconds without a byte after which a stream counts as dead: bookmarks come once a minute. */
const SILENCE_MS = 100_000;

/** Between tries. The longest is how late an operator may see that an API server is back. */
const BACKOFF = { firstMs: 200, maxMs: 10_000 };

/** Milliseconds that a stream must have lived for its end to be nothing special: tries begin with firstMs again. */
const LIVED_MS = 10_000;

/** Seconds after which the server ends a watch, at random between these: load moves to API servers that are new. */
const WATCH_SECONDS = { least: 300, most: 600 };

/** Times in a row that the server may refuse to go on from a revision before a new list is taken. */
const REFUSALS_MAX = 3;

export class Informer<T extends KubeObject> implements Component {
  readonly #options: InformerOptions<T>;
  readonly #metrics: InformerMetrics;
  readonly #cache: ObjectCache<T>;
  readonly #backoff: Backoff;
  readonly #ending = new AbortController();
  /** Where a watch goes on; undefined: a new list is needed. */
  #resume: bigint | undefined;
  #refusals = 0;
  /** By a watch that tells what is there first (KEP-3157), or by pages where that is refused or fails. */
  #listsByWatch = true;
  #isWatchListRefused = false;
  #failing = false;
  #synced = false;
  #lastSignMs: number;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  readonly #first = Promise.withResolvers<void>();

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#cache = new ObjectCache(options.keep);
    this.#backoff = new Backoff(options.backoff ?? BACKOFF);
    this.#lastSignMs = options.clock.monotonic();
    this.#metrics = informerMetrics(options.registry, options.name, {
      objects: () => this.#cache.objects.size,
      synced: () => this.#synced,
      silentMs: () => options.clock.monotonic() - this.#lastSignMs,
    });
  }

  /** By `<namespace>/<name>`, or `<name>` of what has no namespace. */
  get objects(): ReadonlyMap<string, T> {
    return this.#cache.objects;
  }

  /** `objects` holds every change up to this resourceVersion; 0: none yet. */
  get revision(): bigint {
    return this.#cache.revision;
  }

  /** Whether there has been a whole list. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Monotonic: when the API server was heard last. */
  get lastSignMs(): number {
    return this.#lastSignMs;
  }

  /** Resolves with the first whole list, however long that takes; also when it is closed before. */
  start(): Promise<void> {
    this.#running ??= this.#run();
    return this.#first.promise;
  }

  /** Called with the key of each object that changed or went, after `objects` did. It must not throw. */
  onChange(listener: (key: string) => void): Unlisten {
    return this.#cache.onChange(listener);
  }

  /** What this process has just written, as the API server answered it: known before the watch brings it. */
  put(object: T): void {
    this.#cache.put(object);
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#wake?.();
    await this.#running;
    this.#first.resolve();
    this.#cache.unlistenAll();
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#ending.signal.aborted) {
      const startedMs = clock.monotonic();
      let askedMs = 0;
      try {
        await this.#cycle();
      } catch (error) {
        if (this.#ending.signal.aborted) return;
        this.#failed(error);
        askedMs = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0;
      }
      if (clock.monotonic() - startedMs >= LIVED_MS) this.#backoff.reset();
      await this.#pause(Math.max(this.#backoff.next(), askedMs));
    }
  }

  /** A list where one is needed, then a watch until it ends. */
  async #cycle(): Promise<void> {
    if (this.#resume === undefined && !this.#listsByWatch) await this.#list();
    await this.#watch(this.#resume);
  }

  async #list(): Promise<void> {
    const { api, path, query = {} } = this.#options;
    const fresh = new Map<string, T>();
    const revision = await listPages<T>({
      api,
      path,
      query,
      timeoutMs: this.#silenceMs,
      signal: this.#ending.signal,
      heard: () => this.#heard(),
      found: (object) => this.#cache.collect(fresh, object),
    });
    await this.#replace(fresh, revision);
  }

  /** From a revision, or with everything that is there first. */
  async #watch(resume: bigint | undefined): Promise<void> {
    const { api, path } = this.#options;
    const stream = new AbortController();
    const watchdog = this.#watchdog(stream);
    const end = (): void => stream.abort();
    this.#ending.signal.addEventListener("abort", end);
    try {
      const pieces = await api.watch(path, this.#watchQuery(resume), stream.signal);
      this.#heard();
      let fresh = resume === undefined ? new Map<string, T>() : undefined;
      const slices = new Slices();
      for await (const line of linesOf(pieces, () => this.#heard())) {
        const event = parseEvent<T>(line);
        if (fresh !== undefined) {
          if (event.type === "bookmark" && event.isListEnd) {
            await this.#replace(fresh, event.revision);
            fresh = undefined;
          } else this.#collect(fresh, event);
        } else this.#apply(event);
        if (slices.isOver) await slices.breathe();
      }
      if (fresh !== undefined) throw new Error("the watch ended before its list was whole");
    } catch (error) {
      throw watchdog.barked() ? new SilenceError(this.#silenceMs) : error;
    } finally {
      watchdog.timer.cancel();
      this.#ending.signal.removeEventListener("abort", end);
      stream.abort();
    }
  }

  #watchQuery(resume: bigint | undefined): Record<string, string> {
    const { least, most } = WATCH_SECONDS;
    const timeoutSeconds = String(Math.round(least + Math.random() * (most - least)));
    const common = { ...this.#options.query, allowWatchBookmarks: "true", timeoutSeconds };
    if (resume !== undefined) return { ...common, resourceVersion: String(resume) };
    return { ...common, sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" };
  }

  /** Gives up a stream on which nothing comes. */
  #watchdog(stream: AbortController): { readonly timer: Timer; readonly barked: () => boolean } {
    const { clock } = this.#options;
    let barked = false;
    this.#heard();
    const timer = clock.every(this.#silenceMs / 10, () => {
      if (clock.monotonic() - this.#lastSignMs < this.#silenceMs) return;
      barked = true;
      stream.abort();
    });
    return { timer, barked: () => barked };
  }

  /** Into a list that is not whole yet. */
  #collect(fresh: Map<string, T>, event: WatchEvent<T>): void {
    if (event.type === "upsert") this.#cache.collect(fresh, event.object);
    else if (event.type === "delete") fresh.delete(keyOf(event.object));
  }

  #apply(event: WatchEvent<T>): void {
    this.#resume = event.revision;
    this.#refusals = 0;
    this.#answered();
    this.#cache.apply(event);
  }

  async #replace(fresh: ReadonlyMap<string, T>, revision: bigint): Promise<void> {
    await this.#cache.replace(fresh, revision);
    this.#resume = revision;
    this.#refusals = 0;
    this.#metrics.listed();
    this.#answered();
    this.#synced = true;
    this.#first.resolve();
  }

  #heard(): void {
    this.#lastSignMs = this.#options.clock.monotonic();
  }

  #answered(): void {
    if (this.#failing) this.#options.log.info({ informer: this.#options.name }, "objects are watched again");
    this.#failing = false;
  }

  #failed(error: unknown): void {
    const { name, log } = this.#options;
    this.#metrics.failed();
    const isExpired = error instanceof KubeError && error.status === 410;
    if (this.#resume === undefined) this.#chooseList(error);
    else if (isExpired) this.#relist();
    else if (isRefusal(error)) {
      this.#refusals += 1;
      if (this.#refusals >= REFUSALS_MAX) this.#relist();
    }
    if (!this.#failing && !isExpired) {
      log.warn({ informer: name, error: messageOf(error) }, "objects cannot be watched, is tried again");
    }
    this.#failing = true;
  }

  /** No list was had one way: the next try goes the other way, but where the server cannot go it. */
  #chooseList(error: unknown): void {
    // An API server without WatchList says that the parameters are wrong.
    const isWrong = error instanceof KubeError && (error.status === 400 || error.status === 422);
    if (this.#listsByWatch && isWrong) this.#isWatchListRefused = true;
    this.#listsByWatch = !this.#isWatchListRefused && !this.#listsByWatch;
  }

  #relist(): void {
    this.#resume = undefined;
    this.#refusals = 0;
    this.#listsByWatch = !this.#isWatchListRefused;
  }

  get #silenceMs(): number {
    return this.#options.silenceMs ?? SILENCE_MS;
  }

  async #pause(ms: number): Promise<void> {
    if (this.#ending.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(ms, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

class SilenceError extends Error {
  constructor(silenceMs: number) {
    super(`nothing was heard for ${silenceMs} ms`);
  }
}

/**
 * Whether going on from this revision may be what is wrong: it was refused, or nothing ever came. An API server that was
 * put back from a backup may never say anything of a revision that it has not reached yet.
 */
function isRefusal(error: unknown): boolean {
  if (error instanceof SilenceError) return true;
  if (!(error instanceof KubeError)) return false;
  return !error.unavailable || error.message.includes("Too large resource version");
}
