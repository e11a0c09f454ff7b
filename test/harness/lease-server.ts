// Owns: Leases as an API server keeps them (resourceVersion, conflicts), in memory, and the faults of the way there: a call
// that never arrives, one whose answer never comes, one that takes its time, one that is refused. Time is the caller's.

import type { Clock } from "#core/runtime/clock.ts";
import { type CallOptions, type KubeApi, KubeError, type Verb } from "../../operator/kube/api.ts";
import type { Lease } from "../../operator/kube/lease.ts";

export type WayFault =
  | { readonly kind: "request lost" | "answer lost" }
  | { readonly kind: "late"; readonly ms: number }
  | { readonly kind: "refused"; readonly status: number; readonly retryAfterMs?: number };

export class LeaseServer {
  lease: Lease | undefined;
  /** Calls that arrived, by verb. */
  readonly arrived: Verb[] = [];
  #revision = 0;

  /** The way of one process to it; its calls time out by its own clock. */
  api(clock: Clock, fault: () => WayFault | undefined = () => undefined): Pick<KubeApi, "call"> {
    return {
      call: async <T>(verb: Verb, _path: string, options: CallOptions = {}): Promise<T> => {
        const { promise, resolve, reject } = Promise.withResolvers<T>();
        const end = (error: KubeError): void => reject(error);
        const timeoutMs = options.timeoutMs ?? 10_000;
        const timer = clock.after(timeoutMs, () => end(noAnswer("Timeout")));
        options.signal?.addEventListener("abort", () => end(noAnswer("Closed")));
        // What never comes holds nobody: the timer ends it.
        this.#travel<T>(clock, fault(), { verb, body: options.body as Lease | undefined }).then(resolve, reject);
        try {
          return await promise;
        } finally {
          timer.cancel();
        }
      },
    };
  }

  async #travel<T>(
    clock: Clock,
    fault: WayFault | undefined,
    { verb, body }: { readonly verb: Verb; readonly body: Lease | undefined },
  ): Promise<T> {
    const never = new Promise<never>(() => undefined);
    switch (fault?.kind) {
      case "request lost":
        return never;
      case "answer lost":
        this.#handle(verb, body);
        return never;
      case "late":
        await new Promise<void>((resolve) => clock.after(fault.ms, resolve));
        return this.#handle(verb, body) as T;
      case "refused":
        throw new KubeError("refused", { reason: "Refused", ...fault });
      case undefined:
        return this.#handle(verb, body) as T;
    }
  }

  /** Somebody deletes it. */
  remove(): void {
    this.lease = undefined;
  }

  #handle(verb: Verb, body: Lease | undefined): Lease {
    this.arrived.push(verb);
    if (verb === "POST" && this.lease !== undefined) throw refusal(409, "AlreadyExists");
    if (verb !== "POST" && this.lease === undefined) throw refusal(404, "NotFound");
    if (verb === "PUT" && body?.metadata.resourceVersion !== this.lease?.metadata.resourceVersion) {
      throw refusal(409, "Conflict");
    }
    if (body !== undefined) {
      this.#revision += 1;
      const uid = this.lease?.metadata.uid ?? `uid-${this.#revision}`;
      this.lease = { ...body, metadata: { ...body.metadata, uid, resourceVersion: String(this.#revision) } };
    }
    if (this.lease === undefined) throw refusal(404, "NotFound");
    return structuredClone(this.lease);
  }
}

function refusal(status: number, reason: string): KubeError {
  return new KubeError(reason, { status, reason });
}

function noAnswer(reason: string): KubeError {
  return new KubeError(reason, { status: 0, reason });
}
