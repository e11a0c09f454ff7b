// Owns: what this process knows of the fleet (Fleet), kept by Sync streams to every operator, and what it tells them:
// readiness, acks, reports. Topics come from one stream at a time, maps from all; a lower epoch is never applied.
// Invariant: an operator that dies changes nothing here (static stability). While no operator has ever answered since
// this process started, routers are asked instead, who serve the last state they applied (sync-relay.ts).

import { EMPTY_SHARD_MAP, isNewer, type ShardMap } from "../domain/shard-map.ts";
import type { Topic } from "../domain/topic.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import type { Counter, Registry } from "../runtime/metrics.ts";
import { Slices } from "../runtime/slices.ts";
import type { PeerIdentity } from "../runtime/peer-identity.ts";
import type {
  Members,
  MutateTopicRequest,
  MutateTopicResponse,
  Push,
  ServiceAccountKeys,
  ShardMap as ProtoShardMap,
  Welcome,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Fleet, FleetMember, TopicChange, Unlisten } from "./fleet.ts";
import { mutateTopic } from "./mutate-topic.ts";
import type { PeerDirectory } from "./peers.ts";
import { shardMapFromProto } from "./shard-map-codec.ts";
import { ackFrame, helloFrame, membersFromProto, type ReportParts, reportFrame, type SyncSelf } from "./sync-frames.ts";
import { syncMetrics } from "./sync-metrics.ts";
import { SyncSources } from "./sync-sources.ts";
import type { SyncFrame, SyncStream } from "./sync-stream.ts";
import { TopicTable } from "./topic-table.ts";

export interface SyncClientOptions {
  readonly self: SyncSelf;
  readonly peers: PeerDirectory;
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

/** Milliseconds between reports when nothing changes. */
const REPORT_MS = 5_000;

export class SyncClient implements Fleet, Component {
  readonly #options: SyncClientOptions;
  readonly #table = new TopicTable((change) => this.#tellTopic(change));
  readonly #topicListeners = new Set<(change: TopicChange) => void>();
  readonly #mapListeners = new Set<(map: ShardMap, before: ShardMap) => void>();
  readonly #memberListeners = new Set<(members: readonly FleetMember[]) => void>();
  readonly #keysListeners = new Set<(keys: ServiceAccountKeys) => void>();
  readonly #releasedListeners = new Set<() => void>();
  readonly #topicsSyncedListeners = new Set<() => void>();
  readonly #nacks: Counter;
  #sources: SyncSources | undefined;
  #reporting: Timer | undefined;
  #map: ShardMap = EMPTY_SHARD_MAP;
  #members: readonly FleetMember[] = [];
  #operators: readonly string[] = [];
  #httpTopicsNamespace = "";
  #serviceAccountKeys: ServiceAccountKeys | undefined;
  #ready = false;
  #ackedEpoch = 0;
  #topicsRevision = 0n;
  #released = false;
  #reportParts: () => ReportParts = () => ({});
  #reportDue = false;
  #closed = false;

  constructor(options: SyncClientOptions) {
    this.#options = options;
    this.#nacks = syncMetrics(options.registry, {
      sources: () => this.#sources?.live ?? { operator: 0, router: 0 },
      epoch: () => this.#map.epoch,
      ackedEpoch: () => this.#ackedEpoch,
      topics: () => this.#table.topics.size,
      members: () => countByRole(this.#members),
      unownedShards: () => this.#map.shards.filter((owners) => owners.length === 0).length,
    });
  }

