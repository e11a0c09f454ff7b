// Owns: a folder in which the processes of one machine find each other: every process writes one file there when it
// listens and removes it when it ends; everybody watches the folder. A file is written whole (rename), a file whose
// process is gone is not listed, and what is not one of ours is ignored.

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
import { type PeerDirectory, type PeerEndpoint, type PeerRole, parseEndpoint } from "./peer-endpoint.ts";

/** Milliseconds between looks at the folder: fs.watch may miss changes (and never tells of a killed process). */
const POLL_MS = 1_000;

/** Bytes of an endpoint file: a few hundred in truth; more is not ours. */
const FILE_BYTES_MAX = 16 * 1024;

/** Files that are read: above any machine's number of processes. */
const FILES_MAX = 1_000;

/**
 * Writes this process's endpoint file, or throws ConfigError with nothing left behind; closing removes it, unless a
 * successor of the same name wrote its own.
 */
export function announceInFolder(path: string, endpoint: PeerEndpoint): Component {
  const folder = openFolder(path);
  const file = join(folder, `${endpoint.name}.json`);
  const draft = join(folder, `.${endpoint.name}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    writeFileSync(draft, JSON.stringify(endpoint));
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    const cause = messageOf(error);
    throw new ConfigError(`the peers folder ${folder} (--peers, EARSHOT_PEERS) cannot be written: ${cause}`);
  }
  return {
    close: () => {
      if (readEndpoint(file)?.incarnation === endpoint.incarnation) rmSync(file, { force: true });
      return Promise.resolve();
    },
  };
}

/** Watches a folder, which is made when it is not there. */
export function watchFolder(path: string, log: Log): PeerDirectory {
  return new FolderDirectory(openFolder(path), log);
}

function openFolder(folder: string): string {
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, as another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
