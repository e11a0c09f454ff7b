// Owns: what of operator/kube is under test, behind a proxy that has faults, and ConfigMaps to be watched: small, and no
// controller cares for them.

import { isDeepStrictEqual } from "node:util";
import pino from "pino";
import { type Clock, SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createRegistry, type Registry } from "#core/runtime/metrics.ts";
import { connectKube, type KubeApi, type KubeObject } from "../../operator/kube/api.ts";
import { Informer } from "../../operator/kube/informer.ts";
import { FaultProxy } from "./fault-proxy.ts";
import type { KubeAccess } from "./kube-access.ts";
import { until } from "./until.ts";

export interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** A condition may take that long on a machine that is ten times slower. */
const LATE_MS = 60_000;

interface Connected {
  readonly proxy: FaultProxy;
  readonly api: KubeApi;
  readonly registry: Registry;
}

export class KubeRig {
  readonly proxy: FaultProxy;
  readonly api: KubeApi;
  readonly log = pino({ level: "silent" });
  readonly registry = createRegistry("operator");
  /** What `api` itself counts. */
  readonly apiRegistry: Registry;
  readonly clock: Clock = SYSTEM_CLOCK;
  readonly #access: KubeAccess;
  readonly #namespace: string;
  readonly #informers: Informer<ConfigMap>[] = [];

  private constructor(access: KubeAccess, namespace: string, { proxy, api, registry }: Connected) {
    this.apiRegistry = registry;
    this.#access = access;
    this.#namespace = namespace;
    this.proxy = proxy;
    this.api = api;
  }

  /** Speaks with the API server of `access` through a proxy of its own. */
  static async make(access: KubeAccess, namespace: string): Promise<KubeRig> {
    const proxy = await FaultProxy.listen(access);
    process.env["KUBECONFIG"] = proxy.kubeconfig;
    const registry = createRegistry("operator");
    const api = await connectKube({ log: pino({ level: "silent" }), registry, clock: SYSTEM_CLOCK });
    return new KubeRig(access, namespace, { proxy, api, registry });
  }

  get path(): string {
    return `/api/v1/namespaces/${this.#namespace}/configmaps`;
  }

  informer(options: { silenceMs?: number; backoff?: { firstMs: number; maxMs: number } } = {}): Informer<ConfigMap> {
    const { api, log, registry, clock, path } = this;
    const name = `configmaps-${this.#informers.length}`;
    const informer = new Informer<ConfigMap>({
      api,
      log,
      registry,
      clock,
      path,
      name,
      backoff: { firstMs: 20, maxMs: 200 },
      ...options,
    });
    this.#informers.push(informer);
    return informer;
  }

  /** Straight at the API server: makes it, or gives it another value. */
  async write(name: string, value: string): Promise<void> {
    const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { value } };
    const { status } = await this.#access.call("PATCH", `${this.path}/${name}?fieldManager=test&force=true`, body, {
      "content-type": "application/apply-patch+yaml",
    });
    if (status >= 300) throw new Error(`the API server answered ${status}`);
  }

  async remove(name: string): Promise<void> {
    await this.#access.call("DELETE", `${this.path}/${name}`);
  }

  /** What the API server has: values by name. */
  async stored(): Promise<Readonly<Record<string, string>>> {
    const { body } = await this.#access.call("GET", this.path);
    return valuesOf((body as { readonly items: readonly ConfigMap[] }).items);
  }

  /** Resolves when the informer holds exactly what the API server has. */
  async converged(informer: Informer<ConfigMap>): Promise<void> {
    const stored = await this.stored();
    const isThere = (): boolean => isDeepStrictEqual(valuesOf([...informer.objects.values()]), stored);
    await until(isThere, "the informer holds what the API server has", LATE_MS);
  }

  async close(): Promise<void> {
    this.proxy.thaw();
    await Promise.all(this.#informers.map((informer) => informer.close()));
    await this.api.close();
    await this.proxy.close();
  }
}

export function valuesOf(objects: readonly ConfigMap[]): Record<string, string> {
  const pairs = objects.map(({ metadata, data }) => [metadata.name, data?.["value"] ?? ""] as const);
  return Object.fromEntries(pairs.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
