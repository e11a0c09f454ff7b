// Owns: keeping the certificates of an installation in Secrets good for ever, while this operator leads: looks at them
// again and again, and writes what a plan makes of them. The authority's own Secret is written first: nothing is ever
// signed by a key that is not kept. Every write is a compare-and-swap; what somebody else wrote meanwhile is looked at anew.
// Elsewhere: what is decided (plan.ts), what comes of it (carry-out.ts), where Secrets are (secret-store.ts).

import { type Installation, type InstallationRole, peerAccount } from "#core/fleet/peer-names.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import { Counter, type Registry, readGauge } from "#core/runtime/metrics.ts";
import { Backoff } from "#core/runtime/backoff.ts";
import { carryOut, madeBy } from "./carry-out.ts";
import { authorityOf, LEAF_ROLES, observe, type StoredSecrets } from "./observed.ts";
import { planCertificates } from "./plan.ts";
import type { SecretContents, SecretStore, StoredSecret } from "./secret-store.ts";

/** Milliseconds between looks: a Secret that somebody removed is back soon, which a new pod waits for. */
export const LOOK_MS = 60_000;

const BACKOFF = { firstMs: 500, maxMs: 30_000 };

export interface CertificateAuthorityOptions {
  readonly store: SecretStore;
  readonly installation: Installation;
  readonly leadership: { readonly leading: boolean; onChange(listener: () => void): () => void };
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

export class CertificateAuthority implements Component {
  readonly #options: CertificateAuthorityOptions;
  readonly #backoff = new Backoff(BACKOFF);
  readonly #made: Counter<"kind">;
  readonly #failures: Counter;
  #unlisten: (() => void) | undefined;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #failing = false;
  #untilMs = 0;
  #closed = false;

  constructor(options: CertificateAuthorityOptions) {
    this.#options = options;
    const { registry } = options;
    this.#made = new Counter({
      name: "earshot_certificates_made_total",
      help: "Certificates that this operator made, by kind: authority, leaf.",
      labelNames: ["kind"],
      registers: [registry],
    });
    for (const kind of ["authority", "leaf"]) this.#made.inc({ kind }, 0);
    this.#failures = new Counter({
      name: "earshot_certificate_failures_total",
      help: "Looks at the Secrets of certificates that failed; they are repeated.",
      registers: [registry],
    });
    const help = "When the authority that signs now ends, in seconds since the epoch; 0: this operator does not lead.";
    readGauge(registry, "earshot_authority_expiry_seconds", help, () => this.#untilMs / 1000);
  }

  start(): void {
    this.#unlisten = this.#options.leadership.onChange(() => this.#follow());
    this.#follow();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unlisten?.();
    this.#timer?.cancel();
    await this.#looking;
  }

  #follow(): void {
    this.#timer?.cancel();
    this.#untilMs = 0;
    if (!this.#mayWrite() || this.#looking !== undefined) return;
    this.#looking = this.#lookOnce().finally(() => {
      this.#looking = undefined;
    });
  }

  #mayWrite(): boolean {
    return !this.#closed && this.#options.leadership.leading;
  }

  async #lookOnce(): Promise<void> {
    const { clock, log } = this.#options;
    let waitMs = LOOK_MS;
    try {
      // What somebody else wrote meanwhile is looked at at once.
      if (!(await this.#look())) waitMs = BACKOFF.firstMs;
      this.#backoff.reset();
      this.#failing = false;
    } catch (error) {
      waitMs = this.#backoff.next();
      this.#failures.inc();
      if (!this.#failing) log.error({ reason: messageOf(error) }, "certificates not looked after, tried again");
      this.#failing = true;
    }
    if (this.#mayWrite()) this.#timer = clock.after(waitMs, () => this.#follow());
  }

  /** False: a Secret was written by somebody else at the same time. */
  async #look(): Promise<boolean> {
    const { installation, clock, log } = this.#options;
    const stored = await this.#read();
    const observed = observe(stored, installation);
    const nowMs = clock.now();
    const plan = planCertificates(observed, nowMs);
    const wanted = carryOut(observed, plan, installation, nowMs);
    if (!(await this.#write(authorityName(installation), stored.authority, wanted.authority))) return false;
    for (const role of LEAF_ROLES) {
      if (!(await this.#write(leafName(role, installation), stored.leaves[role], wanted.leaves[role]))) return false;
    }
    const { "tls.crt": certificate, "tls.key": key } = wanted.authority.data;
    this.#untilMs = authorityOf(certificate, key)?.untilMs ?? 0;
    const { authorities, leaves } = madeBy(plan);
    this.#made.inc({ kind: "authority" }, authorities);
    this.#made.inc({ kind: "leaf" }, leaves);
    if (plan.authority !== "keep" || leaves > 0) {
      log.info({ authority: plan.authority, issued: plan.issue }, "certificates made");
    }
    return true;
  }

  async #read(): Promise<StoredSecrets> {
    const { store, installation } = this.#options;
    const authority = await store.read(authorityName(installation));
    const leaf = (role: InstallationRole) => store.read(leafName(role, installation));
    const leaves = { operator: await leaf("operator"), router: await leaf("router"), gateway: await leaf("gateway") };
    return { authority, leaves };
  }

  async #write(name: string, stored: StoredSecret | undefined, wanted: SecretContents): Promise<boolean> {
    if (stored !== undefined && isSame(stored, wanted)) return true;
    if (!this.#mayWrite()) return false;
    const { store } = this.#options;
    return stored === undefined ? store.create(name, wanted) : store.replace(name, wanted, stored.resourceVersion);
  }
}

/** Whether a Secret holds what it should and nothing else; annotations may be others' too. */
function isSame(stored: StoredSecret, wanted: SecretContents): boolean {
  if (Object.keys(stored.data).length !== Object.keys(wanted.data).length) return false;
  return includes(stored.data, wanted.data) && includes(stored.annotations, wanted.annotations);
}

function includes(all: Readonly<Record<string, string>>, some: Readonly<Record<string, string>>): boolean {
  return Object.entries(some).every(([key, value]) => all[key] === value);
}

/** The Secret that the operator alone reads. */
function authorityName({ release }: Installation): string {
  return `${release}-ca`;
}

/** The Secret that a process has mounted. */
export function leafName(role: InstallationRole, installation: Installation): string {
  return `${peerAccount(role, installation)}-tls`;
}
