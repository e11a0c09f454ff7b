// Owns: a gateway or router as the operator sees one, moved by a test: a real Sync stream over gRPC, a real file in the
// peers folder, and acks and reports exactly when the test says so. Nothing of the real sync client is in it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ShardMap } from "#core/domain/shard-map.ts";
import type { Topic } from "#core/domain/topic.ts";
import { parseEndpoint } from "#core/fleet/peer-endpoint.ts";
import { shardMapFromProto } from "#core/fleet/shard-map-codec.ts";
import { recordToTopic } from "#core/fleet/topic-codec.ts";
import { type ClientStream, GrpcClient } from "#core/runtime/grpc.ts";
import { newIncarnation } from "#core/runtime/incarnation.ts";
import {
  ControlPlaneService,
  HelloSchema,
  MutateTopicRequestSchema,
  type MutateTopicResponse,
  type Push,
  ReportSchema,
  Role,
  type SyncRequest,
  SyncRequestSchema,
  type SyncResponseSchema,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { until } from "./until.ts";

const PEER_SECRET = "a test's peer secret";

export interface MemberOptions {
  readonly role: "router" | "gateway";
  readonly name: string;
  readonly peersFolder: string;
  readonly node?: string;
  readonly zone?: string;
  readonly wantsTopics?: boolean;
  /** Highest epoch that it says to have seen. */
  readonly epoch?: number;
}

export interface ReportParts {
  readonly ready?: boolean;
  readonly draining?: boolean;
  readonly links?: { readonly routerIncarnation: string; readonly alive: boolean }[];
  readonly hotTopics?: { readonly topic: string; readonly subscriptions: bigint }[];
}

const ROLES = { router: Role.ROUTER, gateway: Role.GATEWAY } as const;

/** Nobody listens there: nothing here is ever dialled. */
const ADDRESS = "127.0.0.1:1";

export class ScriptedMember {
  readonly incarnation = newIncarnation();
  readonly name: string;
  readonly topics = new Map<string, Topic>();
  /** Pushes as they came. */
  readonly pushes: Push[] = [];
  members: readonly string[] = [];
  map: ShardMap | undefined;
  httpTopicsNamespace = "";
  topicsComplete = false;
  released = false;
  /** The stream ended, with what the operator said. */
  ended: string | undefined;
  /** While false, pushes are taken in and not answered. */
  answers = true;
  /** While true, every map is acked as soon as it comes. */
  acks = true;
  readonly #options: MemberOptions;
  #isWelcome = false;
  #client: GrpcClient | undefined;
  #stream: ClientStream<typeof SyncRequestSchema, typeof SyncResponseSchema> | undefined;
  #unanswered: bigint[] = [];
  #report: ReportParts = { ready: true };

  constructor(options: MemberOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Writes its endpoint file: of a process that lives (this test's own), or of another one. */
  announce(pid = process.pid): void {
    const { role, name, peersFolder, node = name, zone = "" } = this.#options;
    const { incarnation } = this;
    const endpoint = { name, role, incarnation, pid, grpc: ADDRESS, probes: ADDRESS, node, zone };
    writeFileSync(join(peersFolder, `${name}.json`), JSON.stringify(endpoint));
  }

  /** Opens a Sync stream to the operator and says Hello; resolves when it was welcomed. */
  async connect(hello: MessageInitShape<typeof HelloSchema> = {}): Promise<void> {
    const { role, name, node = name, zone = "", wantsTopics = true, epoch = 0 } = this.#options;
    await this.open();
    const value = create(HelloSchema, {
      protocolVersion: 1,
      incarnation: this.incarnation,
      role: ROLES[role],
      name,
      node,
      zone,
      address: role === "router" ? ADDRESS : "",
      epoch: BigInt(epoch),
      wantsTopics,
      ready: true,
      ...hello,
    });
    this.send({ case: "hello", value });
    await until(() => this.#isWelcome || this.ended !== undefined, `${name} is welcomed`);
    if (this.map !== undefined && this.acks) this.ack(this.map.epoch);
    this.report({});
  }

  /** Opens the stream and says nothing yet. */
  async open(secret = PEER_SECRET): Promise<void> {
    const operator = await until(() => this.#operator(), "an operator is announced");
    this.#isWelcome = false;
    this.ended = undefined;
    this.topicsComplete = false;
    this.#client = new GrpcClient(operator, secret);
    this.#stream = this.#client.bidi(ControlPlaneService.method.sync);
    this.#stream.on("data", (response) => {
      if (response.frame.case === "welcome") {
        this.#isWelcome = true;
        this.httpTopicsNamespace = response.frame.value.httpTopicsNamespace;
      } else if (response.frame.case === "push") this.#onPush(response.frame.value);
    });
    this.#stream.on("error", (error) => {
      this.ended = error.message;
    });
    this.#stream.on("end", () => {
      this.ended ??= "end";
    });
  }

  send(frame: SyncRequest["frame"]): void {
    this.#stream?.write(create(SyncRequestSchema, { frame }));
  }

  ack(epoch: number): void {
    this.send({ case: "epochAck", value: { $typeName: "earshot.internal.v1.EpochAck", epoch: BigInt(epoch) } });
  }

  /** Changes what it reports, and reports. */
  report(change: ReportParts): void {
    this.#report = { ...this.#report, ...change };
    const { epoch: hello = 0 } = this.#options;
    const epoch = BigInt(Math.max(hello, this.map?.epoch ?? 0));
    this.send({ case: "report", value: create(ReportSchema, { epoch, ...this.#report }) });
  }

  /** Answers what was held back while `answers` was false. */
  answerAll(): void {
    this.answers = true;
    for (const pushId of this.#unanswered.splice(0)) this.#answer(pushId);
  }

  async mutate(request: MessageInitShape<typeof MutateTopicRequestSchema>): Promise<MutateTopicResponse> {
    const operator = await until(() => this.#operator(), "an operator is announced");
    const client = new GrpcClient(operator, PEER_SECRET);
    try {
      const method = ControlPlaneService.method.mutateTopic;
      return await client.unary(method, create(MutateTopicRequestSchema, request), 5_000);
    } finally {
      client.close();
    }
  }

  /** Its stream breaks; the endpoint file stays. */
  disconnect(): void {
    this.#stream?.cancel();
    this.#client?.close();
    this.#stream = undefined;
  }

  /** As a SIGKILL: the stream breaks, and the file names a process that is no more. */
  async die(): Promise<void> {
    this.announce(await deadPid());
    this.disconnect();
  }

  /** Ends in order. */
  leave(): void {
    rmSync(join(this.#options.peersFolder, `${this.name}.json`), { force: true });
    this.disconnect();
  }

  #operator(): string | undefined {
    const { peersFolder } = this.#options;
    const file = readdirSync(peersFolder).find((name) => name.startsWith("operator"));
    if (file === undefined) return undefined;
    return parseEndpoint(JSON.parse(readFileSync(join(peersFolder, file), "utf8")))?.grpc;
  }

  #onPush(push: Push): void {
    this.pushes.push(push);
    if (push.topicsReset) this.topics.clear();
    for (const record of push.topics) {
      const topic = recordToTopic(record);
      if (!topic.ok) throw new Error(topic.reason);
      this.topics.set(topic.value.key, topic.value);
    }
    for (const key of push.removedTopics) this.topics.delete(key);
    if (push.topicsComplete) this.topicsComplete = true;
    if (push.members !== undefined) this.members = push.members.processes.map(({ name }) => name).sort();
    if (push.released) this.released = true;
    if (push.shardMap !== undefined) {
      const map = shardMapFromProto(push.shardMap);
      if (!map.ok) throw new Error(map.reason);
      this.map = map.value;
    }
    if (this.answers) this.#answer(push.pushId);
    else this.#unanswered.push(push.pushId);
    if (push.shardMap !== undefined && this.acks) this.ack(Number(push.shardMap.epoch));
  }

  #answer(pushId: bigint): void {
    this.send({ case: "applied", value: { $typeName: "earshot.internal.v1.Applied", pushId } });
  }
}

/** The id of a process that has just ended. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
  await once(child, "exit");
  return child.pid ?? 1;
}
