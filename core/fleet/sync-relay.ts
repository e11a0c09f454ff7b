// Owns: serving this router's last state over ControlPlane.Sync, read-only, to processes that start while no operator
// answers. Called by router/main, which binds `handlers` to its internal gRPC server. Elsewhere: what goes out when, as
// from an operator (sync-session.ts).

import { create } from "@bufbuild/protobuf";
import { EarshotError } from "../runtime/errors.ts";
import { type Handlers, type ServerDuplexStream, toStatus } from "../runtime/grpc.ts";
import type { Component } from "../runtime/lifecycle.ts";
import {
  type ControlPlaneService,
  type Hello,
  MembersSchema,
  Role,
  type SyncRequest,
  type SyncResponse,
  SyncResponseSchema,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Fleet } from "./fleet.ts";
import { shardMapToProto } from "./shard-map-codec.ts";
import type { SyncClient } from "./sync-client.ts";
import { membersToProto, SYNC_PROTOCOL_VERSION } from "./sync-frames.ts";
import { SyncSession, type SyncState } from "./sync-session.ts";

export interface SyncRelayOptions {
  readonly fleet: Fleet &
    Pick<
      SyncClient,
      "operators" | "httpTopicsNamespace" | "topicsRevision" | "serviceAccountKeys" | "onServiceAccountKeys"
    >;
  /** Of this router. */
  readonly incarnation: string;
}

/** Streams served at once: more start one after the other, when the first have what they need. */
export const RELAY_STREAMS_MAX = 256;

type Call = ServerDuplexStream<SyncRequest, SyncResponse | Uint8Array>;

interface Stream {
  readonly call: Call;
  /** Undefined before Hello. */
  session: SyncSession | undefined;
}

export class SyncRelay implements Component {
  readonly handlers: Handlers<typeof ControlPlaneService>;
  readonly #options: SyncRelayOptions;
  readonly #state: SyncState;
  readonly #streams = new Set<Stream>();
  readonly #unlisten: () => void;
  #refused = 0;

  constructor(options: SyncRelayOptions) {
    const { fleet } = options;
    this.#options = options;
    this.#state = {
      topicKeys: () => fleet.topics.keys(),
      topic: (key) => fleet.topic(key),
      // Nobody asks a router how far a change of a Topic has come.
      topicsVersion: () => 0,
      topicsRevision: () => fleet.topicsRevision,
      map: () => shardMapToProto(fleet.map),
      members: () =>
        create(MembersSchema, { processes: membersToProto(fleet.members), operators: [...fleet.operators] }),
      serviceAccountKeys: () => fleet.serviceAccountKeys,
    };
    this.handlers = {
      sync: (call) => this.#serve(call),
      mutateTopic: () =>
        Promise.reject(
          new EarshotError("control_plane_unavailable", "a router cannot change Topics, only an operator"),
        ),
    };
    const unlisteners = [
      fleet.onTopic(({ key }) => this.#each((session) => session.topicChanged(key))),
      fleet.onMap(() => this.#each((session) => session.mapChanged())),
      fleet.onMembers(() => this.#each((session) => session.membersChanged())),
      fleet.onServiceAccountKeys(() => this.#each((session) => session.serviceAccountKeysChanged())),
    ];
    this.#unlisten = () => unlisteners.forEach((unlisten) => unlisten());
  }

  /** Streams that are open, and streams that were refused since this process began. */
  get size(): number {
    return this.#streams.size;
  }

  get refused(): number {
    return this.#refused;
  }

  close(): Promise<void> {
    this.#unlisten();
    for (const stream of this.#streams) this.#end(stream);
    return Promise.resolve();
  }

  #each(action: (session: SyncSession) => void): void {
    for (const { session } of this.#streams) if (session !== undefined) action(session);
  }

  #serve(call: Call): void {
    const { fleet } = this.#options;
    if (!fleet.synced || this.#streams.size >= RELAY_STREAMS_MAX) {
      this.#refused += 1;
      const why = fleet.synced ? "too many streams" : "this router has no complete state yet";
      call.emit("error", toStatus(new EarshotError("control_plane_unavailable", why)));
      return;
    }
    const stream: Stream = { call, session: undefined };
    this.#streams.add(stream);
    call.on("data", ({ frame }) => this.#onFrame(stream, frame));
    call.on("cancelled", () => this.#streams.delete(stream));
    call.on("error", () => this.#streams.delete(stream));
    call.on("end", () => this.#end(stream));
  }

  #end(stream: Stream): void {
    this.#streams.delete(stream);
    stream.call.end();
  }

  #onFrame(stream: Stream, frame: SyncRequest["frame"]): void {
    if (!this.#streams.has(stream)) return;
    switch (frame.case) {
      case "hello":
        if (stream.session === undefined) this.#onHello(stream, frame.value);
        break;
      case "applied":
      case "nack":
        stream.session?.answered(frame.value.pushId, frame.case === "applied");
        break;
      case "epochAck":
      case "report":
      case undefined:
        break;
    }
  }

  #onHello(stream: Stream, { wantsTopics }: Hello): void {
    const { fleet, incarnation } = this.#options;
    const { httpTopicsNamespace } = fleet;
    const { call } = stream;
    const session = new SyncSession(this.#state, wantsTopics, (push) => {
      call.write(create(SyncResponseSchema, { frame: { case: "push", value: push } }));
    });
    stream.session = session;
    const welcome = { protocolVersion: SYNC_PROTOCOL_VERSION, incarnation, role: Role.ROUTER, httpTopicsNamespace };
    call.write(create(SyncResponseSchema, { frame: { case: "welcome", value: welcome } }));
    session.pump();
  }
}
