// Owns: presence stores of both kinds for tests, each as several gateways see it: the memory store behind a real gRPC
// server, and a real Redis. `lose` takes away all it holds, as a process that dies and comes back.

import type { PeerDirectory, PeerEndpoint } from "#core/fleet/peers.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { loadConfig } from "#core/runtime/config.ts";
import { bindService, createGrpcServer, listenGrpc } from "#core/runtime/grpc.ts";
import { createLog, type Log } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { type RedisTarget, redisTargetOf } from "#core/runtime/redis-target.ts";
import { PresenceStoreService } from "#proto/earshot/internal/v1/presence_pb.ts";
import type {
  PresenceEmptied,
  PresenceEntry,
  PresenceOperation,
  PresenceReaped,
  PresenceStore,
} from "../../gateway/presence/presence.ts";
import { RedisPresenceStore } from "../../gateway/presence/redis/redis-store.ts";
import { RemotePresenceStore } from "../../gateway/presence/remote-store.ts";
import { createStoreHandlers } from "../../gateway/presence/store-server.ts";
import { RedisServer } from "./redis.ts";
import { until } from "./until.ts";

const SECRET = "a test's peer secret";

export interface StoreWorld {
  /** The store as one gateway reaches it. */
  open(): PresenceStore;
  lose(): Promise<void>;
  close(): Promise<void>;
}

export async function memoryWorld(): Promise<StoreWorld> {
  const listeners = new Set<() => void>();
  let peer: PeerEndpoint | undefined;
  let starts = 0;
  let stop = (): void => {};
  const begin = async (): Promise<void> => {
    starts += 1;
    const incarnation = `store${starts}`;
    const server = createGrpcServer({ judge: secretIdentity(SECRET).judge });
    bindService(
      server,
      PresenceStoreService,
      createStoreHandlers({ incarnation, registry: createRegistry("presence") }),
    );
    const port = await listenGrpc(server, "127.0.0.1", 0);
    stop = () => server.forceShutdown();
    peer = {
      role: "presence",
      name: "presence-0",
      incarnation,
      pid: process.pid,
      grpc: `127.0.0.1:${port}`,
      probes: "none",
      node: "",
      zone: "",
    };
    for (const listener of listeners) listener();
  };
  await begin();
  const peers: Pick<PeerDirectory, "list" | "onChange"> = {
    list: () => (peer === undefined ? [] : [peer]),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return {
    open: () => new RemotePresenceStore(peers as PeerDirectory, secretIdentity(SECRET)),
    lose: async () => {
      stop();
      await begin();
    },
    close: () => {
      stop();
      return Promise.resolve();
    },
  };
}

export async function redisWorld(): Promise<StoreWorld> {
  const server = await RedisServer.start();
  const target = targetOf({ EARSHOT_REDIS_URL: server.url });
  return {
    open: () => openRedis(target),
    lose: async () => {
      await server.kill();
      await server.start();
    },
    close: () => server.close(),
  };
}

/** What settings say of Redis. */
export function targetOf(env: Readonly<Record<string, string>>): RedisTarget {
  const target = redisTargetOf(loadConfig("gateway", { argv: [], env }).config);
  if (target === undefined) throw new Error("no Redis is named");
  return target;
}

export function openRedis(target: RedisTarget, log: Log = createLog("silent", {})): RedisPresenceStore {
  return new RedisPresenceStore({ target, clock: SYSTEM_CLOCK, log, registry: createRegistry("gateway") });
}

/** One gateway at a store, as far as tests need one: it numbers its batches and hears why it has to tell all again. */
export class StoreGateway {
  readonly name: string;
  readonly store: PresenceStore;
  readonly emptied: PresenceEmptied[] = [];
  readonly #gone: PresenceReaped[] = [];
  batch = 0;

  constructor(name: string, store: PresenceStore) {
    this.name = name;
    this.store = store;
    store.onEmptied((why) => this.emptied.push(why));
    // Who stays is told again, which is no news to who knew: redis-property.test.ts has it.
    store.onGone((gone) => this.#gone.push(...gone.filter(({ stays }) => stays === undefined)));
  }

  /** Looks, and answers who was told to be gone since it was last asked. */
  async reap(): Promise<readonly PresenceReaped[]> {
    await this.store.reap();
    return this.#gone.splice(0);
  }

  /** With a lease. */
  static async open(name: string, store: PresenceStore, ttlMs = 60_000): Promise<StoreGateway> {
    const gateway = new StoreGateway(name, store);
    await gateway.renewed(ttlMs);
    // A store that has just begun says so to everybody.
    gateway.emptied.length = 0;
    return gateway;
  }

  /** Resolves once a renewal succeeds. */
  async renewed(ttlMs = 60_000): Promise<void> {
    await until(() => this.renew(ttlMs), `${this.name} has a lease`);
  }

  renew(ttlMs = 60_000): Promise<boolean> {
    return this.store.renewLease(this.name, ttlMs).then(
      () => true,
      () => false,
    );
  }

  apply(...operations: PresenceOperation[]) {
    this.batch += 1;
    return this.store.apply(this.name, operations, this.batch);
  }

  again(...operations: PresenceOperation[]) {
    return this.store.apply(this.name, operations, this.batch);
  }

  /** `user` or `user/tab`. */
  join(topicId: string, who: string, fields: { info?: string; resent?: boolean } = {}): PresenceOperation {
    return {
      kind: "join",
      entry: this.entry(topicId, who, fields.info),
      ...(fields.resent === undefined ? {} : { resent: fields.resent }),
    };
  }

  leave(topicId: string, who: string): PresenceOperation {
    return { kind: "leave", entry: this.entry(topicId, who) };
  }

  entry(topicId: string, who: string, info?: string): PresenceEntry {
    const [userId = "", tab = "1"] = who.split("/");
    return {
      topicId,
      userId,
      info,
      connectionId: `${this.name}-${userId}-${tab}`,
      subscriptionId: "s1",
      subscribedAtMs: 5,
    };
  }

  /** Users of the first page, in turn. */
  async users(topicId: string): Promise<string> {
    const { members } = await this.store.list(topicId, 1_000, undefined);
    return [...new Set(members.map(({ userId }) => userId))].join();
  }
}
