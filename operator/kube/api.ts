// Owns: calls and watch streams to the Kubernetes API server, as informers, queues and the elector of this folder speak
// them. Invariants: every call ends within its time; every failure is a KubeError; a refused token is loaded anew and the
// call made once more. Elsewhere: who we are (credentials.ts), connections (transport.ts); trying again is the caller's.

import type { Clock } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { VERSION } from "#core/runtime/version.ts";
import { KubeCredentials } from "./credentials.ts";
import { type RequestCounter, requestCounter } from "./metrics.ts";
import { Transport } from "./transport.ts";

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface KubeMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  /** A decimal number that grows; of objects of one kind, the larger one is the newer state. */
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
}

export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: KubeMetadata;
}

export type Verb = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface CallOptions {
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Of the body; default application/json. */
  readonly contentType?: string;
  /** Until the whole answer is here; default 10 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface KubeApi extends Component {
  /** Base address, for people. */
  readonly server: string;
  /** The parsed answer. Throws KubeError. */
  call<T>(verb: Verb, path: string, options?: CallOptions): Promise<T>;
  /** Bytes of an open watch, which `signal` ends. Throws KubeError where it is refused; later errors are the stream's. */
  watch(path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

/** Milliseconds of a call without a timeout of its own: what the API server takes for slow is 1 s. */
const CALL_MS = 10_000;

/** Bytes of one answer. A page of 500 of the largest objects that etcd takes would be more; none of ours is. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Bytes of a refusal that are read for its reason. */
const REFUSAL_BYTES_MAX = 64 * 1024;

/** Milliseconds beyond which nobody is told to wait. */
const RETRY_AFTER_MS_MAX = 60_000;

export interface KubeRefusal {
  /** HTTP status; 0: there was no answer. */
  readonly status: number;
  /** Status.reason of Kubernetes (Conflict, NotFound, ...), or ours where there was no answer (Timeout, NoAnswer, Closed). */
  readonly reason: string;
  readonly retryAfterMs?: number | undefined;
}

export class KubeError extends Error {
  override readonly name = "KubeError";
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, { status, reason, retryAfterMs }: KubeRefusal, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }

  /** Nothing about the request: the same one may pass later. */
  get unavailable(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export interface KubeOptions {
  readonly log: Log;
  readonly registry: Registry;
  readonly clock: Clock;
}

/** Throws ConfigError with a sentence that says what to do where there is no configuration; calls nobody yet. */
export async function connectKube({ log, registry, clock }: KubeOptions): Promise<KubeApi> {
  const credentials = new KubeCredentials(clock);
  const { server } = await credentials.read();
  log.info({ server: server.origin }, "Kubernetes API server configured");
  return new HttpKube(server.origin, { clock, credentials, requests: requestCounter(registry, server.host) });
}

interface Parts {
  readonly clock: Clock;
  readonly credentials: KubeCredentials;
  readonly requests: RequestCounter;
}

class HttpKube implements KubeApi {
  readonly server: string;
  readonly #parts: Parts;
  readonly #transport: Transport;
  readonly #open = new Set<AbortController>();
  #closed = false;

  constructor(server: string, parts: Parts) {
    this.server = server;
    this.#parts = parts;
    this.#transport = new Transport(parts.credentials);
  }

  async call<T>(verb: Verb, path: string, options: CallOptions = {}): Promise<T> {
    const { timeoutMs = CALL_MS, signal } = options;
    const ending = new AbortController();
    const timer = this.#parts.clock.after(timeoutMs, () => {
      ending.abort(new KubeError(`no answer in ${timeoutMs} ms`, { status: 0, reason: "Timeout" }));
      this.#transport.suspect();
    });
    try {
      return await this.#ended(ending, signal, () =>
        this.#twice(async () => {
          const answer = await this.#request("calls", verb, { path, options, signal: ending.signal });
          return JSON.parse(await readText(answer.body, ANSWER_BYTES_MAX)) as T;
        }),
      );
    } finally {
      timer.cancel();
    }
  }

  watch(
    path: string,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const options = { query: { ...query, watch: "true" } };
    return this.#ended(new AbortController(), signal, () =>
      this.#twice(async () => (await this.#request("watches", "GET", { path, options, signal })).body),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const ending of this.#open) ending.abort(closedError());
    await this.#transport.close();
  }

  /** Every failure of `work` as a KubeError; `ending` is aborted with `signal` and with the end of this. */
  async #ended<T>(ending: AbortController, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw closedError();
    const abort = (): void => ending.abort(closedError());
    signal?.addEventListener("abort", abort);
    this.#open.add(ending);
    try {
      if (signal?.aborted === true) throw closedError();
      return await work();
    } catch (error) {
      if (ending.signal.aborted) throw ending.signal.reason;
      if (error instanceof KubeError) throw error;
      throw new KubeError(messageOf(error), { status: 0, reason: "NoAnswer" }, { cause: error });
    } finally {
      this.#open.delete(ending);
      signal?.removeEventListener("abort", abort);
    }
  }

  async #twice<T>(attempt: () => Promise<T>): Promise<T> {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof KubeError) || error.status !== 401) throw error;
      this.#parts.credentials.reload();
      return attempt();
    }
  }

  async #request(
    kind: "calls" | "watches",
    verb: Verb,
    { path, options, signal }: { path: string; options: CallOptions; signal: AbortSignal },
  ) {
    const { query = {}, body, contentType = "application/json" } = options;
    const search = new URLSearchParams(query).toString();
    const count = (code: string): void => this.#parts.requests(code, verb);
    let answer: Awaited<ReturnType<Transport["request"]>>;
    try {
      answer = await this.#transport.request(kind, {
        method: verb,
        path: search === "" ? path : `${path}?${search}`,
        headers: {
          // The second is what the keys of ServiceAccounts come as.
          accept: "application/json, application/jwk-set+json",
          "user-agent": `earshot-operator/${VERSION}`,
          ...(body === undefined ? {} : { "content-type": contentType }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
      });
    } catch (error) {
      count("<error>");
      // The cluster's authority may have been replaced: files are read anew.
      if (isCertificateError(error)) this.#parts.credentials.reload();
      throw error;
    }
    count(String(answer.statusCode));
    if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
    throw await refusalOf(answer.statusCode, answer.headers["retry-after"], answer.body);
  }
}

