// Owns: that one state folder belongs to one supervisor. `<state>/lock` names its process and its address; a lock whose
// process is gone is taken over. A process id may be in use again after a restart of the machine, so where the system
// tells when a process started (Linux), that counts too.

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CannotStart } from "./cannot-start.ts";

interface Holder {
  readonly pid: number;
  /** When the process started, in the system's own words; empty where it does not say. */
  readonly startedAt: string;
  /** Where it listens, once it does. */
  readonly url?: string;
}

export interface Lock {
  /** Whether a supervisor that did not end by itself had left a lock. */
  readonly tookOver: boolean;
  /** Puts the address into the lock, for whoever meets it. */
  listensAt(url: string): void;
  release(): void;
}

/** Takes the lock. Throws CannotStart when another supervisor holds it, what the file system says when it takes none. */
export function takeLock(stateFolder: string): Lock {
  const path = join(stateFolder, "lock");
  const own = holderOf(process.pid);
  let text = JSON.stringify(own);
  const fresh = `${path}.${process.pid}`;
  try {
    writeFileSync(fresh, text, { mode: 0o600 });
    const tookOver = claim(path, fresh, stateFolder);
    return {
      tookOver,
      listensAt: (url) => {
        text = JSON.stringify({ ...own, url });
        writeFileSync(fresh, text, { mode: 0o600 });
        renameSync(fresh, path);
      },
      release: () => release(path, text),
    };
  } finally {
    rmSync(fresh, { force: true });
  }
}

function claim(path: string, fresh: string, stateFolder: string): boolean {
  if (linked(fresh, path)) return false;
  const found = contentOf(path);
  const holder = parseHolder(found);
  if (holder !== undefined && isAlive(holder)) {
    const where = holder.url === undefined ? "" : `, ${holder.url}`;
    throw new CannotStart(
      `Earshot already runs on the state folder ${stateFolder} (process ${holder.pid}${where}); end it, or choose another folder with --state or EARSHOT_STATE`,
    );
  }
  // Moved aside, then looked at again: another start may have put its own lock there meanwhile, which goes back.
  const aside = `${fresh}.stale`;
  if (moved(path, aside)) {
    if (contentOf(aside) !== found) linked(aside, path);
    rmSync(aside, { force: true });
  }
  if (linked(fresh, path)) return true;
  throw new CannotStart(
    `another start of Earshot is under way on the state folder ${stateFolder} (--state, EARSHOT_STATE)`,
  );
}

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Whether it was there to be moved: of two that take over at once, one finds it gone. */
function moved(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, startedAt, url } = JSON.parse(text) as Partial<Holder>;
    if (typeof pid !== "number" || typeof startedAt !== "string") return undefined;
    return { pid, startedAt, ...(typeof url === "string" ? { url } : {}) };
  } catch {
    return undefined;
  }
}

function release(path: string, text: string): void {
  if (contentOf(path) === text) rmSync(path, { force: true });
}

function holderOf(pid: number): Holder {
  return { pid, startedAt: startOf(pid) };
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  return startOf(holder.pid) === holder.startedAt;
}

/** Field 22 of /proc/<pid>/stat: clock ticks since boot at which it started (proc(5)); of a zombie nothing. */
function startOf(pid: number): string {
  const stat = contentOf(`/proc/${pid}/stat`);
  const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return state === "Z" ? "" : (fields[18] ?? "");
}
