// Owns: `<state>/topic-status.json`: what Kubernetes would keep of a Topic beside its spec, for Topics from files: when it
// was made, its generation, its last good spec, its status. Written whole, in slices, some time after a change; a machine
// that loses it loses no Topic, only these.

import { open } from "node:fs/promises";
import { join } from "node:path";
import type { TopicPolicy } from "#core/domain/topic.ts";
import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import { Slices } from "#core/runtime/slices.ts";
import type { OperatorMetrics } from "../metrics.ts";
import type { TopicStatus } from "../reconcile/conditions.ts";
import { judgeTopic, policyToSpec, TOPIC_API_VERSION, TOPIC_KIND } from "../schema/judge.ts";
import type { ObjectName } from "../schema/metadata.ts";
import { isMissing, removeDrafts, writeAtomically } from "./atomic-file.ts";

export interface LedgerEntry extends ObjectName {
  readonly createdAtMs: number;
  readonly generation: number;
  /** The file it came from. */
  readonly file: string;
  readonly policy: TopicPolicy;
  readonly status: TopicStatus | undefined;
}

export interface TopicLedgerOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
  readonly tell: (sentence: string) => void;
}

/** Milliseconds from a change to the write that holds it; at least WRITE_FACTOR times what the last one took. */
const WRITE_DELAY_MS = 500;
const WRITE_FACTOR = 10;

/** Entries joined to one piece of a write. */
const ENTRIES_PER_PIECE = 200;

export class TopicLedger implements Component {
  readonly #path: string;
  readonly #options: TopicLedgerOptions;
  readonly #entries = new Map<string, LedgerEntry>();
  readonly #backoff = new Backoff({ firstMs: 1_000, maxMs: 60_000 });
  #due: Timer | undefined;
  #writing: Promise<void> | undefined;
  #isDirty = false;
  #tookMs = 0;
  #failing = false;
  #closed = false;

  constructor(options: TopicLedgerOptions) {
    this.#path = join(options.folder, "topic-status.json");
    this.#options = options;
  }

  get entries(): ReadonlyMap<string, LedgerEntry> {
    return this.#entries;
  }

  /** Reads what an earlier run left. A file that cannot be read is told and begun anew. */
  async load(): Promise<void> {
    let unreadable = 0;
    try {
      await removeDrafts(this.#options.folder);
      const file = await open(this.#path);
      const slices = new Slices();
      for await (const line of file.readLines()) {
        if (!line.startsWith('{"key"')) continue;
        const entry = parseEntry(line.endsWith(",") ? line.slice(0, -1) : line);
        if (entry === undefined) unreadable += 1;
        else this.#entries.set(`${entry.namespace}.${entry.name}`, entry);
        if (slices.isOver) await slices.breathe();
      }
    } catch (error) {
      if (!isMissing(error)) this.#options.log.warn({ cause: messageOf(error) }, "topic ledger unreadable, begun anew");
    }
    if (unreadable > 0) this.#options.log.warn({ unreadable }, "topic ledger has unreadable entries, left out");
  }

  set(key: string, entry: LedgerEntry): void {
    this.#entries.set(key, entry);
    this.#soon();
  }

  delete(key: string): void {
    if (this.#entries.delete(key)) this.#soon();
  }

  /** Writes what is due, if it can. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#due?.cancel();
    await this.#writing;
    if (this.#isDirty) await this.#write();
  }

  #soon(): void {
    this.#isDirty = true;
    if (this.#closed || this.#due !== undefined || this.#writing !== undefined) return;
    const delayMs = Math.max(WRITE_DELAY_MS, this.#tookMs * WRITE_FACTOR);
    this.#due = this.#options.clock.after(delayMs, () => this.#start());
  }

  #start(): void {
    this.#due = undefined;
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#isDirty && !this.#failing) this.#soon();
    });
  }

  async #write(): Promise<void> {
    const { clock, log, metrics, tell } = this.#options;
    const startedMs = clock.monotonic();
    this.#isDirty = false;
    try {
      await writeAtomically(this.#path, this.#pieces());
      this.#tookMs = clock.monotonic() - startedMs;
      this.#backoff.reset();
      if (this.#failing) log.info("topic ledger can be written again");
      this.#failing = false;
    } catch (error) {
      this.#isDirty = true;
      metrics.event("state_not_stored");
      if (!this.#failing) {
        log.error({ path: this.#path, error }, "topic ledger cannot be written, tried again");
        tell(`${this.#path} cannot be written (${messageOf(error)}); everything goes on, and it is tried again`);
      }
      this.#failing = true;
      if (!this.#closed) this.#due = clock.after(this.#backoff.next(), () => this.#start());
    }
  }

  /** A JSON object with one Topic a line. */
  async *#pieces(): AsyncGenerator<string> {
    const slices = new Slices();
    let piece = '{"topics":[';
    let count = 0;
    for (const [key, entry] of this.#entries) {
      piece += `${count === 0 ? "" : ","}\n${formatEntry(key, entry)}`;
      count += 1;
      if (count % ENTRIES_PER_PIECE !== 0) continue;
      yield piece;
      piece = "";
      await slices.breathe();
    }
    yield `${piece}\n]}\n`;
  }
}

function formatEntry(
  key: string,
  { namespace, name, createdAtMs, generation, file, policy, status }: LedgerEntry,
): string {
  const createdAt = new Date(createdAtMs).toISOString();
  return JSON.stringify({ key, namespace, name, createdAt, generation, file, spec: policyToSpec(policy), status });
}

/** Undefined when the line is not one of ours: the spec is judged as any other. */
function parseEntry(line: string): LedgerEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const { namespace, name, createdAt, generation, file, spec, status } = value as Record<string, unknown>;
  const manifest = { apiVersion: TOPIC_API_VERSION, kind: TOPIC_KIND, metadata: { namespace, name }, spec };
  const verdict = judgeTopic(manifest, () => undefined);
  const createdAtMs = Date.parse(String(createdAt));
  if (!verdict.ok || !Number.isFinite(createdAtMs) || !Number.isSafeInteger(generation) || typeof file !== "string") {
    return undefined;
  }
  return {
    namespace: verdict.manifest.namespace,
    name: verdict.manifest.name,
    createdAtMs,
    generation: generation as number,
    file,
    policy: verdict.manifest.policy,
    status: isStatus(status) ? status : undefined,
  };
}

function isStatus(value: unknown): value is TopicStatus {
  return typeof value === "object" && value !== null && Array.isArray((value as { conditions?: unknown }).conditions);
}
