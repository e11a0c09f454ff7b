// Owns: which Topics a set of manifest files asks for. Pure state: files in, claims out. A document that is wrong leaves
// what its file said before; a Topic in two places counts where it stands first, by file name and line.
// Elsewhere: reading the files (watched-folder.ts), what becomes of the claims (folder-topic-store.ts).

import type { TopicManifest } from "../schema/judge.ts";
import type { JudgedDocument } from "../schema/manifests.ts";
import { formatProblem, type Problem } from "../schema/problem.ts";

/** One file's word on one Topic. */
export interface Claim {
  readonly manifest: TopicManifest;
  readonly file: string;
  readonly line: number;
  /** Milliseconds since the epoch when the file was last changed. */
  readonly changedAtMs: number;
  /** What is wrong with the newest document of it; the manifest is then the last good one. */
  readonly rejected: string | undefined;
}

/** What was in force before this process started: the last good state of manifests that are wrong at its start. */
export interface Remembered {
  byKey(key: string): Claim | undefined;
  byFile(file: string): readonly Claim[];
}

export interface FileVerdict {
  /** Keys whose claims may have changed. */
  readonly touched: ReadonlySet<string>;
  /** What to tell the user of this file. */
  readonly problems: readonly string[];
}

export class ManifestSet {
  readonly #remembered: Remembered;
  readonly #files = new Map<string, ReadonlyMap<string, Claim>>();
  /** Files that claim a key, in the order in which they count. */
  readonly #claimants = new Map<string, readonly string[]>();

  constructor(remembered: Remembered) {
    this.#remembered = remembered;
  }

  /** The claim that counts. */
  claimOf(key: string): Claim | undefined {
    const [file] = this.#claimants.get(key) ?? [];
    return file === undefined ? undefined : this.#files.get(file)?.get(key);
  }

  /** The claims that do not count because another one stands first. */
  duplicatesOf(key: string): readonly Claim[] {
    return (this.#claimants.get(key) ?? []).slice(1).flatMap((file) => this.#files.get(file)?.get(key) ?? []);
  }

  setFile(file: string, changedAtMs: number, documents: readonly JudgedDocument[]): FileVerdict {
    const before = this.#files.get(file) ?? new Map<string, Claim>();
    const after = new Map<string, Claim>();
    const wrong = new Map<string, string>();
    const problems: string[] = [];
    let nameless: string | undefined;
    for (const { line, verdict } of documents) {
      if (verdict.ok) {
        const { manifest } = verdict;
        const first = after.get(manifest.key);
        if (first === undefined) after.set(manifest.key, { manifest, file, line, changedAtMs, rejected: undefined });
        else problems.push(duplicateOf(manifest.key, { file, line }, first));
      } else {
        const sentences = verdict.problems.map((problem) => sentenceOf(file, problem));
        problems.push(...sentences);
        const all = sentences.join("; ");
        if (verdict.key === undefined) nameless ??= all;
        else if (!wrong.has(verdict.key)) wrong.set(verdict.key, all);
      }
    }
    for (const [key, rejected] of wrong) {
      const lastGood = before.get(key) ?? this.#remembered.byKey(key);
      if (lastGood !== undefined && !after.has(key)) after.set(key, { ...lastGood, file, rejected });
    }
    if (nameless !== undefined) {
      // Nobody can tell which Topic that document is: none of the file's is taken away.
      const known = before.size > 0 ? [...before.values()] : this.#remembered.byFile(file);
      for (const claim of known) {
        const { key } = claim.manifest;
        if (!after.has(key)) after.set(key, { ...claim, rejected: nameless });
      }
    }
    return { touched: this.#put(file, before, after), problems };
  }

  removeFile(file: string): ReadonlySet<string> {
    return this.#put(file, this.#files.get(file) ?? new Map<string, Claim>(), new Map());
  }

  #put(file: string, before: ReadonlyMap<string, Claim>, after: ReadonlyMap<string, Claim>): ReadonlySet<string> {
    if (after.size > 0) this.#files.set(file, after);
    else this.#files.delete(file);
    for (const key of before.keys()) if (!after.has(key)) this.#unclaim(key, file);
    for (const key of after.keys()) {
      const files = this.#claimants.get(key) ?? [];
      if (!files.includes(file)) this.#claimants.set(key, [...files, file].sort());
    }
    return new Set([...before.keys(), ...after.keys()]);
  }

  #unclaim(key: string, file: string): void {
    const files = (this.#claimants.get(key) ?? []).filter((other) => other !== file);
    if (files.length > 0) this.#claimants.set(key, files);
    else this.#claimants.delete(key);
  }
}

/** What to tell of a Topic that stands in two places. */
export function duplicateOf(key: string, ignored: { file: string; line: number }, first: Claim): string {
  return `${ignored.file} line ${ignored.line}: Topic ${key} is in ${first.file} line ${first.line} already; that one counts`;
}

function sentenceOf(file: string, problem: Problem): string {
  return `${file} ${formatProblem(problem)}`;
}
