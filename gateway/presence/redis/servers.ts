// Owns: noticing that a server may hold less than it was told: it is another one than before (its run or replication id
// is), or a Cluster has given slots to another master. Replication is asynchronous: who takes over may lack the last
// writes, and nothing says which. Then what this gateway holds is sent again (redis-store.ts). Called by connection.ts.

import type { Cluster, Redis } from "ioredis";

/** Addresses whose server is remembered: more than any Cluster's nodes. The one met longest ago is forgotten. */
const SERVERS_MAX = 2_000;

export class Servers {
  /** Address -> which server it was. */
  readonly #identities = new Map<string, string>();
  readonly #onPolicy: (policy: string) => void;
  readonly #listeners = new Set<() => void>();
  /** By slot. */
  #owners: readonly Owners[] = [];
  readonly #isCluster: boolean;
  #asking = 0;
  losses = 0;

  constructor(client: Redis | Cluster, onPolicy: (policy: string) => void) {
    this.#onPolicy = onPolicy;
    this.#isCluster = client.isCluster;
    if (client.isCluster) this.#watchCluster(client as Cluster);
    else this.#watch(client as Redis);
  }

  /** Whether it is known which server answers. Of a Cluster the others go on while one more is met. */
  get known(): boolean {
    return this.#isCluster || this.#asking === 0;
  }

  /** Called when a server was met, and when one was lost. */
  onKnown(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #watchCluster(cluster: Cluster): void {
    for (const node of cluster.nodes()) this.#watch(node);
    cluster.on("+node", (node: Redis) => this.#watch(node));
    cluster.on("refresh", () => this.#compareOwners(cluster.slots));
  }

  #watch(node: Redis): void {
    node.on("ready", () => void this.#identify(node));
  }

  async #identify(node: Redis): Promise<void> {
    this.#asking += 1;
    try {
      this.#meet(addressOf(node), await node.info());
    } catch {
      // It is gone again; the next connection asks.
    } finally {
      this.#asking -= 1;
    }
    if (node.status === "ready" && this.known) for (const listener of this.#listeners) listener();
  }

  #meet(address: string, info: string): void {
    const fields = new Map(info.split("\r\n").map((line) => [line.slice(0, line.indexOf(":")), valueOf(line)]));
    const policy = fields.get("maxmemory_policy");
    if (policy !== undefined && fields.get("maxmemory") !== "0") this.#onPolicy(policy);
    if (fields.get("role") !== "master") return;
    const identity = `${fields.get("run_id")} ${fields.get("master_replid")}`;
    const before = this.#identities.get(address);
    this.#identities.delete(address);
    this.#identities.set(address, identity);
    for (const [oldest] of this.#identities) {
      if (this.#identities.size <= SERVERS_MAX) break;
      this.#identities.delete(oldest);
    }
    if (before !== undefined && before !== identity) this.losses += 1;
  }

  /** A slot that moves takes its keys along; one whose master was replaced may have lost some. */
  #compareOwners(slots: readonly (readonly string[] | undefined)[]): void {
    const before = this.#owners;
    this.#owners = ownersOf(slots);
    if (!isReplaced(before, this.#owners)) return;
    this.losses += 1;
    for (const listener of this.#listeners) listener();
  }
}

/** Slots of a range share one array, which ioredis also changes in place: each is copied once. */
function ownersOf(slots: readonly (readonly string[] | undefined)[]): readonly Owners[] {
  const copies = new Map<readonly string[], Owners>();
  return Array.from({ length: SLOTS }, (_, slot) => {
    const nodes = slots[slot] ?? NOBODY;
    const known = copies.get(nodes);
    if (known !== undefined) return known;
    const [master, ...replicas] = nodes;
    const copy = { master, replicas };
    copies.set(nodes, copy);
    return copy;
  });
}

/** Whether some slot went to a replica of its master, or from one that has no slot any more. */
function isReplaced(before: readonly Owners[], after: readonly Owners[]): boolean {
  const masters = new Set(after.map(({ master }) => master));
  return before.some(({ master, replicas }, slot) => {
    const now = after[slot]?.master;
    if (master === undefined || now === undefined || now === master) return false;
    return replicas.includes(now) || !masters.has(master);
  });
}

interface Owners {
  readonly master: string | undefined;
  readonly replicas: readonly string[];
}

const NOBODY: readonly string[] = [];

/** Of a Cluster; see "Redis cluster specification", "Key distribution model". */
const SLOTS = 16_384;

function valueOf(line: string): string {
  return line.slice(line.indexOf(":") + 1);
}

/** Sentinels lead to whatever server it is: then all have one address here, and another one is noticed. */
function addressOf({ options: { host, port, sentinels } }: Redis): string {
  return sentinels ? "master" : `${host}:${port}`;
}
