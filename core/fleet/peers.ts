// Owns: how processes of one installation find each other. Setting `peers=folder:<path>`: every process writes one file
// there when it listens and removes it when it ends; everybody watches the folder. A file is written whole (rename), a
// file whose process is gone is not listed, and what is not one of ours is ignored.
// Elsewhere: whether a peer is ready (Sync), what routers there are (the shard map).

import { randomBytes } from "node:crypto";
import {
  type FSWatcher,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../runtime/config.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import type { Unlisten } from "./fleet.ts";

export type PeerRole = "operator" | "router" | "gateway" | "presence";

export interface PeerEndpoint {
  /** Of the place it runs in: pod or slot. One file a name. */
  readonly name: string;
  readonly role: PeerRole;
  readonly incarnation: string;
  readonly pid: number;
  /** `host:port` of its internal gRPC server. */
  readonly grpc: string;
  /** `host:port` of its probes. */
  readonly probes: string;
  readonly node: string;
  readonly zone: string;
}

export interface PeerDirectory extends Component {
  /** Peers of a role whose process lives, by name. */
  list(role: PeerRole): readonly PeerEndpoint[];
  /** Called after every change of what `list` answers. */
  onChange(listener: () => void): Unlisten;
}

/** Milliseconds between looks at the folder: fs.watch may miss changes (and never tells of a killed process). */
const POLL_MS = 1_000;

/** Bytes of an endpoint file: a few hundred in truth; more is not ours. */
const FILE_BYTES_MAX = 16 * 1024;

/** Files that are read: above any machine's number of processes. */
const FILES_MAX = 1_000;

const ROLES: readonly string[] = ["operator", "router", "gateway", "presence"] satisfies PeerRole[];

/** The folder of a `peers` setting. Throws ConfigError when it names none. */
function peersFolder(setting: string): string {
  const match = /^folder:(.+)$/.exec(setting);
  if (match?.[1] === undefined) {
    throw new ConfigError(`peers (--peers, EARSHOT_PEERS) must be folder:<path>, not ${JSON.stringify(setting)}`);
  }
  return match[1];
}

/**
 * Writes this process's endpoint file, or throws ConfigError with nothing left behind; closing removes it, unless a
 * successor of the same name wrote its own.
 */
export function announcePeer(setting: string, endpoint: PeerEndpoint): Promise<Component> {
  const folder = openFolder(setting);
  const path = join(folder, `${endpoint.name}.json`);
  const draft = join(folder, `.${endpoint.name}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    writeFileSync(draft, JSON.stringify(endpoint));
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    const cause = messageOf(error);
    throw new ConfigError(`the peers folder ${folder} (--peers, EARSHOT_PEERS) cannot be written: ${cause}`);
  }
  return Promise.resolve({
    close: () => {
      if (readEndpoint(path)?.incarnation === endpoint.incarnation) rmSync(path, { force: true });
      return Promise.resolve();
    },
  });
}

/** Watches the folder of a `peers` setting, which is made when it is not there. */
export function watchPeers(setting: string, log: Log): PeerDirectory {
  return new FolderDirectory(openFolder(setting), log);
}

function openFolder(setting: string): string {
  const folder = peersFolder(setting);
  try {
    mkdirSync(folder, { recursive: true });
    return folder;
  } catch (error) {
    throw new ConfigError(`the peers folder ${folder} (--peers, EARSHOT_PEERS) cannot be made: ${messageOf(error)}`);
  }
}

class FolderDirectory implements PeerDirectory {
  readonly #folder: string;
  readonly #log: Log;
  readonly #listeners = new Set<() => void>();
  readonly #stopWatching: () => void;
  #peers: readonly PeerEndpoint[] = [];
  #known = "[]";
  #unreadable = false;

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
    this.#look();
    const poll = setInterval(() => this.#look(), POLL_MS).unref();
    const watcher = this.#watch();
    this.#stopWatching = () => {
      clearInterval(poll);
      watcher?.close();
    };
  }

  /** The poll goes on where watching fails (folder removed, no more watches on this machine). */
  #watch(): FSWatcher | undefined {
    try {
      const watcher = watch(this.#folder, { persistent: false }, () => this.#look());
      watcher.on("error", () => watcher.close());
      return watcher;
    } catch (error) {
      this.#log.warn({ folder: this.#folder, cause: messageOf(error) }, "peers folder polled, not watched");
      return undefined;
    }
  }

  list(role: PeerRole): readonly PeerEndpoint[] {
    return this.#peers.filter((peer) => peer.role === role);
  }

  onChange(listener: () => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#stopWatching();
    this.#listeners.clear();
    return Promise.resolve();
  }

  #look(): void {
    const peers = this.#read();
    if (peers === undefined) return;
    const known = JSON.stringify(peers);
    if (known === this.#known) return;
    this.#known = known;
    this.#peers = peers;
    for (const listener of this.#listeners) listener();
  }

  #read(): readonly PeerEndpoint[] | undefined {
    let names: string[];
    try {
      names = readdirSync(this.#folder);
      this.#unreadable = false;
    } catch (error) {
      if (!this.#unreadable)
        this.#log.warn({ folder: this.#folder, cause: messageOf(error) }, "peers folder unreadable");
      this.#unreadable = true;
      return undefined;
    }
    const files = names.filter((name) => name.endsWith(".json") && !name.startsWith("."));
    const peers: PeerEndpoint[] = [];
    for (const file of files.sort().slice(0, FILES_MAX)) {
      const peer = readEndpoint(join(this.#folder, file));
      if (peer !== undefined && `${peer.name}.json` === file && isAlive(peer.pid)) peers.push(peer);
    }
    return peers;
  }
}

function readEndpoint(path: string): PeerEndpoint | undefined {
  try {
    const info = statSync(path);
    if (!info.isFile() || info.size > FILE_BYTES_MAX) return undefined;
    return parseEndpoint(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    // Gone meanwhile, half-written by something else, or not JSON: not a peer.
    return undefined;
  }
}

/** An endpoint as a file holds it, or undefined when it is none. */
export function parseEndpoint(value: unknown): PeerEndpoint | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { name, role, incarnation, pid, grpc, probes, node, zone } = value as Record<string, unknown>;
  if (!isText(name) || !isText(role) || !isText(incarnation) || !isText(grpc) || !isText(probes)) return undefined;
  if (typeof node !== "string" || typeof zone !== "string") return undefined;
  if (!ROLES.includes(role) || typeof pid !== "number" || !Number.isSafeInteger(pid) || pid < 1) return undefined;
  return { name, role: role as PeerRole, incarnation, pid, grpc, probes, node, zone };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, as another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
