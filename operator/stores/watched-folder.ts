// Owns: telling what the files of one folder hold, whoever writes them and however: at once by fs.watch, and by a slow
// poll where that misses something. A file is read when it holds still, and told again only when its content changed.
// Editors' temporary files, subfolders and what is no *.yaml or *.yml are not looked at. What the content means is the
// listener's (folder-topic-store.ts).

import { createHash } from "node:crypto";
import { type FSWatcher, type Stats, watch } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { Slices } from "#core/runtime/slices.ts";
import { isMissing } from "./atomic-file.ts";

export interface FolderFile {
  readonly name: string;
  readonly text: string;
  /** Milliseconds since the epoch of its last change. */
  readonly changedAtMs: number;
}

export interface FolderListener {
  /** A file is new, or its content is. */
  changed(file: FolderFile): Promise<void>;
  gone(name: string): Promise<void>;
  /** A file that is there and cannot be read: what it held before stays. */
  unreadable(name: string, cause: string): void;
  /** The folder itself cannot be read; undefined: it can again. Nothing counts as gone meanwhile. */
  folderUnreadable(cause: string | undefined): void;
}

export interface WatchedFolderOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly listener: FolderListener;
}

/** Milliseconds without a further event after which the folder is looked at; editors write in bursts. */
const QUIET_MS = 40;

/** Milliseconds after which it is looked at though events go on. */
const QUIET_MS_MAX = 400;

/** Milliseconds between looks without any event; longer where one look takes long (POLL_FACTOR times as long). */
const POLL_MS = 2_000;
const POLL_FACTOR = 20;

/** Milliseconds for which a file's time says nothing: a later write may bear the same. */
const TIME_GRAIN_MS = 100;

/** Bytes of one file: some 80,000 Topics; decoding and hashing more would hold the event loop. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;

/** Files of one folder: looking at more takes longer than anybody waits for an edit. */
export const FILES_MAX = 100_000;

/** Files read at a time. */
const READS_AT_ONCE = 16;

interface Known {
  readonly signature: string;
  /** Of the content last told; undefined where it could not be read. */
  readonly digest: string | undefined;
}

type Reading =
  | { readonly kind: "same" }
  /** It is being written: look again. */
  | { readonly kind: "moving" }
  | { readonly kind: "missing" }
  | { readonly kind: "unreadable"; readonly cause: string }
  | { readonly kind: "read"; readonly file: FolderFile; readonly signature: string };

export class WatchedFolder implements Component {
  readonly #options: WatchedFolderOptions;
  readonly #known = new Map<string, Known>();
  #watcher: FSWatcher | undefined;
  #watchedInode: number | undefined;
  #due: Timer | undefined;
  #dueSinceMs = 0;
  #poll: Timer | undefined;
  #scanning: Promise<void> | undefined;
  #again = false;
  #failing = false;
  #closed = false;

  constructor(options: WatchedFolderOptions) {
    this.#options = options;
  }

  /** Files that are known. */
  get size(): number {
    return this.#known.size;
  }

  /** Resolves when every file has been told once. Rejects when the folder cannot be read. */
  async start(): Promise<void> {
    await readdir(this.#options.folder);
    await this.#scan();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watcher?.close();
    this.#due?.cancel();
    this.#poll?.cancel();
    await this.#scanning;
  }

  #soon(delayMs: number): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    const nowMs = clock.monotonic();
    if (this.#due === undefined) this.#dueSinceMs = nowMs;
    else this.#due.cancel();
    const atMostMs = Math.max(0, this.#dueSinceMs + QUIET_MS_MAX - nowMs);
    this.#due = clock.after(Math.min(delayMs, atMostMs), () => {
      this.#due = undefined;
      void this.#scan();
    });
  }

  /** Looks at the whole folder; one look at a time. */
  async #scan(): Promise<void> {
    if (this.#scanning !== undefined) {
      this.#again = true;
      return;
    }
    const startedMs = this.#options.clock.monotonic();
    this.#scanning = this.#look();
    await this.#scanning;
    this.#scanning = undefined;
    if (this.#closed) return;
    if (this.#again) {
      this.#again = false;
      this.#soon(QUIET_MS);
    }
    const tookMs = this.#options.clock.monotonic() - startedMs;
    this.#poll?.cancel();
    this.#poll = this.#options.clock.after(Math.max(POLL_MS, tookMs * POLL_FACTOR), () => void this.#scan());
  }

