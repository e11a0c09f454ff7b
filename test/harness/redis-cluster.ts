// Owns: a real Redis Cluster for tests: three masters with a replica each, made by redis-cli; failovers and slots that move.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { freePort, RedisServer } from "./redis.ts";
import { until } from "./until.ts";

const run = promisify(execFile);

/** Milliseconds after which nodes take one that is silent for dead. */
const NODE_TIMEOUT_MS = 1_000;

export class RedisCluster {
  readonly nodes: readonly RedisServer[];

  private constructor(nodes: readonly RedisServer[]) {
    this.nodes = nodes;
  }

  static async start(): Promise<RedisCluster> {
    const nodes: RedisServer[] = [];
    for (let index = 0; index < 6; index++) nodes.push(await startNode());
    const cluster = new RedisCluster(nodes);
    const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`);
    await run("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", "1", "--cluster-yes"]);
    await cluster.whole();
    return cluster;
  }

  get url(): string {
    return this.nodes.map(({ url }) => url).join(",");
  }

  /** Resolves when every living node knows all slots and three masters with a replica each. */
  async whole(): Promise<void> {
    await until(
      async () => {
        for (const { client } of this.nodes) {
          const info = String(await client.call("CLUSTER", "INFO"));
          if (!info.includes("cluster_state:ok") || !info.includes("cluster_size:3")) return false;
          const links = await client.info("replication");
          if (!links.includes("connected_slaves:1") && !links.includes("master_link_status:up")) return false;
        }
        return true;
      },
      "the cluster is whole",
      60_000,
    );
  }

  /** The master that has a key, as the first living one of some nodes knows it. */
  async masterOf(key: string, nodes: readonly RedisServer[] = this.nodes): Promise<RedisServer> {
    const any = nodes.find(({ isRunning }) => isRunning);
    if (any === undefined) throw new Error("no node is running");
    const slot = Number(await any.client.call("CLUSTER", "KEYSLOT", key));
    for (const [from, to, master] of (await any.client.call("CLUSTER", "SLOTS")) as [number, number, unknown[]][]) {
      if (slot >= from && slot <= to) return this.#at(Number(master[1]));
    }
    throw new Error(`nobody has slot ${slot}`);
  }

  /** Moves the slot of a key to another master, as redis-cli does when a cluster grows. */
  async moveSlotOf(key: string): Promise<void> {
    const from = await this.masterOf(key);
    const slot = String(await from.client.call("CLUSTER", "KEYSLOT", key));
    const to = await this.#otherMaster(from);
    const [fromId, toId] = [await idOf(from), await idOf(to)];
    await to.client.call("CLUSTER", "SETSLOT", slot, "IMPORTING", fromId);
    await from.client.call("CLUSTER", "SETSLOT", slot, "MIGRATING", toId);
    for (;;) {
      const keys = (await from.client.call("CLUSTER", "GETKEYSINSLOT", slot, "2")) as string[];
      if (keys.length === 0) break;
      await from.client.call("MIGRATE", "127.0.0.1", String(to.port), "", "0", "5000", "KEYS", ...keys);
    }
    await to.client.call("CLUSTER", "SETSLOT", slot, "NODE", toId);
    await from.client.call("CLUSTER", "SETSLOT", slot, "NODE", toId);
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.close()));
  }

  async #otherMaster(not: RedisServer): Promise<RedisServer> {
    const slots = (await not.client.call("CLUSTER", "SLOTS")) as [number, number, unknown[]][];
    const port = slots.map(([, , master]) => Number(master[1])).find((one) => one !== not.port);
    return this.#at(port ?? 0);
  }

  #at(port: number): RedisServer {
    const found = this.nodes.find((node) => node.port === port);
    if (found === undefined) throw new Error(`no node at ${port}`);
    return found;
  }
}

async function idOf({ client }: RedisServer): Promise<string> {
  return String(await client.call("CLUSTER", "MYID"));
}

async function startNode(): Promise<RedisServer> {
  // The bus is at 10,000 above, and both must be ports.
  let port = await freePort();
  while (port > 50_000) port = await freePort();
  return RedisServer.start({
    port,
    args: [
      "--cluster-enabled",
      "yes",
      "--cluster-node-timeout",
      String(NODE_TIMEOUT_MS),
      "--cluster-replica-validity-factor",
      "0",
      "--repl-diskless-sync-delay",
      "0",
    ],
  });
}
