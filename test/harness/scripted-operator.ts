// Owns: a control plane for tests of those who follow it: a real gRPC server that speaks Sync as the test says, and
// keeps every frame that reached it.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { EarshotError } from "#core/runtime/errors.ts";
import { bindService, createGrpcServer, listenGrpc, type ServerDuplexStream } from "#core/runtime/grpc.ts";
import { type PeerIdentity, secretIdentity } from "#core/runtime/peer-identity.ts";
import {
  ControlPlaneService,
  type Hello,
  type MutateTopicRequest,
  type MutateTopicResponse,
  MutateTopicResponseSchema,
  PushSchema,
  Role,
  type SyncRequest,
  type SyncResponse,
  SyncResponseSchema,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";

export class OperatorStream {
  readonly frames: SyncRequest["frame"][] = [];
  open = true;
  readonly #call: ServerDuplexStream<SyncRequest, SyncResponse | Uint8Array>;
  #pushId = 0n;

  constructor(call: ServerDuplexStream<SyncRequest, SyncResponse | Uint8Array>) {
    this.#call = call;
    call.on("data", ({ frame }) => this.frames.push(frame));
    call.on("error", () => (this.open = false));
    call.on("cancelled", () => (this.open = false));
    call.on("end", () => {
      this.open = false;
      call.end();
    });
  }

  get hello(): Hello | undefined {
    const [first] = this.frames;
    return first?.case === "hello" ? first.value : undefined;
  }

  get(kind: "applied" | "nack"): readonly bigint[] {
    return this.frames.flatMap((frame) => (frame.case === kind ? [frame.value.pushId] : []));
  }

  welcome(httpTopicsNamespace = "default"): void {
    const value = { protocolVersion: 1, incarnation: "op", role: Role.OPERATOR, httpTopicsNamespace };
    this.#call.write(create(SyncResponseSchema, { frame: { case: "welcome", value } }));
  }

  /** Sends a push; its id, one higher each time, comes back. */
  push(push: MessageInitShape<typeof PushSchema>): bigint {
    this.#pushId += 1n;
    const value = create(PushSchema, { ...push, pushId: this.#pushId });
    this.#call.write(create(SyncResponseSchema, { frame: { case: "push", value } }));
    return this.#pushId;
  }

  end(): void {
    this.#call.end();
  }
}

export class ScriptedOperator {
  readonly streams: OperatorStream[] = [];
  readonly mutations: MutateTopicRequest[] = [];
  /** Whether a stream gets its Welcome by itself. */
  greets = true;
  mutate: (request: MutateTopicRequest) => Promise<MutateTopicResponse> = async () =>
    create(MutateTopicResponseSchema, { ready: true });
  readonly address: string;
  readonly #server: ReturnType<typeof createGrpcServer>;

  private constructor(server: ReturnType<typeof createGrpcServer>, address: string) {
    this.#server = server;
    this.address = address;
  }

  /** `proof`: the secret of the fleet, or what its processes are in the place of one. */
  static async listen(proof: string | PeerIdentity): Promise<ScriptedOperator> {
    const identity = typeof proof === "string" ? secretIdentity(proof) : proof;
    const server = createGrpcServer({ judge: identity.judge });
    const found: { operator?: ScriptedOperator } = {};
    bindService(server, ControlPlaneService, {
      sync: (call) => found.operator?.serve(new OperatorStream(call)),
      mutateTopic: async (request) => {
        found.operator?.mutations.push(request);
        return (await found.operator?.mutate(request)) ?? create(MutateTopicResponseSchema);
      },
    });
    const port = await listenGrpc(server, "127.0.0.1", 0, identity.tls);
    found.operator = new ScriptedOperator(server, `127.0.0.1:${port}`);
    return found.operator;
  }

  /** The newest stream that is open. */
  get stream(): OperatorStream | undefined {
    return this.streams.findLast((stream) => stream.open);
  }

  serve(stream: OperatorStream): void {
    this.streams.push(stream);
    if (this.greets) stream.welcome();
  }

  notLeading(): void {
    this.mutate = async () => {
      throw new EarshotError("control_plane_unavailable", "another operator leads");
    };
  }

  kill(): void {
    this.#server.forceShutdown();
  }
}