  async #look(): Promise<void> {
    const { folder, listener } = this.#options;
    let names: string[];
    try {
      this.#watch((await stat(folder)).ino);
      names = this.#atMost((await readdir(folder)).filter(isManifestName).sort());
    } catch (error) {
      this.#watcher?.close();
      this.#watchedInode = undefined;
      if (!this.#failing) listener.folderUnreadable(messageOf(error));
      this.#failing = true;
      return;
    }
    if (this.#failing) listener.folderUnreadable(undefined);
    this.#failing = false;
    const slices = new Slices();
    const present = new Set<string>();
    for (let first = 0; first < names.length && !this.#closed; first += READS_AT_ONCE) {
      const batch = names.slice(first, first + READS_AT_ONCE);
      const readings = await Promise.all(batch.map((name) => this.#read(name)));
      for (const [index, reading] of readings.entries()) {
        const name = batch[index] ?? "";
        if (reading.kind !== "missing") present.add(name);
        await this.#tell(name, reading);
      }
      await slices.breathe();
    }
    for (const name of this.#known.keys()) {
      if (present.has(name) || this.#closed) continue;
      this.#known.delete(name);
      await listener.gone(name);
    }
  }

  /** The files that are read: the first by name. */
  #atMost(names: string[]): string[] {
    if (names.length <= FILES_MAX) return names;
    const cause = `there are ${names.length} files here, and only the first ${FILES_MAX} by name are read`;
    this.#options.listener.unreadable(names[FILES_MAX] ?? "", cause);
    return names.slice(0, FILES_MAX);
  }

  async #tell(name: string, reading: Reading): Promise<void> {
    const { listener } = this.#options;
    switch (reading.kind) {
      case "same":
      case "missing":
        return;
      case "moving":
        this.#again = true;
        return;
      case "unreadable": {
        const signature = `unreadable: ${reading.cause}`;
        if (this.#known.get(name)?.signature === signature) return;
        this.#known.set(name, { signature, digest: undefined });
        listener.unreadable(name, reading.cause);
        return;
      }
      case "read": {
        const { file, signature } = reading;
        const digest = createHash("sha256").update(file.text).digest("base64");
        const isNews = this.#known.get(name)?.digest !== digest;
        const ageMs = Math.abs(this.#options.clock.now() - file.changedAtMs);
        // A write within the grain of the file system's clock would go unseen: it is read once more.
        const isSettled = ageMs > TIME_GRAIN_MS;
        this.#known.set(name, { signature: isSettled ? signature : "not settled", digest });
        if (!isSettled) this.#soon(TIME_GRAIN_MS + QUIET_MS);
        if (isNews) await listener.changed(file);
      }
    }
  }

  async #read(name: string): Promise<Reading> {
    const path = join(this.#options.folder, name);
    try {
      const before = await stat(path);
      if (!before.isFile()) return { kind: "missing" };
      const signature = signatureOf(before);
      if (this.#known.get(name)?.signature === signature) return { kind: "same" };
      if (before.size > FILE_BYTES_MAX)
        return { kind: "unreadable", cause: `it is larger than ${FILE_BYTES_MAX} bytes` };
      const text = await readFile(path, "utf8");
      if (signatureOf(await stat(path)) !== signature) return { kind: "moving" };
      return { kind: "read", file: { name, text, changedAtMs: Math.floor(before.mtimeMs) }, signature };
    } catch (error) {
      return isMissing(error) ? { kind: "missing" } : { kind: "unreadable", cause: messageOf(error) };
    }
  }

  /** A folder that was removed and made again is another one: it is watched anew. */
  #watch(inode: number): void {
    if (this.#watchedInode === inode || this.#closed) return;
    this.#watcher?.close();
    this.#watchedInode = inode;
    try {
      this.#watcher = watch(this.#options.folder, { persistent: false }, () => this.#soon(QUIET_MS));
      this.#watcher.on("error", () => this.#watcher?.close());
    } catch {
      // No more watches on this machine, or none on this file system: the poll sees it all, later.
      this.#watcher = undefined;
    }
  }
}

/** Not what editors leave beside a file: `.#a.yaml`, `.a.yaml.swp`, `a.yaml~`, `#a.yaml#`, `a.yaml___jb_tmp___`. */
function isManifestName(name: string): boolean {
  return /^[^.#~].*\.ya?ml$/.test(name);
}

function signatureOf({ ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
}
