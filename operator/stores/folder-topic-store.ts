// Owns: the Topics of standalone mode: manifests of a watched folder and those made over HTTP, as one store. A Topic in
// both counts as the watched folder says it. What is wrong is told once, and what was good stays in force.
// Invariant: a Topic is gone only when its file has been without it for a moment, so that no editor's save, rename or
// half-written file ends subscriptions.

import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { TopicPolicy } from "#core/domain/topic.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { ConfigError } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import { Slices } from "#core/runtime/slices.ts";
import type { OperatorMetrics } from "../metrics.ts";
import type { TopicStatus } from "../reconcile/conditions.ts";
import type { TopicManifest } from "../schema/judge.ts";
import { judgeManifests } from "../schema/manifests.ts";
import type { ObjectName } from "../schema/metadata.ts";
import { HttpChanges } from "./http-changes.ts";
import { HttpTopics } from "./http-topics.ts";
import { type Claim, duplicateOf, ManifestSet } from "./manifest-set.ts";
import { Removals } from "./removals.ts";
import { Reports } from "./reports.ts";
import { type LedgerEntry, TopicLedger } from "./topic-ledger.ts";
import type { StoredTopic, TopicStore } from "./topic-store.ts";
import { type FolderFile, WatchedFolder } from "./watched-folder.ts";

export interface FolderTopicStoreOptions {
  /** The watched folder. */
  readonly topics: string;
  readonly state: string;
  /** Topics made over HTTP that there may be. */
  readonly httpTopicsMax: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
  readonly tell: (sentence: string) => void;
}

const NO_REVISION = 0n;

/** Where the ledger has Topics made over HTTP from. */
const HTTP_FILE = "";

export class FolderTopicStore implements TopicStore {
  readonly #options: FolderTopicStoreOptions;
  readonly #ledger: TopicLedger;
  readonly #http: HttpTopics;
  readonly #reports: Reports;
  readonly #manifests: ManifestSet;
  readonly #folder: WatchedFolder;
  readonly #topics = new Map<string, StoredTopic>();
  readonly #listeners = new Set<(key: string) => void>();
  readonly #removals: Removals;
  readonly #changes: HttpChanges;

