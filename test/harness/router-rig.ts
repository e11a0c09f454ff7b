// Owns: real router processes for tests, with a control plane that says what the test says: spawned with nothing but a
// peers folder, told Topics and maps by a scripted operator. Ended by process id.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Topic, TopicPolicy } from "#core/domain/topic.ts";
import type { Router, ShardMap } from "#core/domain/shard-map.ts";
import { type PeerEndpoint, parseEndpoint } from "#core/fleet/peer-endpoint.ts";
import { announcePeer } from "#core/fleet/peers.ts";
import { shardMapToProto } from "#core/fleet/shard-map-codec.ts";
import { topicToRecord } from "#core/fleet/topic-codec.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { Role } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { mapOf } from "./hand-map.ts";
import { keepLogs } from "./kept-logs.ts";
import { type OperatorStream, ScriptedOperator } from "./scripted-operator.ts";
import { until } from "./until.ts";

export const PEER_SECRET = "a test's peer secret";

const ROOT = join(import.meta.dirname, "..", "..");

export class RouterProcess {
  readonly name: string;
  readonly child: ChildProcess;
  readonly #rig: RouterRig;

  constructor(rig: RouterRig, name: string, child: ChildProcess) {
    this.#rig = rig;
    this.name = name;
    this.child = child;
  }