  /** Starts dialling. Attach listeners before, and nothing is missed. */
  start(): void {
    if (this.#sources !== undefined || this.#closed) return;
    const { peers, identity, clock, log, self } = this.#options;
    this.#sources = new SyncSources({
      peers,
      self,
      identity,
      clock,
      log,
      hello: (wantsTopics) => this.#hello(wantsTopics),
      welcomed: (stream, welcome) => this.#welcomed(stream, welcome),
      push: (push, isSource) => this.#push(push, isSource),
      sourceChanged: () => this.#table.abandonList(),
    });
    this.#reporting = clock.every(REPORT_MS, () => this.#report());
  }

  get topics(): ReadonlyMap<string, Topic> {
    return this.#table.topics;
  }

  get largestMessageBytes(): number {
    return this.#table.largestMessageBytes;
  }

  get map(): ShardMap {
    return this.#map;
  }

  get members(): readonly FleetMember[] {
    return this.#members;
  }

  get synced(): boolean {
    return this.#table.complete && this.#map.epoch > 0;
  }

  /** Whether a complete list of Topics was ever received: what a router needs to be put into a first map. */
  get topicsSynced(): boolean {
    return this.#table.complete;
  }

  get operatorConnected(): boolean {
    return (this.#sources?.operators.length ?? 0) > 0;
  }

  /** Where operators are dialled, as they told last; empty where they do not know. */
  get operators(): readonly string[] {
    return this.#operators;
  }

  /** Of the store where the Topics are kept, up to which they are applied here; 0: none was told. */
  get topicsRevision(): bigint {
    return this.#topicsRevision;
  }

  /** As the operator told it; empty: Topics are not made over HTTP, or no operator has told yet. */
  get httpTopicsNamespace(): string {
    return this.#httpTopicsNamespace;
  }

  /** Whose ServiceAccount tokens count, as the operator told it; undefined: none has told yet. */
  get serviceAccountKeys(): ServiceAccountKeys | undefined {
    return this.#serviceAccountKeys;
  }

  topic(key: string): Topic | undefined {
    return this.#table.topics.get(key);
  }

  onTopic(listener: (change: TopicChange) => void): Unlisten {
    return listen(this.#topicListeners, listener);
  }

  onMap(listener: (map: ShardMap, before: ShardMap) => void): Unlisten {
    return listen(this.#mapListeners, listener);
  }

  onMembers(listener: (members: readonly FleetMember[]) => void): Unlisten {
    return listen(this.#memberListeners, listener);
  }

  onServiceAccountKeys(listener: (keys: ServiceAccountKeys) => void): Unlisten {
    return listen(this.#keysListeners, listener);
  }

  /** Called once, when the first complete list of Topics has been applied. */
  onTopicsSynced(listener: () => void): Unlisten {
    return listen(this.#topicsSyncedListeners, listener);
  }

  /** Called once, when the operator says that every process has acked a map without this (draining) router. */
  onReleased(listener: () => void): Unlisten {
    return listen(this.#releasedListeners, listener);
  }

  /** This process has done what an epoch asks of it (see EpochAck). Lower ones than before are ignored. */
  ackEpoch(epoch: number): void {
    if (epoch <= this.#ackedEpoch) return;
    this.#ackedEpoch = epoch;
    this.#sources?.send(ackFrame(epoch));
  }

  /** What the owner's reports add; asked whenever one is sent. */
  setReport(parts: () => ReportParts): void {
    this.#reportParts = parts;
  }

  /** Sends a report soon: once, however often this is called in one turn of the event loop. */
  reportChanged(): void {
    if (this.#reportDue || this.#closed) return;
    this.#reportDue = true;
    setImmediate(() => {
      this.#reportDue = false;
      this.#report();
    });
  }

  setReady(ready: boolean): void {
    if (ready === this.#ready) return;
    this.#ready = ready;
    this.reportChanged();
  }

  mutateTopic(request: MutateTopicRequest): Promise<MutateTopicResponse> {
    const clients = (this.#sources?.operators ?? []).map((stream) => stream.client);
    return mutateTopic(clients, request, this.#options.clock);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#reporting?.cancel();
    this.#sources?.close();
    return Promise.resolve();
  }

  #hello(wantsTopics: boolean): SyncFrame {
    return helloFrame(this.#options.self, { epoch: this.#map.epoch, wantsTopics, ready: this.#ready });
  }

  #welcomed(stream: SyncStream, welcome: Welcome): void {
    this.#httpTopicsNamespace = welcome.httpTopicsNamespace;
    stream.send(this.#reportFrame());
    if (this.#ackedEpoch > 0) stream.send(ackFrame(this.#ackedEpoch));
  }

  #report(): void {
    this.#sources?.send(this.#reportFrame());
  }

  #reportFrame(): SyncFrame {
    return reportFrame(this.#reportParts(), {
      ready: this.#ready,
      epoch: this.#map.epoch,
      topicsRevision: this.#topicsRevision,
    });
  }

  async #push(push: Push, isSource: () => boolean): Promise<string | undefined> {
    // First, for whoever comes next shows a token.
    if (push.serviceAccountKeys !== undefined && isSource()) this.#setKeys(push.serviceAccountKeys);
    const reason = await this.#applyTopics(push, isSource);
    if (reason === undefined && push.members !== undefined && isSource()) {
      this.#setMembers(push.members);
    }
    const mapReason = push.shardMap === undefined ? undefined : this.#applyMap(push.shardMap);
    if (push.released) this.#setReleased();
    const failed = reason ?? mapReason;
    if (failed !== undefined) {
      this.#nacks.inc();
      this.#options.log.error({ reason: failed }, "push of the control plane refused");
    }
    return failed;
  }

  async #applyTopics(push: Push, isSource: () => boolean): Promise<string | undefined> {
    const wasComplete = this.#table.complete;
    const steps = this.#table.apply(push);
    const slices = new Slices();
    for (;;) {
      if (!isSource() || this.#closed) return undefined;
      const step = steps.next();
      if (step.done === true) {
        if (step.value === undefined) this.#takeRevision(push.topicsRevision);
        if (!wasComplete && this.#table.complete) for (const listener of this.#topicsSyncedListeners) listener();
        return step.value;
      }
      if (slices.isOver) await slices.breathe();
    }
  }

  #takeRevision(revision: bigint): void {
    if (revision === 0n || revision === this.#topicsRevision) return;
    this.#topicsRevision = revision;
    this.reportChanged();
  }

  #applyMap(proto: ProtoShardMap): string | undefined {
    const parsed = shardMapFromProto(proto);
    if (!parsed.ok) return `shard map: ${parsed.reason}`;
    if (!isNewer(parsed.value, this.#map)) return undefined;
    const before = this.#map;
    this.#map = parsed.value;
    for (const listener of this.#mapListeners) listener(parsed.value, before);
    this.reportChanged();
    return undefined;
  }

  #setMembers(proto: Members): void {
    this.#operators = proto.operators;
    this.#sources?.setOperators(proto.operators);
    this.#members = membersFromProto(proto);
    for (const listener of this.#memberListeners) listener(this.#members);
  }

  #setKeys(keys: ServiceAccountKeys): void {
    this.#serviceAccountKeys = keys;
    for (const listener of this.#keysListeners) listener(keys);
  }

  #setReleased(): void {
    if (this.#released) return;
    this.#released = true;
    for (const listener of this.#releasedListeners) listener();
  }

  #tellTopic(change: TopicChange): void {
    for (const listener of this.#topicListeners) listener(change);
  }
}

function countByRole(members: readonly FleetMember[]): Readonly<Record<FleetMember["role"], number>> {
  const counts = { operator: 0, router: 0, gateway: 0, presence: 0 };
  for (const { role } of members) counts[role] += 1;
  return counts;
}

function listen<T>(listeners: Set<T>, listener: T): Unlisten {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