  constructor(options: FolderTopicStoreOptions) {
    const { topics, state, httpTopicsMax, clock, log, metrics, tell } = options;
    this.#options = options;
    this.#ledger = new TopicLedger({ folder: state, clock, log, metrics, tell });
    this.#http = new HttpTopics({ folder: state, log, tell });
    this.#reports = new Reports({ clock, log, metrics, tell });
    this.#removals = new Removals(clock, (key) => {
      if (this.#wanted(key) === undefined) this.#remove(key);
    });
    this.#changes = new HttpChanges({
      http: this.#http,
      max: httpTopicsMax,
      clock,
      inForce: (key) => this.#topics.get(key),
      settle: (key) => this.#settle(key),
      remove: (key) => this.#remove(key),
    });
    this.#manifests = new ManifestSet({
      byKey: (key) => toClaim(key, this.#ledger.entries.get(key)),
      byFile: (file) =>
        [...this.#ledger.entries].flatMap(([key, entry]) => (entry.file === file ? (toClaim(key, entry) ?? []) : [])),
    });
    this.#folder = new WatchedFolder({
      folder: topics,
      clock,
      listener: {
        changed: (file) => this.#fileChanged(file),
        gone: (name) => this.#fileGone(name),
        unreadable: (name, cause) => this.#reports.set(this.#pathOf(name), [`${this.#pathOf(name)}: ${cause}`]),
        folderUnreadable: (cause) => this.#folderUnreadable(cause),
      },
    });
  }

  /** Manifest files, and Topics made over HTTP or gRPC. */
  get sizes(): { readonly files: number; readonly httpTopics: number } {
    return { files: this.#folder.size, httpTopics: this.#http.topics.size };
  }

  get revision(): bigint {
    return NO_REVISION;
  }

  get topics(): ReadonlyMap<string, StoredTopic> {
    return this.#topics;
  }

  async start(): Promise<void> {
    await must(this.#http.load(), "state (--state, EARSHOT_STATE) must be a folder that can be written");
    await this.#ledger.load();
    await must(this.#folder.start(), "topics (--topics, EARSHOT_TOPICS) must be a folder that can be read");
    await this.#settleAll(this.#http.topics.keys());
    const slices = new Slices();
    // Topics that went away while no operator ran.
    for (const key of this.#ledger.entries.keys()) {
      if (!this.#topics.has(key)) this.#ledger.delete(key);
      if (slices.isOver) await slices.breathe();
    }
  }

  async close(): Promise<void> {
    await this.#folder.close();
    await this.#reports.close();
    await this.#removals.close();
    await this.#changes.finished();
    await this.#ledger.close();
  }

  onChange(listener: (key: string) => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  create(name: ObjectName, policy: TopicPolicy): Promise<StoredTopic> {
    return this.#changes.create(name, policy);
  }

  update(name: ObjectName, changes: Partial<TopicPolicy>): Promise<StoredTopic> {
    return this.#changes.update(name, changes);
  }

  delete(name: ObjectName): Promise<void> {
    return this.#changes.delete(name);
  }

  statusOf(key: string): TopicStatus | undefined {
    return this.#ledger.entries.get(key)?.status;
  }

  putStatus(key: string, status: TopicStatus): void {
    const entry = this.#ledger.entries.get(key);
    if (entry !== undefined) this.#ledger.set(key, { ...entry, status });
  }

  async #fileChanged({ name, text, changedAtMs }: FolderFile): Promise<void> {
    const inForce = (key: string): TopicPolicy | undefined =>
      this.#topics.get(key)?.policy ?? this.#ledger.entries.get(key)?.policy;
    const documents = await judgeManifests(text, inForce);
    const file = this.#pathOf(name);
    const { touched, problems } = this.#manifests.setFile(file, changedAtMs, documents);
    this.#reports.set(file, problems);
    await this.#settleAll(touched);
  }

  async #fileGone(name: string): Promise<void> {
    const file = this.#pathOf(name);
    this.#reports.set(file, []);
    await this.#settleAll(this.#manifests.removeFile(file));
  }

  async #settleAll(keys: Iterable<string>): Promise<void> {
    const slices = new Slices();
    for (const key of keys) {
      this.#settle(key);
      if (slices.isOver) await slices.breathe();
    }
  }

  /** A file as its user would open it. */
  #pathOf(name: string): string {
    return join(this.#options.topics, name);
  }

  #folderUnreadable(cause: string | undefined): void {
    const { topics, log, metrics } = this.#options;
    if (cause === undefined) {
      log.info({ folder: topics }, "topics folder is readable again");
      this.#reports.set(topics, []);
      return;
    }
    metrics.event("folder_unreadable");
    log.error({ folder: topics, cause }, "topics folder unreadable, what was there stays in force");
    this.#reports.set(topics, [`${topics} cannot be read (${cause}); what was there stays in force`]);
  }

  /** Brings one Topic to what files and HTTP say now; one that they no longer name is given a moment. */
  #settle(key: string): void {
    const wanted = this.#wanted(key);
    this.#reportDuplicates(key);
    if (wanted === undefined) {
      if (this.#topics.has(key)) this.#removals.missing(key);
      return;
    }
    this.#removals.found(key);
    const before = this.#topics.get(key);
    if (before !== undefined && isDeepStrictEqual(before, wanted.topic)) return;
    this.#topics.set(key, wanted.topic);
    const { namespace, name, createdAtMs, generation, policy } = wanted.topic;
    const status = this.#ledger.entries.get(key)?.status;
    this.#ledger.set(key, { namespace, name, createdAtMs, generation, policy, file: wanted.file, status });
    this.#changed(key);
  }

  #remove(key: string): void {
    this.#ledger.delete(key);
    if (this.#topics.delete(key)) this.#changed(key);
  }

  #wanted(key: string): { topic: StoredTopic; file: string } | undefined {
    const claim = this.#manifests.claimOf(key);
    const http = this.#http.topics.get(key);
    const manifest = claim?.manifest ?? http?.manifest;
    if (manifest === undefined) return undefined;
    const { namespace, name, policy } = manifest;
    const known = this.#ledger.entries.get(key);
    const firstSeenMs = known?.createdAtMs ?? claim?.changedAtMs ?? http?.createdAtMs ?? this.#options.clock.now();
    const isSame = known !== undefined && isDeepStrictEqual(known.policy, policy);
    const topic: StoredTopic = {
      key,
      namespace,
      name,
      policy,
      httpManaged: claim === undefined,
      createdAtMs: manifest.createdAtMs ?? firstSeenMs,
      generation: isSame ? known.generation : (known?.generation ?? 0) + 1,
      rejected: claim?.rejected,
      revision: NO_REVISION,
    };
    return { topic, file: claim?.file ?? HTTP_FILE };
  }

  #reportDuplicates(key: string): void {
    const claim = this.#manifests.claimOf(key);
    if (claim === undefined) return this.#reports.set(`Topic ${key}`, []);
    const others = this.#manifests.duplicatesOf(key).map((other) => duplicateOf(key, other, claim));
    const http = this.#http.topics.get(key);
    if (http !== undefined) others.push(duplicateOf(key, { file: http.path, line: 1 }, claim));
    this.#reports.set(`Topic ${key}`, others);
  }

  #changed(key: string): void {
    for (const listener of this.#listeners) listener(key);
  }
}

/** What the user must mend before anything can start is one sentence that names the setting. */
async function must(work: Promise<void>, right: string): Promise<void> {
  try {
    await work;
  } catch (error) {
    throw new ConfigError(`${right}: ${messageOf(error)}`, { cause: error });
  }
}

function toClaim(key: string, entry: LedgerEntry | undefined): Claim | undefined {
  if (entry === undefined || entry.file === HTTP_FILE) return undefined;
  const { namespace, name, createdAtMs, policy, file } = entry;
  const manifest: TopicManifest = { key, namespace, name, policy, createdAtMs };
  return { manifest, file, line: 1, changedAtMs: createdAtMs, rejected: undefined };
}