  get endpoint(): PeerEndpoint {
    const endpoint = parseEndpoint(JSON.parse(readFileSync(join(this.#rig.peersFolder, `${this.name}.json`), "utf8")));
    if (endpoint === undefined) throw new Error(`${this.name} has no endpoint file`);
    return endpoint;
  }

  get router(): Router {
    const { incarnation, name, grpc, node, zone } = this.endpoint;
    return { incarnation, name, address: grpc, node, zone };
  }

  /** Its Sync stream at the scripted operator. */
  get stream(): OperatorStream {
    const { incarnation } = this.endpoint;
    const stream = this.#rig.operator.streams.findLast(
      (candidate) => candidate.open && candidate.hello?.incarnation === incarnation,
    );
    if (stream === undefined) throw new Error(`${this.name} has no stream to the operator`);
    return stream;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  get log(): string {
    return readFileSync(join(this.#rig.folder, `${this.name}.log`), "utf8");
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Resolves with its exit code, null where a signal ended it. */
  async exit(): Promise<number | null> {
    if (!this.ended) await once(this.child, "exit");
    return this.child.exitCode;
  }

  async notReady(): Promise<readonly string[]> {
    const response = await fetch(`http://${this.endpoint.probes}/readyz`);
    return ((await response.json()) as { reasons: string[] }).reasons;
  }

  /** The value of a metric without labels, or with these. */
  async metric(name: string, labels = ""): Promise<number> {
    const text = await (await fetch(`http://${this.endpoint.probes}/metrics`)).text();
    const line = text.split("\n").find((one) => one.startsWith(`${name}{`) && one.includes(labels));
    return line === undefined ? Number.NaN : Number(line.slice(line.lastIndexOf(" ") + 1));
  }
}

export class RouterRig {
  readonly folder: string;
  readonly peersFolder: string;
  readonly operator: ScriptedOperator;
  readonly routers: RouterProcess[] = [];
  readonly #announced: Component;
  #epoch = 0;

  private constructor(operator: ScriptedOperator, announced: Component, folder: string) {
    this.operator = operator;
    this.#announced = announced;
    this.folder = folder;
    this.peersFolder = join(folder, "run");
  }

  /** A scripted operator that is listed and greets. */
  static async start(): Promise<RouterRig> {
    const folder = mkdtempSync(join(tmpdir(), "earshot-router-"));
    const operator = await ScriptedOperator.listen(PEER_SECRET);
    const announced = await announcePeer(`folder:${join(folder, "run")}`, {
      name: "operator-0",
      role: "operator",
      incarnation: "op",
      pid: process.pid,
      grpc: operator.address,
      probes: "127.0.0.1:1",
      node: "",
      zone: "",
    });
    return new RouterRig(operator, announced, folder);
  }

  /** Starts a router; resolves when it has come to the operator. */
  async spawn(env: Readonly<Record<string, string>> = {}): Promise<RouterProcess> {
    const router = this.launch(env);
    const { name } = router;
    await until(() => {
      if (router.ended) throw new Error(`${name} ended: ${router.log}`);
      return this.operator.streams.some((stream) => stream.open && stream.hello?.name === name);
    }, `${name} comes to the operator`);
    return router;
  }

  /** Starts a router and waits for nothing. */
  launch(env: Readonly<Record<string, string>>): RouterProcess {
    const name = `router-${this.routers.length}`;
    const child = spawn(process.execPath, [join(ROOT, "router", "main.ts")], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"] ?? "",
        EARSHOT_NAME: name,
        EARSHOT_PEERS: `folder:${this.peersFolder}`,
        EARSHOT_PEER_SECRET: PEER_SECRET,
        EARSHOT_DRAIN: "10s",
        ...env,
      },
    });
    const log = join(this.folder, `${name}.log`);
    writeFileSync(log, "");
    for (const output of [child.stdout, child.stderr]) {
      output?.on("data", (chunk: Buffer) => writeFileSync(log, chunk, { flag: "a" }));
    }
    const router = new RouterProcess(this, name, child);
    this.routers.push(router);
    return router;
  }

  /** Tells every router all Topics, as a full list. */
  topics(topics: readonly Topic[]): void {
    for (const stream of this.#streams()) {
      stream.push({ topicsReset: true, topics: topics.map(topicToRecord), topicsComplete: true });
    }
  }

  /** Puts a map in force in which every shard has this list; resolves when every running router has acked it. */
  async map(owners: readonly RouterProcess[], others: readonly RouterProcess[] = []): Promise<Router[]> {
    const list = owners.map(({ router }) => router);
    await this.#push(
      mapOf(
        this.#nextEpoch(),
        list,
        others.map(({ router }) => router),
      ),
    );
    return list;
  }

  /** As `map`, where each of two routers is primary of every other shard and standby of the rest. */
  async halves(one: RouterProcess, two: RouterProcess): Promise<void> {
    const routers = [one.router, two.router];
    const lists = [routers, routers.toReversed()];
    const map = mapOf(this.#nextEpoch(), routers);
    await this.#push({ ...map, shards: map.shards.map((owners, shard) => lists[shard % 2] ?? owners) });
  }

  /** Tells every router which gateways live. */
  members(gateways: readonly string[]): void {
    const processes = gateways.map((incarnation) => ({ incarnation, role: Role.GATEWAY, name: incarnation }));
    for (const stream of this.#streams()) stream.push({ members: { processes } });
  }

  async close(): Promise<void> {
    await Promise.all(
      this.routers.map(async (router) => {
        if (router.ended) return;
        router.kill("SIGKILL");
        await router.exit();
      }),
    );
    this.operator.kill();
    await this.#announced.close();
    keepLogs(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #nextEpoch(): number {
    this.#epoch += 1;
    return this.#epoch;
  }

  async #push(map: ShardMap): Promise<void> {
    const streams = this.#streams();
    for (const stream of streams) stream.push({ shardMap: shardMapToProto(map) });
    const epoch = BigInt(map.epoch);
    const acked = ({ frames }: OperatorStream): boolean =>
      frames.some((frame) => frame.case === "epochAck" && frame.value.epoch === epoch);
    await until(() => streams.every(acked), `epoch ${epoch} is acked`);
  }

  #streams(): readonly OperatorStream[] {
    return this.routers.filter(({ ended }) => !ended).map(({ stream }) => stream);
  }
}

const POLICY: TopicPolicy = {
  permissions: "Public",
  owner: undefined,
  publishers: [],
  subscribers: [],
  channels: "Dynamic",
  presence: "Count",
  slowConsumer: "DropOldest",
  maxMessageBytes: 1024 * 1024,
  batchWindowMilliseconds: 0,
  priority: "Normal",
  maxPublishesPerSecond: 0,
  maxSubscribers: 0,
  maxChannels: 0,
};

/** A Topic without limits, but for what is given. */
export function handTopic(key: string, policy: Partial<TopicPolicy> = {}): Topic {
  const dot = key.indexOf(".");
  return {
    key,
    namespace: key.slice(0, dot),
    name: key.slice(dot + 1),
    createdAtMs: 1,
    policy: { ...POLICY, ...policy },
    httpManaged: false,
  };
}
