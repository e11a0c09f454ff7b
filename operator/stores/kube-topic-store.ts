// Owns: the Topics of the Kubernetes API, as this installation sees them: those of the watched namespaces whose status names
// no other installation. Status is written by a queue, only by the leader, only what differs from what is there.
// Invariant: a Topic is written once for each change of what is true of it, however often that is decided.
// Elsewhere: what is wanted of a status (control-plane/status-keeper.ts), Topics made over HTTP (kube-topic-changes.ts).

import { isDeepStrictEqual } from "node:util";
import type { TopicPolicy } from "#core/domain/topic.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { readGauge } from "#core/runtime/metrics.ts";
import { Slices } from "#core/runtime/slices.ts";
import { type KubeApi, KubeError } from "../kube/api.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Informer } from "../kube/informer.ts";
import { WorkQueue } from "../kube/work-queue.ts";
import type { Leadership } from "../platform/platform.ts";
import { decideStatus, type TopicStatus } from "../reconcile/conditions.ts";
import { TOPIC_API_VERSION, TOPIC_KIND } from "../schema/judge.ts";
import type { ObjectName } from "../schema/metadata.ts";
import { KubeTopicChanges } from "./kube-topic-changes.ts";
import { transitionsOf } from "./topic-events.ts";
import {
  generationOf,
  objectKeyOf,
  readStatus,
  readTopic,
  statusPatch,
  type TopicObject,
  topicsPath,
} from "./topic-object.ts";
import type { StoredTopic, TopicStore } from "./topic-store.ts";

export interface KubeTopicStoreOptions {
  readonly api: KubeApi;
  /** By watched namespace, or one of all under ""; this store starts and closes them. */
  readonly informers: ReadonlyMap<string, Informer<TopicObject>>;
  /** `<namespace>/<release>`: what the status of Topics that this installation carries says. */
  readonly controllerName: string;
  readonly httpTopicsMax: number;
  readonly leadership: Leadership;
  readonly events: Pick<EventRecorder, "record">;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

/** Statuses written at a time: the API server's own default lets one client have about that many in flight. */
const WRITERS = 8;

/** Milliseconds for which "not every process has it yet" is not written: mostly they have it before that. */
const PENDING_MS = 500;

const TOPIC_TYPE = { apiVersion: TOPIC_API_VERSION, kind: TOPIC_KIND };

/** Milliseconds until a status is written again that is not what this operator wrote. */
const REPAIR_MS = 5_000;

/** Who owns the fields of the status. */
const FIELD_MANAGER = "earshot-operator";

export class KubeTopicStore implements TopicStore {
  readonly #options: KubeTopicStoreOptions;
  readonly #topics = new Map<string, StoredTopic>();
  readonly #listeners = new Set<(key: string) => void>();
  /** What the leader wants each status to be. */
  readonly #wanted = new Map<string, TopicStatus>();
  /** Objects that this version cannot read, and why. */
  readonly #unreadable = new Map<string, string>();
  readonly #foreign = new Set<string>();
  readonly #uids = new Map<string, string | undefined>();
  readonly #queue: WorkQueue;
  readonly #changes: KubeTopicChanges;
  readonly #unlisten: Unlisten[] = [];
  #httpTopics = 0;

