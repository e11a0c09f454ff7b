// Owns: the Sync streams: accepting them, their frames, their end; sending every session what changes. The operator's
// side of ControlPlaneService.Sync (proto/earshot/internal/v1/control_plane.proto).
// Invariant: nothing is served before the first list of Topics is complete (main binds the service only then).

import { create } from "@bufbuild/protobuf";
import type { ShardMap } from "#core/domain/shard-map.ts";
import { shardMapToProto } from "#core/fleet/shard-map-codec.ts";
import { SYNC_PROTOCOL_VERSION } from "#core/fleet/sync-frames.ts";
import { SyncSession, type SyncState } from "#core/fleet/sync-session.ts";
import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { GrpcStatus, type ServerDuplexStream } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import {
  type Hello,
  type Members,
  type Push,
  Role,
  type ServiceAccountKeys,
  type ShardMap as ProtoShardMap,
  type SyncRequest,
  type SyncResponse,
  SyncResponseSchema,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { OperatorMetrics } from "../metrics.ts";
import type { Catalog } from "./catalog.ts";
import { type Processes, type ProcessRole, roleOf } from "./processes.ts";

type Call = ServerDuplexStream<SyncRequest, SyncResponse | Uint8Array>;

export interface SyncServerOptions {
  readonly catalog: Catalog;
  readonly processes: Processes;
  readonly members: () => Members | undefined;
  /** Undefined while they are not known. */
  readonly serviceAccountKeys: () => ServiceAccountKeys | undefined;
  readonly incarnation: string;
  readonly httpTopicsNamespace: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
}

/** Milliseconds without any frame after which a stream is dead: three reports missed. */
const SILENCE_MS = 15_000;

/** Milliseconds a stream may take to its Hello. */
const HELLO_MS = 5_000;

/** Milliseconds between looks for silent streams. */
const SWEEP_MS = 1_000;

/** Streams of one operator: far above any fleet; one more is refused and tries again. */
const STREAMS_MAX = 4_096;

/** Oldest protocol that is still spoken: the one before ours. */
const PROTOCOL_VERSION_MIN = Math.max(1, SYNC_PROTOCOL_VERSION - 1);

interface Stream {
  readonly call: Call;
  lastFrameMs: number;
  /** Undefined before Hello. */
  greeted: { readonly incarnation: string; readonly role: ProcessRole; readonly session: SyncSession } | undefined;
}

export class SyncServer implements Component {
  readonly #options: SyncServerOptions;
  readonly #state: SyncState;
  readonly #streams = new Set<Stream>();
  readonly #answeredListeners = new Set<() => void>();
  readonly #sweeping: Timer;
  readonly #unlisten: () => void;
  #map: ShardMap | undefined;
  #protoMap: ProtoShardMap | undefined;

  constructor(options: SyncServerOptions) {
    const { catalog, members, serviceAccountKeys, clock } = options;
    this.#options = options;
    this.#state = {
      topicKeys: () => catalog.entries.keys(),
      topic: (key) => catalog.entries.get(key)?.topic,
      topicsVersion: () => catalog.version,
      topicsRevision: () => catalog.revision,
      map: () => this.#protoMap,
      members,
      serviceAccountKeys,
    };
    this.#unlisten = catalog.onChange((key, isNews) => {
      if (!isNews) return;
      for (const { greeted } of this.#streams) greeted?.session.topicChanged(key);
    });
    this.#sweeping = clock.every(SWEEP_MS, () => this.#sweep());
  }

  /** The map in force; undefined: none was published yet. */
  get map(): ShardMap | undefined {
    return this.#map;
  }

  /** Sessions of processes that take Topics from here, with what they have. */
  *topicSessions(): Generator<{ incarnation: string; role: ProcessRole; appliedVersion: number }> {
    for (const { greeted } of this.#streams) {
      if (greeted?.session.wantsTopics !== true) continue;
      const { incarnation, role, session } = greeted;
      yield { incarnation, role, appliedVersion: session.appliedVersion };
    }
  }

  /** Open streams of a role. */
  count(role: ProcessRole): number {
    let count = 0;
    for (const { greeted } of this.#streams) if (greeted?.role === role) count += 1;
    return count;
  }

  /** Called when a process answered a push, told how far it has the Topics, or left. */
  onAnswered(listener: () => void): Unlisten {
    this.#answeredListeners.add(listener);
    return () => this.#answeredListeners.delete(listener);
  }

  /** A map of a lower epoch than the last one is no news. */
  publish(map: ShardMap): void {
    if (this.#map !== undefined && this.#map.epoch >= map.epoch) return;
    this.#map = map;
    this.#protoMap = shardMapToProto(map);
    for (const { greeted } of this.#streams) greeted?.session.mapChanged();
  }

  membersChanged(): void {
    for (const { greeted } of this.#streams) greeted?.session.membersChanged();
  }

  serviceAccountKeysChanged(): void {
    for (const { greeted } of this.#streams) greeted?.session.serviceAccountKeysChanged();
  }

  release(incarnation: string): void {
    for (const { greeted } of this.#streams) if (greeted?.incarnation === incarnation) greeted.session.release();
  }

  /** The handler of ControlPlaneService.Sync. */
  serve(call: Call): void {
    if (this.#streams.size >= STREAMS_MAX) {
      this.#refuse(call, GrpcStatus.RESOURCE_EXHAUSTED, `this operator serves ${STREAMS_MAX} streams already`);
      return;
    }
    const stream: Stream = { call, lastFrameMs: this.#options.clock.monotonic(), greeted: undefined };
    this.#streams.add(stream);
    call.on("data", (request) => this.#onFrame(stream, request.frame));
    call.on("end", () => {
      this.#forget(stream);
      call.end();
    });
    call.on("cancelled", () => this.#forget(stream));
    call.on("error", () => this.#forget(stream));
  }

  close(): Promise<void> {
    this.#sweeping.cancel();
    this.#unlisten();
    for (const stream of this.#streams) {
      this.#forget(stream);
      stream.call.end();
    }
    return Promise.resolve();
  }

  #onFrame(stream: Stream, frame: SyncRequest["frame"]): void {
    stream.lastFrameMs = this.#options.clock.monotonic();
    const { greeted } = stream;
    if (frame.case === "hello") {
      if (greeted === undefined) this.#onHello(stream, frame.value);
      return;
    }
    if (greeted === undefined) {
      this.#forget(stream);
      this.#refuse(stream.call, GrpcStatus.FAILED_PRECONDITION, "the first frame of a Sync stream is its hello");
      return;
    }
    const { processes } = this.#options;
    switch (frame.case) {
      case "applied":
        greeted.session.answered(frame.value.pushId, true);
        this.#tellAnswered();
        break;
      case "nack":
        this.#options.metrics.event("push_refused");
        this.#options.log.error({ process: greeted.incarnation, reason: frame.value.reason }, "process refused a push");
        greeted.session.answered(frame.value.pushId, false);
        this.#tellAnswered();
        break;
      case "epochAck":
        processes.acked(greeted.incarnation, frame.value.epoch);
        break;
      case "report":
        if (processes.reported(greeted.incarnation, frame.value).hasMoreTopics) this.#tellAnswered();
        break;
      case undefined:
        // A frame of a newer version.
        break;
    }
  }

  #onHello(stream: Stream, hello: Hello): void {
    const { call } = stream;
    const role = roleOf(hello);
    const wrong = helloProblem(hello, role);
    if (wrong !== undefined || role === undefined) {
      this.#forget(stream);
      this.#refuse(call, GrpcStatus.FAILED_PRECONDITION, wrong ?? "role is not known here");
      return;
    }
    const { incarnation, httpTopicsNamespace, processes, log } = this.#options;
    if (hello.wantsTopics) this.#endOlder(hello.incarnation);
    const session = new SyncSession(this.#state, hello.wantsTopics, (push) => this.#send(stream, push));
    stream.greeted = { incarnation: hello.incarnation, role, session };
    const welcome = { protocolVersion: SYNC_PROTOCOL_VERSION, incarnation, role: Role.OPERATOR, httpTopicsNamespace };
    call.write(create(SyncResponseSchema, { frame: { case: "welcome", value: welcome } }));
    log.info({ process: hello.name, processRole: role, wantsTopics: hello.wantsTopics }, "process connected");
    processes.opened(hello, role);
    session.pump();
  }

  /** A process has one stream for Topics: an older one is dead, whether or not that is known yet. */
  #endOlder(incarnation: string): void {
    for (const stream of this.#streams) {
      if (stream.greeted?.incarnation !== incarnation || !stream.greeted.session.wantsTopics) continue;
      this.#forget(stream);
      stream.call.end();
    }
  }

  #send(stream: Stream, push: Push): void {
    // One push in flight is all that can pile up here.
    stream.call.write(create(SyncResponseSchema, { frame: { case: "push", value: push } }));
  }

  #sweep(): void {
    const nowMs = this.#options.clock.monotonic();
    for (const stream of this.#streams) {
      if (nowMs - stream.lastFrameMs < (stream.greeted === undefined ? HELLO_MS : SILENCE_MS)) continue;
      this.#options.metrics.event("stream_silent");
      this.#options.log.warn({ process: stream.greeted?.incarnation }, "stream silent, ended");
      this.#forget(stream);
      stream.call.destroy();
    }
  }

  #forget(stream: Stream): void {
    if (!this.#streams.delete(stream) || stream.greeted === undefined) return;
    const { incarnation, role } = stream.greeted;
    this.#options.log.info({ process: incarnation, processRole: role }, "process disconnected");
    this.#options.processes.closed(incarnation);
    this.#tellAnswered();
  }

  #refuse(call: Call, code: number, details: string): void {
    this.#options.metrics.event("stream_refused");
    this.#options.log.warn({ details }, "stream refused");
    call.emit("error", { code, details });
  }

  #tellAnswered(): void {
    for (const listener of this.#answeredListeners) listener();
  }
}

function helloProblem(hello: Hello, role: ProcessRole | undefined): string | undefined {
  const { protocolVersion, incarnation, name, address } = hello;
  if (protocolVersion < PROTOCOL_VERSION_MIN) {
    return `protocol version ${protocolVersion} is too old, this operator speaks ${PROTOCOL_VERSION_MIN} to ${SYNC_PROTOCOL_VERSION}`;
  }
  if (incarnation === "") return "incarnation is empty";
  if (name === "") return "name is empty";
  if (role === "router" && address === "") return "address is empty, and a router is dialled there";
  return undefined;
}
