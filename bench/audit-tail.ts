// Owns: what operators ask of an API server, counted from its audit log while it grows: very many Topics make it larger
// than one string may be.

import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import type { AuditEntry } from "../test/harness/kube-access.ts";
import { type KubeFleet, OPERATOR_USER } from "../test/harness/kube-fleet.ts";

const CHUNK_BYTES = 4 * 1024 * 1024;

const READING: ReadonlySet<string> = new Set(["get", "list", "watch"]);

export class AuditTail {
  /** When the first call since came in, since the epoch. */
  firstMs: number | undefined;
  /** When the last status of a Topic came in. */
  lastWriteMs: number | undefined;
  statusWrites = 0;
  /** Everything else that was written: Events, the Lease, the map. */
  otherWrites = 0;
  readonly #topics = new Set<string>();
  readonly #path: string;
  readonly #decoder = new StringDecoder("utf8");
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #at: number;
  #rest = "";

  /** Of what is asked from now on. */
  constructor({ server: { address } }: KubeFleet) {
    this.#path = address.auditLog ?? "";
    this.#at = existsSync(this.#path) ? statSync(this.#path).size : 0;
  }

  /** Topics whose status was written. */
  get writtenTopics(): number {
    return this.#topics.size;
  }

  /** Reads what came since. */
  read(): void {
    const file = openSync(this.#path, "r");
    for (;;) {
      const bytes = readSync(file, this.#chunk, 0, CHUNK_BYTES, this.#at);
      if (bytes === 0) break;
      this.#at += bytes;
      const lines = (this.#rest + this.#decoder.write(this.#chunk.subarray(0, bytes))).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#take(JSON.parse(line) as AuditEntry);
    }
    closeSync(file);
  }

  #take({ user, verb, objectRef = {}, requestReceivedTimestamp }: AuditEntry): void {
    if (user.username !== OPERATOR_USER) return;
    const atMs = Date.parse(requestReceivedTimestamp);
    this.firstMs = Math.min(this.firstMs ?? atMs, atMs);
    const { resource, subresource, namespace = "", name = "" } = objectRef;
    if (READING.has(verb)) return;
    if (verb !== "patch" || resource !== "topics" || subresource !== "status") {
      this.otherWrites += 1;
      return;
    }
    this.statusWrites += 1;
    this.#topics.add(`${namespace}.${name}`);
    this.lastWriteMs = Math.max(this.lastWriteMs ?? atMs, atMs);
  }
}
