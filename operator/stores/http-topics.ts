// Owns: Topics made over HTTP and gRPC in standalone mode: one manifest each in `<state>/http-topics`, the same schema as
// any other, so that they can be read, and copied into the watched folder. Read once at the start; from then on this
// process alone writes there.

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { EarshotError, messageOf } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import { policyToSpec, TOPIC_API_VERSION, TOPIC_KIND, type TopicManifest } from "../schema/judge.ts";
import { judgeManifests } from "../schema/manifests.ts";
import { formatProblem } from "../schema/problem.ts";
import { removeDrafts, removeDurably, writeAtomically } from "./atomic-file.ts";

export interface HttpTopic {
  readonly manifest: TopicManifest;
  readonly createdAtMs: number;
  readonly generation: number;
  readonly path: string;
}

export interface HttpTopicsOptions {
  /** The state folder. */
  readonly folder: string;
  readonly log: Log;
  readonly tell: (sentence: string) => void;
}

/** Characters of a file's name before its extension: file systems take 255 bytes. */
const FILE_NAME_LENGTH_MAX = 240;

/** Files read at a time. */
const READS_AT_ONCE = 16;

export class HttpTopics {
  readonly #folder: string;
  readonly #options: HttpTopicsOptions;
  readonly #topics = new Map<string, HttpTopic>();
  /** The last try to store something failed: that was said, and is not said again. */
  #failing = false;

  constructor(options: HttpTopicsOptions) {
    this.#folder = join(options.folder, "http-topics");
    this.#options = options;
  }

  get topics(): ReadonlyMap<string, HttpTopic> {
    return this.#topics;
  }

  async load(): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    await removeDrafts(this.#folder);
    const names = (await readdir(this.#folder)).filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort();
    for (let first = 0; first < names.length; first += READS_AT_ONCE) {
      await Promise.all(
        names.slice(first, first + READS_AT_ONCE).map((name) => this.#loadFile(join(this.#folder, name))),
      );
    }
  }

  /** Stores a Topic, new or changed. Throws control_plane_unavailable when the disk does not take it. */
  async put(manifest: TopicManifest, createdAtMs: number, generation: number): Promise<void> {
    const path = this.#topics.get(manifest.key)?.path ?? join(this.#folder, `${fileNameOf(manifest.key)}.yaml`);
    const { namespace, name, policy } = manifest;
    const metadata = { namespace, name, creationTimestamp: new Date(createdAtMs).toISOString(), generation };
    const manifestObject = { apiVersion: TOPIC_API_VERSION, kind: TOPIC_KIND, metadata, spec: policyToSpec(policy) };
    // The version that it is read by: a user named `yes` is put in quotes.
    const text = stringify(manifestObject, { version: "1.1" });
    await this.#store(() => writeAtomically(path, `${HEADER}${text}`));
    this.#topics.set(manifest.key, { manifest, createdAtMs, generation, path });
  }

  async remove(key: string): Promise<void> {
    const topic = this.#topics.get(key);
    if (topic === undefined) return;
    await this.#store(() => removeDurably(topic.path));
    this.#topics.delete(key);
  }

  async #loadFile(path: string): Promise<void> {
    try {
      const text = await readFile(path, "utf8");
      const [document] = await judgeManifests(text, () => undefined);
      if (document?.verdict.ok !== true) {
        const problems = document?.verdict.ok === false ? document.verdict.problems.map(formatProblem) : ["is empty"];
        this.#wrong(path, problems.join("; "));
        return;
      }
      const { manifest } = document.verdict;
      const generation = Number(/^ {2}generation: (\d{1,15})$/m.exec(text)?.[1] ?? 1);
      this.#topics.set(manifest.key, { manifest, createdAtMs: manifest.createdAtMs ?? Date.now(), generation, path });
    } catch (error) {
      this.#wrong(path, messageOf(error));
    }
  }

  #wrong(path: string, cause: string): void {
    this.#options.log.error({ path, cause }, "topic made over HTTP cannot be read, left out");
    this.#options.tell(`${path} cannot be read and is left out: ${cause}`);
  }

  async #store(work: () => Promise<void>): Promise<void> {
    const { log, tell } = this.#options;
    try {
      await work();
      if (this.#failing) log.info({ folder: this.#folder }, "topics made over HTTP can be stored again");
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) {
        log.error({ folder: this.#folder, error }, "topic made over HTTP cannot be stored");
        tell(`${this.#folder} cannot be written (${messageOf(error)}); Topics cannot be made or changed over HTTP`);
      }
      this.#failing = true;
      const message = `the Topic cannot be stored (${messageOf(error)}); nothing was changed`;
      throw new EarshotError("control_plane_unavailable", message, { cause: error });
    }
  }
}

const HEADER = "# Made over HTTP or gRPC. The operator reads it at its start and writes it; change the Topic there.\n";

/** The key itself, or a name that no other key has where that is too long for a file. */
function fileNameOf(key: string): string {
  if (key.length <= FILE_NAME_LENGTH_MAX) return key;
  const digest = createHash("sha256").update(key).digest("hex");
  return `${key.slice(0, FILE_NAME_LENGTH_MAX - digest.length - 1)}~${digest}`;
}
