// Owns: finding operators and routers by the names of headless Services: each name is asked for again and again, and
// every address that it has is a peer. Invariant: a resolver that fails changes nothing (static stability); a name that
// has no address has lost its peers only once it has had none for a while, as in a rollout it may for a moment.
// Who a peer is, beyond its address, is told by the peer itself (Welcome): its address stands for its incarnation here.

import { lookup } from "node:dns/promises";
import { type Clock, SYSTEM_CLOCK, type Timer } from "../runtime/clock.ts";
import { ConfigError } from "../runtime/config.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import { hostPort } from "../runtime/process.ts";
import type { Unlisten } from "./fleet.ts";
import type { PeerDirectory, PeerEndpoint, PeerRole } from "./peer-endpoint.ts";

export interface DnsName {
  readonly role: PeerRole;
  readonly host: string;
  readonly port: number;
}

/** The addresses of a host. Rejects with the error of getaddrinfo; ENOTFOUND: there are none. */
export type Lookup = (host: string) => Promise<readonly string[]>;

interface DnsOptions {
  readonly log: Log;
  readonly clock?: Clock;
  readonly lookup?: Lookup;
}

/** Milliseconds between two questions for a name. Services change in seconds; a cluster's DNS keeps answers for some. */
const ASK_MS = 2_000;

/** The same while nobody is known: a fleet that starts waits for this. */
const ASK_UNKNOWN_MS = 1_000;

/** Milliseconds without any address after which a name has no peers. */
const EMPTY_MS = 10_000;

/** Addresses of one name that count: above any fleet. */
const ADDRESSES_MAX = 1_000;

const ROLES: readonly string[] = ["operator", "router"] satisfies PeerRole[];

/** Reads `operator=<host>:<port>,router=<host>:<port>`. Throws ConfigError. */
export function parseDnsPeers(text: string): readonly DnsName[] {
  const names = text.split(",").map(parseName);
  if (new Set(names.map(({ role }) => role)).size !== ROLES.length || names.length !== ROLES.length) {
    throw new ConfigError("peers (--peers, EARSHOT_PEERS) must name operator and router once each after dns:");
  }
  return names;
}

function parseName(text: string): DnsName {
  const [, role = "", host = "", port = ""] = /^(\w+)=\[?([^\]]+?)\]?:(\d{1,5})$/.exec(text) ?? [];
  if (!ROLES.includes(role) || Number(port) < 1 || Number(port) > 65_535) {
    throw new ConfigError(
      `peers (--peers, EARSHOT_PEERS) must be dns:operator=<host>:<port>,router=<host>:<port>; ${JSON.stringify(text)} is not of that form`,
    );
  }
  return { role: role as PeerRole, host, port: Number(port) };
}

/** Asks for the names at once, and from then on until it is closed. */
export function watchDns(names: readonly DnsName[], options: DnsOptions): PeerDirectory {
  return new DnsDirectory(names, options);
}

class DnsDirectory implements PeerDirectory {
  readonly #names: readonly WatchedName[];
  readonly #listeners = new Set<() => void>();

  constructor(names: readonly DnsName[], options: DnsOptions) {
    const changed = (): void => {
      for (const listener of this.#listeners) listener();
    };
    this.#names = names.map((name) => new WatchedName(name, options, changed));
  }

  list(role: PeerRole): readonly PeerEndpoint[] {
    return this.#names.filter((name) => name.role === role).flatMap((name) => name.peers);
  }

  onChange(listener: () => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    for (const name of this.#names) name.close();
    this.#listeners.clear();
    return Promise.resolve();
  }
}

class WatchedName {
  readonly role: PeerRole;
  readonly #name: DnsName;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #lookup: Lookup;
  readonly #changed: () => void;
  peers: readonly PeerEndpoint[] = [];
  /** Monotonic; undefined: the last answer had addresses, or there was none. */
  #emptySinceMs: number | undefined;
  #failing = false;
  #timer: Timer | undefined;
  #closed = false;

  constructor(name: DnsName, options: DnsOptions, changed: () => void) {
    this.role = name.role;
    this.#name = name;
    this.#log = options.log;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#lookup = options.lookup ?? systemLookup;
    this.#changed = changed;
    void this.#ask();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #ask(): Promise<void> {
    try {
      this.#answered(await this.#lookup(this.#name.host));
      this.#failing = false;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOTFOUND") this.#answered([]);
      else this.#failed(error);
    }
    if (this.#closed) return;
    const waitMs = this.peers.length === 0 ? ASK_UNKNOWN_MS : ASK_MS;
    this.#timer = this.#clock.after(waitMs, () => void this.#ask());
  }

  #answered(addresses: readonly string[]): void {
    if (this.#closed) return;
    if (addresses.length === 0) {
      const nowMs = this.#clock.monotonic();
      this.#emptySinceMs ??= nowMs;
      if (nowMs - this.#emptySinceMs < EMPTY_MS) return;
    } else {
      this.#emptySinceMs = undefined;
    }
    this.#set([...new Set(addresses)].sort().slice(0, ADDRESSES_MAX));
  }

  #set(addresses: readonly string[]): void {
    const { role, port } = this.#name;
    const peers = addresses.map((address): PeerEndpoint => {
      const grpc = hostPort(address, port);
      return { name: grpc, role, incarnation: grpc, pid: 0, grpc, probes: "", node: "", zone: "" };
    });
    if (peers.length === this.peers.length && peers.every(({ grpc }, index) => grpc === this.peers[index]?.grpc))
      return;
    this.peers = peers;
    this.#changed();
  }

  #failed(error: unknown): void {
    // Nothing is known of how long it has had no address.
    this.#emptySinceMs = undefined;
    if (this.#failing || this.#closed) return;
    this.#failing = true;
    this.#log.warn({ host: this.#name.host, cause: messageOf(error) }, "peers cannot be looked up, last ones kept");
  }
}

/** As every program of the machine does it (getaddrinfo): search domains and /etc/hosts count. */
const systemLookup: Lookup = async (host) =>
  (await lookup(host, { all: true, order: "verbatim" })).map(({ address }) => address);