function closedError(): KubeError {
  return new KubeError("ended by this process", { status: 0, reason: "Closed" });
}

function isCertificateError(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  if (typeof code !== "string") return false;
  return /CERT|^UNABLE_TO_|^ERR_TLS|^ERR_SSL/.test(code);
}

/** Throws where it is longer. */
async function readText(body: AsyncIterable<Uint8Array>, bytesMax: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > bytesMax) throw new Error(`the answer is longer than ${bytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

async function refusalOf(
  status: number,
  retryAfter: string | string[] | undefined,
  body: AsyncIterable<Uint8Array>,
): Promise<KubeError> {
  let told: { readonly message?: unknown; readonly reason?: unknown } = {};
  try {
    told = JSON.parse(await readText(body, REFUSAL_BYTES_MAX)) as typeof told;
  } catch {
    // A proxy on the way speaks its own language: the status says enough.
  }
  const message = typeof told.message === "string" ? told.message : `the API server answered ${status}`;
  const reason = typeof told.reason === "string" ? told.reason : "Unknown";
  return new KubeError(message, { status, reason, retryAfterMs: retryAfterMsOf(retryAfter) });
}

/** RFC 9110 10.2.3: seconds, or a date, of which the API server makes no use. */
function retryAfterMsOf(header: string | string[] | undefined): number | undefined {
  const seconds = typeof header === "string" && /^\d{1,9}$/.test(header) ? Number(header) : undefined;
  return seconds === undefined ? undefined : Math.min(seconds * 1_000, RETRY_AFTER_MS_MAX);
}
