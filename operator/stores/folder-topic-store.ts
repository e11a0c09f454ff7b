// Owns: the Topics of standalone mode: manifests of a watched folder and those made over HTTP, as one store. A Topic in
// both counts as the watched folder says it. What is wrong is told once, and what was good stays in force.
// Invariant: a Topic is gone only when its file has been without it for a moment, so that no editor's save, rename or
// half-written file ends subscriptions.

import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { TopicPolicy } from "#core/domain/topic.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { ConfigError } from "#core/runtime/config.ts";
import { EarshotError, messageOf } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import type { OperatorMetrics } from "../metrics.ts";
import type { TopicStatus } from "../reconcile/conditions.ts";
import { judgeTopic, policyToSpec, TOPIC_API_VERSION, TOPIC_KIND, type TopicManifest } from "../schema/judge.ts";
import { judgeManifests } from "../schema/manifests.ts";
import type { ObjectName } from "../schema/metadata.ts";
import { formatProblem } from "../schema/problem.ts";
import { Slices } from "../slices.ts";
import { HttpTopics } from "./http-topics.ts";
import { type Claim, duplicateOf, ManifestSet } from "./manifest-set.ts";
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

/** Milliseconds for which a Topic must be missing from its file: editors replace a file within a few. */
const REMOVAL_MS = 300;

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
  readonly #missing = new Map<string, Timer>();
  /** The last change over HTTP of each Topic that has one under way: they happen one after the other. */
  readonly #mutations = new Map<string, Promise<unknown>>();
  /** Topics that are being made: they count already. */
  #creating = 0;

  constructor(options: FolderTopicStoreOptions) {
    const { topics, state, clock, log, metrics, tell } = options;
    this.#options = options;
    this.#ledger = new TopicLedger({ folder: state, clock, log, metrics, tell });
    this.#http = new HttpTopics({ folder: state, log, tell });
    this.#reports = new Reports({ clock, log, metrics, tell });
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

  get topics(): ReadonlyMap<string, StoredTopic> {
    return this.#topics;
  }

  async start(): Promise<void> {
    await must(this.#http.load(), "state (--state, EARSHOT_STATE) must be a folder that can be written");
    await this.#ledger.load();
    await must(this.#folder.start(), "topics (--topics, EARSHOT_TOPICS) must be a folder that can be read");
    const slices = new Slices();
    for (const key of this.#http.topics.keys()) {
      this.#settle(key);
      if (slices.isOver) await slices.breathe();
    }
    // Topics that went away while no operator ran.
    for (const key of this.#ledger.entries.keys()) {
      if (!this.#topics.has(key)) this.#ledger.delete(key);
      if (slices.isOver) await slices.breathe();
    }
  }

  async close(): Promise<void> {
    await this.#folder.close();
    await this.#reports.close();
    for (const timer of this.#missing.values()) timer.cancel();
    this.#missing.clear();
    await Promise.allSettled(this.#mutations.values());
    await this.#ledger.close();
  }

  onChange(listener: (key: string) => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  create(name: ObjectName, policy: TopicPolicy): Promise<StoredTopic> {
    return this.#inTurn(name, async () => {
      const manifest = judge(name, policy, undefined);
      const { key } = manifest;
      if (this.#topics.has(key)) throw new EarshotError("topic_exists", `Topic ${key} is there already`);
      const { httpTopicsMax, clock } = this.#options;
      if (this.#http.topics.size + this.#creating >= httpTopicsMax) {
        throw new EarshotError(
          "quota_exceeded",
          `there are ${httpTopicsMax} Topics made over HTTP, and no more may be`,
        );
      }
      this.#creating += 1;
      try {
        await this.#http.put(manifest, clock.now(), 1);
      } finally {
        this.#creating -= 1;
      }
      return this.#settleNow(key);
    });
  }

  update(name: ObjectName, changes: Partial<TopicPolicy>): Promise<StoredTopic> {
    return this.#inTurn(name, async () => {
      const { key, generation, createdAtMs, policy: inForce } = this.#httpManaged(name);
      const policy = { ...inForce, ...changes };
      const manifest = judge(name, policy, inForce);
      if (!isDeepStrictEqual(this.#http.topics.get(key)?.manifest.policy, policy)) {
        await this.#http.put(manifest, createdAtMs, generation + 1);
      }
      return this.#settleNow(key);
    });
  }

  delete(name: ObjectName): Promise<void> {
    return this.#inTurn(name, async () => {
      const { key } = this.#httpManaged(name);
      await this.#http.remove(key);
      this.#remove(key);
    });
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
    const slices = new Slices();
    for (const key of touched) {
      this.#settle(key);
      if (slices.isOver) await slices.breathe();
    }
  }

  #fileGone(name: string): void {
    const file = this.#pathOf(name);
    this.#reports.set(file, []);
    for (const key of this.#manifests.removeFile(file)) this.#settle(key);
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
      if (!this.#topics.has(key) || this.#missing.has(key)) return;
      this.#missing.set(
        key,
        this.#options.clock.after(REMOVAL_MS, () => {
          this.#missing.delete(key);
          if (this.#wanted(key) === undefined) this.#remove(key);
        }),
      );
      return;
    }
    this.#missing.get(key)?.cancel();
    this.#missing.delete(key);
    const before = this.#topics.get(key);
    if (before !== undefined && isDeepStrictEqual(before, wanted.topic)) return;
    this.#topics.set(key, wanted.topic);
    const { namespace, name, createdAtMs, generation, policy } = wanted.topic;
    const status = this.#ledger.entries.get(key)?.status;
    this.#ledger.set(key, { namespace, name, createdAtMs, generation, policy, file: wanted.file, status });
    this.#changed(key);
  }

  #settleNow(key: string): StoredTopic {
    this.#settle(key);
    const topic = this.#topics.get(key);
    if (topic === undefined) throw new EarshotError("topic_not_found", `Topic ${key} is gone`);
    return topic;
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

  #httpManaged({ namespace, name }: ObjectName): StoredTopic {
    const key = `${namespace}.${name}`;
    const topic = this.#topics.get(key);
    if (topic === undefined) throw new EarshotError("topic_not_found");
    if (!topic.httpManaged) {
      throw new EarshotError("forbidden", `Topic ${key} is kept in a manifest, and is changed there alone`);
    }
    return topic;
  }

  #inTurn<T>({ namespace, name }: ObjectName, work: () => Promise<T>): Promise<T> {
    const key = `${namespace}.${name}`;
    const done = (this.#mutations.get(key) ?? Promise.resolve()).then(work, work);
    const settled = done.then(
      () => undefined,
      () => undefined,
    );
    this.#mutations.set(key, settled);
    void settled.then(() => {
      if (this.#mutations.get(key) === settled) this.#mutations.delete(key);
    });
    return done;
  }
}

/** Throws topic_name_invalid, invalid_request. */
function judge({ namespace, name }: ObjectName, policy: TopicPolicy, inForce: TopicPolicy | undefined): TopicManifest {
  const spec = structuredClone(policyToSpec(policy));
  const value = { apiVersion: TOPIC_API_VERSION, kind: TOPIC_KIND, metadata: { namespace, name }, spec };
  const verdict = judgeTopic(value, () => inForce);
  if (verdict.ok) return verdict.manifest;
  const [problem] = verdict.problems;
  const sentence = problem === undefined ? "the Topic is wrong" : formatProblem(problem);
  throw new EarshotError(problem?.path[0] === "metadata" ? "topic_name_invalid" : "invalid_request", sentence);
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
