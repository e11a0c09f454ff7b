// Owns: who of the operators leads: a coordination.k8s.io/v1 Lease, renewed by compare-and-swap. Invariants: this process
// leads only while the time since it sent its last successful renewal is below the renew deadline, by every clock it has
// (asked at each use, so that one that slept knows before it does anything); nobody takes a Lease over before it has
// seen it unchanged for its whole duration by its own monotonic clock, whatever times stand in it.
// As client-go's leaderelection does it, with its times. Elsewhere: the decisions, pure (lease.ts).

import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import { type KubeApi, KubeError, type OwnerReference } from "./api.ts";
import { claim, type Lease, mayTake, type ObservedLease, observe, released } from "./lease.ts";
import { leaderMetric } from "./metrics.ts";

export interface LeaderTimes {
  /** How long others leave a Lease alone that is not renewed. */
  readonly leaseMs: number;
  /** How long after its last renewal this process still leads. Well below leaseMs. */
  readonly renewMs: number;
  /** Between two tries. */
  readonly retryMs: number;
}

export interface LeaderOptions {
  readonly api: Pick<KubeApi, "call">;
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Of this very process start: no other may ever have had it. */
  readonly identity: string;
  /** On a Lease that is made here. */
  readonly ownerReferences?: readonly OwnerReference[];
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  /** Called at each change, with what `leading` says from then on. */
  readonly onChange: (leading: boolean) => void;
  /** For tests. */
  readonly times?: LeaderTimes;
}

const TIMES: LeaderTimes = { leaseMs: 15_000, renewMs: 10_000, retryMs: 2_000 };

/** Of the time between tries, by which they are spread, so that followers do not all come at once. */
const JITTER = 0.2;

/** Milliseconds that giving the Lease back may take: who ends does not wait for an API server that is away. */
const RELEASE_MS = 800;

/** Milliseconds between looks whether the deadline has passed. */
const LOOK_MS = 250;

export class LeaderElector implements Component {
  readonly #options: LeaderOptions;
  readonly #times: LeaderTimes;
  readonly #path: string;
  readonly #ending = new AbortController();
  #observed: ObservedLease | undefined;
  /** When the last renewal that worked was sent, by both clocks. */
  #renewed: { readonly monotonicMs: number; readonly wallMs: number } | undefined;
  #told = false;
  #unsure = true;
  #failing = false;
  #next: Timer | undefined;
  #look: Timer | undefined;
  #trying: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#times = options.times ?? TIMES;
    this.#path = `/apis/coordination.k8s.io/v1/namespaces/${options.namespace}/leases`;
    leaderMetric(options.registry, options.name, () => this.leading);
  }

  /** Whether this process leads now. Ask before each thing that only a leader may do. */
  get leading(): boolean {
    if (this.#renewed === undefined) return false;
    const { clock } = this.#options;
    // The monotonic clock stands still while the machine sleeps, the wall clock may be set: the longer one counts.
    const sinceMs = Math.max(clock.monotonic() - this.#renewed.monotonicMs, clock.now() - this.#renewed.wallMs);
    return sinceMs < this.#times.renewMs;
  }

  start(): void {
    if (this.#look !== undefined || this.#closing !== undefined) return;
    this.#look = this.#options.clock.every(LOOK_MS, () => this.#tell());
    this.#try();
  }

  /** Stops leading, then gives the Lease back, so that another need not wait for its end. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#look?.cancel();
    this.#next?.cancel();
    const led = this.leading;
    this.#renewed = undefined;
    this.#tell();
    this.#ending.abort();
    await this.#trying;
    const lease = this.#observed?.lease;
    if (!led || lease === undefined) return;
    const body = released(lease, this.#options.clock.now());
    try {
      await this.#options.api.call("PUT", `${this.#path}/${this.#options.name}`, { body, timeoutMs: RELEASE_MS });
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, "lease not given back, it runs out by itself");
    }
  }

  #try(): void {
    this.#next = undefined;
    this.#trying = this.#attempt().then((waitMs) => {
      this.#tell();
      if (this.#closing !== undefined) return;
      this.#next = this.#options.clock.after(waitMs * (1 + Math.random() * JITTER), () => this.#try());
    });
  }

  /** One try to get or keep the Lease; milliseconds until the next one. */
  async #attempt(): Promise<number> {
    const { retryMs, renewMs } = this.#times;
    try {
      // Who has just renewed knows the Lease: one call. Everybody else looks first.
      if (this.#unsure || !this.leading) await this.#read();
      if (this.#mayTake()) await this.#take();
      else this.#renewed = undefined;
      this.#answered();
      return retryMs;
    } catch (error) {
      this.#unsure = true;
      if (this.#closing !== undefined) return retryMs;
      const refusal = error instanceof KubeError ? error : undefined;
      // Somebody else was faster, or the Lease was deleted: a look says which.
      if (refusal?.status === 409 || refusal?.status === 404) return retryMs / 4;
      if (!this.#failing) this.#options.log.warn({ error: messageOf(error) }, "lease cannot be read or written");
      this.#failing = true;
      // Waiting as long as an overloaded server asks for would cost the Lease.
      return Math.max(retryMs, Math.min(refusal?.retryAfterMs ?? 0, renewMs / 3));
    }
  }

  #answered(): void {
    if (this.#failing) this.#options.log.info("lease can be read and written again");
    this.#failing = false;
  }

  async #read(): Promise<void> {
    const lease = await this.#get();
    this.#observed = observe(this.#observed, lease, this.#options.clock.monotonic());
    this.#unsure = false;
  }

  async #get(): Promise<Lease | undefined> {
    try {
      return await this.#call("GET", `${this.#path}/${this.#options.name}`);
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return undefined;
      throw error;
    }
  }

  #mayTake(): boolean {
    const { clock, identity } = this.#options;
    return mayTake(this.#observed, { identity, leaseMs: this.#times.leaseMs, nowMs: clock.monotonic() });
  }

  async #take(): Promise<void> {
    const { clock, identity, namespace, name, ownerReferences } = this.#options;
    const sent = { monotonicMs: clock.monotonic(), wallMs: clock.now() };
    const known = this.#observed?.lease;
    const body = claim(known, {
      identity,
      leaseMs: this.#times.leaseMs,
      wallMs: sent.wallMs,
      metadata: { name, namespace, ...(ownerReferences === undefined ? {} : { ownerReferences }) },
    });
    const lease =
      known === undefined
        ? await this.#call("POST", this.#path, body)
        : await this.#call("PUT", `${this.#path}/${name}`, body);
    this.#observed = { lease, changedAtMs: clock.monotonic() };
    if (this.#closing === undefined) this.#renewed = sent;
  }

  /** Shorter than the renew deadline, so that a frozen call leaves time for another one. */
  #call(verb: "GET" | "POST" | "PUT", path: string, body?: Lease): Promise<Lease> {
    const timeoutMs = this.#times.renewMs / 3;
    const options = { timeoutMs, signal: this.#ending.signal };
    return this.#options.api.call<Lease>(verb, path, body === undefined ? options : { ...options, body });
  }

  #tell(): void {
    const { leading } = this;
    if (leading === this.#told) return;
    this.#told = leading;
    const { log, identity, onChange } = this.#options;
    if (leading) log.info({ identity }, "leading begins");
    else log.info({ identity }, "leading ends");
    onChange(leading);
  }
}
