// Owns: serving this router's last state over ControlPlane.Sync, read-only, to processes that start while no operator
// answers. Called by router/main, which binds `handlers` to its internal gRPC server. The same flow as the operator's:
// Welcome, Topics in chunks (only where wanted), map, members, then changes; one push in flight a stream.

import { create } from "@bufbuild/protobuf";
import { EarshotError } from "../runtime/errors.ts";
import { type Handlers, type ServerDuplexStream, toStatus } from "../runtime/grpc.ts";
import type { Component } from "../runtime/lifecycle.ts";
import {
  type ControlPlaneService,
  type Hello,
  MembersSchema,
  type Push,
  PushSchema,
  Role,
  type SyncRequest,
  type SyncResponse,
  SyncResponseSchema,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Fleet } from "./fleet.ts";
import { shardMapToProto } from "./shard-map-codec.ts";
import { membersToProto, SYNC_PROTOCOL_VERSION } from "./sync-frames.ts";
import { topicToRecord } from "./topic-codec.ts";

export interface SyncRelayOptions {
  readonly fleet: Fleet & { readonly httpTopicsNamespace: string };
  /** Of this router. */
  readonly incarnation: string;
}

/** Topics in one push: 1,000 are a few milliseconds at either end. */
const TOPICS_PER_PUSH = 1_000;

/** Streams served at once: more start one after the other, when the first have what they need. */
const STREAMS_MAX = 256;

export class SyncRelay implements Component {
  readonly handlers: Handlers<typeof ControlPlaneService>;
  readonly #streams = new Set<RelayStream>();
  readonly #unlisten: () => void;

  constructor(options: SyncRelayOptions) {
    const { fleet } = options;
    this.handlers = {
      sync: (call) => this.#serve(options, call),
      mutateTopic: () =>
        Promise.reject(
          new EarshotError("control_plane_unavailable", "a router cannot change Topics, only an operator"),
        ),
    };
    const unlisteners = [
      fleet.onTopic(({ key }) => this.#each((stream) => stream.topicChanged(key))),
      fleet.onMap(() => this.#each((stream) => stream.mapChanged())),
      fleet.onMembers(() => this.#each((stream) => stream.membersChanged())),
    ];
    this.#unlisten = () => unlisteners.forEach((unlisten) => unlisten());
  }

  close(): Promise<void> {
    this.#unlisten();
    this.#each((stream) => stream.end());
    this.#streams.clear();
    return Promise.resolve();
  }

  #each(action: (stream: RelayStream) => void): void {
    for (const stream of this.#streams) action(stream);
  }

  #serve(options: SyncRelayOptions, call: Call): void {
    if (!options.fleet.synced || this.#streams.size >= STREAMS_MAX) {
      const why = options.fleet.synced ? "too many streams" : "this router has no complete state yet";
      call.emit("error", toStatus(new EarshotError("control_plane_unavailable", why)));
      return;
    }
    const stream = new RelayStream(options, call);
    this.#streams.add(stream);
    const forget = (): void => {
      this.#streams.delete(stream);
    };
    call.on("cancelled", forget);
    call.on("error", forget);
    call.on("end", () => {
      forget();
      stream.end();
    });
  }
}

type Call = ServerDuplexStream<SyncRequest, SyncResponse | Uint8Array>;

class RelayStream {
  readonly #options: SyncRelayOptions;
  readonly #call: Call;
  /** Keys still to be told; undefined while the stream wants no Topics. */
  #topicsDue: Set<string> | undefined;
  /** The first push of Topics is a full list; it is complete when all keys known at Hello are out. */
  #list: "none" | "first" | "going" = "none";
  #mapDue = true;
  #membersDue = true;
  #greeted = false;
  #inFlight = false;
  #pushId = 0n;

  constructor(options: SyncRelayOptions, call: Call) {
    this.#options = options;
    this.#call = call;
    call.on("data", (request) => this.#onFrame(request.frame));
  }

  topicChanged(key: string): void {
    this.#topicsDue?.add(key);
    this.#pump();
  }

  mapChanged(): void {
    this.#mapDue = true;
    this.#pump();
  }

  membersChanged(): void {
    this.#membersDue = true;
    this.#pump();
  }

  end(): void {
    this.#greeted = false;
    this.#call.end();
  }

  #onFrame(frame: SyncRequest["frame"]): void {
    switch (frame.case) {
      case "hello":
        this.#onHello(frame.value);
        break;
      case "applied":
      case "nack":
        if (frame.value.pushId === this.#pushId) this.#inFlight = false;
        break;
      case "epochAck":
      case "report":
      case undefined:
        return;
    }
    this.#pump();
  }

  #onHello(hello: Hello): void {
    if (this.#greeted) return;
    this.#greeted = true;
    const { fleet, incarnation } = this.#options;
    if (hello.wantsTopics) {
      this.#topicsDue = new Set(fleet.topics.keys());
      this.#list = "first";
    }
    this.#call.write(
      create(SyncResponseSchema, {
        frame: {
          case: "welcome",
          value: {
            protocolVersion: SYNC_PROTOCOL_VERSION,
            incarnation,
            role: Role.ROUTER,
            httpTopicsNamespace: fleet.httpTopicsNamespace,
          },
        },
      }),
    );
  }

  #pump(): void {
    if (!this.#greeted || this.#inFlight) return;
    const push = this.#nextPush();
    if (push === undefined) return;
    this.#inFlight = true;
    this.#call.write(create(SyncResponseSchema, { frame: { case: "push", value: push } }));
  }

  #nextPush(): Push | undefined {
    const topicsDue = this.#list !== "none" || (this.#topicsDue?.size ?? 0) > 0;
    if (!topicsDue && !this.#mapDue && !this.#membersDue) return undefined;
    this.#pushId += 1n;
    const push = create(PushSchema, { pushId: this.#pushId });
    if (topicsDue) this.#addTopics(push);
    // A map is of use to nobody who has no Topics yet: the list goes first.
    if (this.#list !== "none") return push;
    const { fleet } = this.#options;
    if (this.#mapDue) push.shardMap = shardMapToProto(fleet.map);
    if (this.#membersDue) {
      push.members = create(MembersSchema, { processes: membersToProto(fleet.members) });
    }
    this.#mapDue = false;
    this.#membersDue = false;
    return push;
  }

  #addTopics(push: Push): void {
    const due = this.#topicsDue ?? new Set<string>();
    push.topicsReset = this.#list === "first";
    for (const key of due) {
      if (push.topics.length + push.removedTopics.length >= TOPICS_PER_PUSH) break;
      due.delete(key);
      const topic = this.#options.fleet.topic(key);
      if (topic === undefined) push.removedTopics.push(key);
      else push.topics.push(topicToRecord(topic));
    }
    push.topicsComplete = this.#list !== "none" && due.size === 0;
    if (push.topicsComplete) this.#list = "none";
    else if (this.#list === "first") this.#list = "going";
  }
}
