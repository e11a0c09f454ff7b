// Owns: reading a request's body into bytes, up to a limit that is asked for anew with each request (the largest message
// of all Topics changes), and from bytes into fields. Elsewhere: which fields a call has (beside its route).

import type { IncomingMessage } from "node:http";
import type { JsonFields } from "#core/domain/json-text.ts";
import { parseJsonObject } from "#core/edge/json-body.ts";
import { EarshotError } from "#core/runtime/errors.ts";

/** Content types whose body is read as JSON: what `curl -d`, sendBeacon and forms send without being asked. */
const JSON_TYPES = new Set(["", "application/json", "text/plain", "application/x-www-form-urlencoded"]);

/** Bytes beyond the limit that are read and thrown away, so that a client which is still sending gets to read the answer. */
const DISCARDED_BYTES_MAX = 4 * 1024 * 1024;

/** Throws invalid_request when a body of this content type or encoding is not read here. */
export function checkContentType(contentType: string | undefined, contentEncoding: string | undefined): void {
  if (contentEncoding !== undefined && contentEncoding !== "identity") {
    throw refuse("Content-Encoding", "bodies are read as they are, without compression");
  }
  const [type = "", ...parameters] = (contentType ?? "").toLowerCase().split(";");
  const name = type.trim();
  if (!JSON_TYPES.has(name) && !name.endsWith("+json")) {
    throw refuse("Content-Type", "Content-Type must be application/json (text/plain and forms are read as JSON too)");
  }
  const charset = parameters.map((part) => part.trim()).find((part) => part.startsWith("charset="));
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) {
    throw refuse("Content-Type", "bodies are UTF-8");
  }
}

/** Reads a whole body. Throws message_too_large beyond `limitBytes`, invalid_request when it ends before its time. */
export async function readBody(stream: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const announced = Number(stream.headers["content-length"] ?? 0);
  if (announced > limitBytes + DISCARDED_BYTES_MAX) throw tooLarge(limitBytes);
  const whole = new GrowingBuffer(limitBytes);
  let bytes = 0;
  try {
    // Leaving the loop early must leave the connection, which the answer still needs.
    for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes <= limitBytes) whole.append(chunk);
      else whole.forget();
      if (bytes > limitBytes + DISCARDED_BYTES_MAX) break;
    }
  } catch (error) {
    throw new EarshotError("invalid_request", "the body ended before its time", { cause: error });
  }
  if (bytes > limitBytes) throw tooLarge(limitBytes);
  return whole.bytes;
}

/** Bytes in one piece as they come: a body sent byte by byte costs its size, not an object a byte. */
class GrowingBuffer {
  readonly #mostBytes: number;
  #buffer: Buffer = Buffer.alloc(0);
  #used = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#used);
  }

  append(chunk: Buffer): void {
    if (this.#used === 0) {
      this.#buffer = chunk;
      this.#used = chunk.length;
      return;
    }
    const needed = this.#used + chunk.length;
    if (needed > this.#buffer.length) this.#grow(Math.min(this.#mostBytes, Math.max(needed, 2 * this.#buffer.length)));
    chunk.copy(this.#buffer, this.#used);
    this.#used = needed;
  }

  forget(): void {
    this.#buffer = Buffer.alloc(0);
    this.#used = 0;
  }

  #grow(capacity: number): void {
    const grown = Buffer.allocUnsafe(capacity);
    this.#buffer.copy(grown, 0, 0, this.#used);
    this.#buffer = grown;
  }
}

/** Reads the JSON object that a body must be. `body` is what readBody left: bytes, or nothing. */
export function readFields<T>(body: unknown, read: (fields: JsonFields) => T): T {
  return parseJsonObject(body instanceof Uint8Array ? body : EMPTY, read);
}

const EMPTY = new Uint8Array(0);

function tooLarge(limitBytes: number): EarshotError {
  return new EarshotError("message_too_large", `the body may have ${limitBytes} bytes here`);
}

function refuse(field: string, message: string): EarshotError {
  return new EarshotError("invalid_request", message, { field });
}