  constructor(options: KubeTopicStoreOptions) {
    const { api, httpTopicsMax, clock, log, registry } = options;
    this.#options = options;
    this.#queue = new WorkQueue({
      name: "topic-status",
      concurrency: WRITERS,
      handle: (key) => this.#writeStatus(key),
      clock,
      log,
      registry,
    });
    this.#changes = new KubeTopicChanges({
      api,
      max: httpTopicsMax,
      count: () => this.#httpTopics,
      inForce: (key) => this.#topics.get(key),
      took: (object) => this.#put(object),
      untilGone: (key) => this.#untilGone(key),
    });
    const foreign = "Topics of watched namespaces that are another installation's, by their status: left alone.";
    readGauge(registry, "earshot_operator_foreign_topics", foreign, () => this.#foreign.size);
    const unreadable = "Topic objects that this version of the operator cannot read, and so does not carry.";
    readGauge(registry, "earshot_operator_unreadable_topics", unreadable, () => this.#unreadable.size);
  }

  get topics(): ReadonlyMap<string, StoredTopic> {
    return this.#topics;
  }

  /** Of several informers the one that is furthest behind counts. */
  get revision(): bigint {
    let lowest: bigint | undefined;
    for (const { revision } of this.#options.informers.values()) {
      if (lowest === undefined || revision < lowest) lowest = revision;
    }
    return lowest ?? 0n;
  }

  get sizes(): { readonly files: number; readonly httpTopics: number } {
    return { files: 0, httpTopics: this.#httpTopics };
  }

  async start(): Promise<void> {
    const { leadership } = this.#options;
    const informers = [...this.#options.informers.values()];
    await Promise.all(informers.map((informer) => informer.start()));
    const slices = new Slices();
    for (const informer of informers) {
      // From here on nothing is missed; what is met twice is taken once.
      this.#unlisten.push(informer.onChange((objectKey) => this.#take(informer, objectKey)));
      for (const objectKey of informer.objects.keys()) {
        this.#take(informer, objectKey);
        if (slices.isOver) await slices.breathe();
      }
    }
    this.#unlisten.push(leadership.onChange(() => this.#ledChanged()));
    this.#ledChanged();
  }

  async close(): Promise<void> {
    for (const unlisten of this.#unlisten.splice(0)) unlisten();
    await this.#queue.close();
    await Promise.all([...this.#options.informers.values()].map((informer) => informer.close()));
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
    const object = this.#objectOf(key);
    return object === undefined ? undefined : readStatus(object);
  }

  putStatus(key: string, status: TopicStatus): void {
    this.#wanted.set(key, status);
    const isPending = status.conditions.some(({ type, status: is }) => type === "Ready" && is === "Unknown");
    if (isPending) this.#queue.addAfter(key, PENDING_MS);
    else this.#queue.add(key);
  }

  #take(informer: Informer<TopicObject>, objectKey: string): void {
    const object = informer.objects.get(objectKey);
    const key = objectKey.replace("/", ".");
    if (object === undefined) return this.#forget(key);
    const controller = object.status?.controllerName;
    if (controller !== undefined && controller !== this.#options.controllerName) {
      this.#forget(key);
      this.#foreign.add(key);
      return;
    }
    this.#foreign.delete(key);
    // Deleted and made again while nobody watched: another Topic, of which nothing that was known holds.
    if (this.#uids.get(key) !== object.metadata.uid) this.#forget(key);
    this.#uids.set(key, object.metadata.uid);
    const before = this.#topics.get(key);
    const read = readTopic(object, before);
    if (!read.ok) return this.#cannotRead(key, object, read.reason);
    this.#unreadable.delete(key);
    if (before !== undefined && isDeepStrictEqual(before, read.topic)) return this.#repair(key, object);
    this.#httpTopics += Number(read.topic.httpManaged) - Number(before?.httpManaged ?? false);
    this.#topics.set(key, read.topic);
    this.#changed(key);
  }

  /** Somebody else may have written the status. Not at once: two writers that disagree must not chase each other. */
  #repair(key: string, object: TopicObject): void {
    const wanted = this.#wanted.get(key);
    if (wanted !== undefined && !isDeepStrictEqual(readStatus(object), wanted)) this.#queue.addAfter(key, REPAIR_MS);
  }

  #forget(key: string): void {
    this.#uids.delete(key);
    this.#foreign.delete(key);
    this.#unreadable.delete(key);
    this.#wanted.delete(key);
    const before = this.#topics.get(key);
    if (before === undefined) return;
    this.#httpTopics -= Number(before.httpManaged);
    this.#topics.delete(key);
    this.#changed(key);
  }

  #cannotRead(key: string, object: TopicObject, reason: string): void {
    const { clock, log } = this.#options;
    if (this.#unreadable.get(key) !== reason) {
      log.warn({ topic: key, reason }, "topic object cannot be read by this version, not carried");
    }
    this.#unreadable.set(key, reason);
    const facts = { topicId: key, generation: generationOf(object), rejected: reason, clamped: undefined, hot: false };
    const waiting = { ...facts, remark: undefined, programmed: { kind: "waiting" as const } };
    this.putStatus(key, decideStatus(waiting, readStatus(object), clock.now()));
  }

  /** Who begins to lead wants nothing yet; who ends wants nothing any more. */
  #ledChanged(): void {
    this.#wanted.clear();
    if (!this.#options.leadership.leading) return;
    for (const [key, reason] of this.#unreadable) {
      const object = this.#objectOf(key);
      if (object !== undefined) this.#cannotRead(key, object, reason);
    }
  }

  async #writeStatus(key: string): Promise<void> {
    const { api, controllerName, leadership, events } = this.#options;
    const wanted = this.#wanted.get(key);
    const object = this.#objectOf(key);
    if (!leadership.leading || wanted === undefined || object === undefined) return;
    const before = readStatus(object);
    if (object.status?.controllerName === controllerName && isDeepStrictEqual(before, wanted)) return;
    const { namespace, name } = object.metadata;
    try {
      const written = await api.call<TopicObject>("PATCH", `${topicsPath(namespace)}/${name}/status`, {
        query: { fieldManager: FIELD_MANAGER, force: "true" },
        contentType: "application/apply-patch+yaml",
        body: statusPatch(object, wanted, controllerName),
      });
      this.#put(written);
      for (const transition of transitionsOf(before, wanted)) events.record({ ...object, ...TOPIC_TYPE }, transition);
    } catch (error) {
      // Gone, or another of the same name: the informer tells.
      if (error instanceof KubeError && (error.status === 404 || error.status === 409)) return;
      throw error;
    }
  }

  #objectOf(key: string): TopicObject | undefined {
    const objectKey = objectKeyOf(key);
    return this.#informerOf(objectKey.slice(0, objectKey.indexOf("/")))?.objects.get(objectKey);
  }

  #informerOf(namespace: string | undefined): Informer<TopicObject> | undefined {
    const { informers } = this.#options;
    return informers.get(namespace ?? "") ?? informers.get("");
  }

  /** Takes an object that was just written, before the watch tells of it. */
  #put(object: TopicObject): void {
    this.#informerOf(object.metadata.namespace)?.put(object);
  }

  /** Resolves when the watch has told that a Topic is gone. */
  #untilGone(key: string): Promise<void> {
    if (!this.#topics.has(key)) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.cancel();
        unlisten();
        resolve();
      };
      const timer = this.#options.clock.after(GONE_MS, finish);
      const unlisten = this.onChange((changed) => {
        if (changed === key && !this.#topics.has(key)) finish();
      });
    });
  }

  #changed(key: string): void {
    for (const listener of this.#listeners) listener(key);
  }
}

/** Milliseconds for which the deletion of a Topic waits for the watch to tell of it. */
const GONE_MS = 1_000;
