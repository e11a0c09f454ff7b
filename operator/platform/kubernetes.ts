// Owns: the operator's place in Kubernetes: Topics and the shard map as objects of its API, processes as EndpointSlices say,
// and of all replicas the one that holds the Lease. What it makes belongs to the operator's own Deployment, so that it goes
// with it. Elsewhere: the API itself (kube/), what is kept (stores/).

import type { Unlisten } from "#core/fleet/fleet.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { ConfigError } from "#core/runtime/config.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Registry } from "#core/runtime/metrics.ts";
import type { Config } from "#core/runtime/settings.ts";
import type { Processes } from "../control-plane/processes.ts";
import { connectKube, type KubeApi, KubeError, type KubeObject, type OwnerReference } from "../kube/api.ts";
import { EventRecorder } from "../kube/events.ts";
import { Informer } from "../kube/informer.ts";
import { LeaderElector } from "../kube/leader.ts";
import { patiently } from "../kube/patiently.ts";
import { ServiceAccountKeys } from "../kube/service-account-keys.ts";
import { KubeShardMapStore, shardMapsPath } from "../stores/kube-shard-map-store.ts";
import { KubeTopicStore } from "../stores/kube-topic-store.ts";
import { slimTopic, type TopicObject, topicsPath } from "../stores/topic-object.ts";
import { CertificateAuthority } from "../tls/authority.ts";
import { KubeSecrets } from "../tls/kube-secrets.ts";
import { type EndpointSlice, KubeEndpoints, SERVICE_LABEL } from "./kube-endpoints.ts";
import { OwnCertificate, type TlsSecret } from "./own-certificate.ts";
import type { Leadership, Platform } from "./platform.ts";

export interface KubernetesOptions {
  readonly config: Pick<
    Config,
    "release" | "namespace" | "watchNamespaces" | "httpTopicsMax" | "tlsAuthority" | "internalPort"
  >;
  /** Of this operator. */
  readonly self: { readonly incarnation: string; readonly name: string };
  readonly processes: Processes;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

/** Resolves when the endpoints and the shard map are known. Throws ConfigError. */
export async function kubernetesPlatform(options: KubernetesOptions): Promise<Platform> {
  const { config, self, processes, ...parts } = options;
  const { release, namespace, watchNamespaces, httpTopicsMax } = config;
  must(release, "release (--release, EARSHOT_RELEASE)");
  must(namespace, "namespace (--namespace, EARSHOT_NAMESPACE)");
  const api = await connectKube(parts);
  const common = { ...parts, api };
  const owners = await ownersOf(api, { ...parts, namespace, name: `${release}-operator` });
  const leadership = new Elected((onChange) => {
    const identity = `${self.name}_${self.incarnation}`;
    return new LeaderElector({ ...common, namespace, name: release, identity, ownerReferences: owners, onChange });
  });
  const services = { operator: `${release}-operator`, router: `${release}-router`, gateway: `${release}-gateway` };
  const slices = new Informer<EndpointSlice>({
    ...common,
    name: "endpointslices",
    path: `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
    query: { labelSelector: `${SERVICE_LABEL} in (${Object.values(services).join()})` },
  });
  const shardMaps = new KubeShardMapStore({
    ...common,
    informer: new Informer<KubeObject>({
      ...common,
      name: "shardmaps",
      path: shardMapsPath(namespace),
      query: { fieldSelector: `metadata.name=${release}` },
    }),
    namespace,
    name: release,
    owners,
  });
  const events = new EventRecorder({ ...common, controller: "earshot.dev/operator", instance: self.name });
  const topics = new KubeTopicStore({
    ...common,
    informers: topicInformers(common, watchNamespaces),
    controllerName: `${namespace}/${release}`,
    httpTopicsMax,
    leadership,
    events,
  });
  const keys = new ServiceAccountKeys(common);
  const certificate = config.tlsAuthority ? ownCertificate(common, namespace, `${release}-operator-tls`) : undefined;
  await Promise.all([slices.start(), shardMaps.start(), keys.start(), certificate?.start()]);
  const authority = config.tlsAuthority
    ? new CertificateAuthority({
        ...parts,
        store: new KubeSecrets({ api, namespace, owners }),
        installation: { release, namespace },
        leadership,
      })
    : undefined;
  authority?.start();
  return {
    topics,
    shardMaps,
    endpoints: new KubeEndpoints({ informer: slices, services, operatorPort: config.internalPort, processes }),
    leadership,
    tls: certificate?.tls,
    clusterKeys: keys,
    close: async () => {
      await leadership.resign();
      for (const part of [topics, events, authority, keys, certificate, shardMaps, slices, api]) await part?.close();
    },
  };
}

type InformerParts = Pick<ConstructorParameters<typeof Informer>[0], "api" | "clock" | "log" | "registry">;

function topicInformers(parts: InformerParts, namespaces: readonly string[]): Map<string, Informer<TopicObject>> {
  const watched = namespaces.length === 0 ? [""] : namespaces;
  return new Map(
    watched.map((namespace) => {
      const path = topicsPath(namespace === "" ? undefined : namespace);
      return [namespace, new Informer<TopicObject>({ ...parts, name: "topics", path, keep: slimTopic })];
    }),
  );
}

function ownCertificate(parts: InformerParts & { log: Log }, namespace: string, secret: string): OwnCertificate {
  const informer = new Informer<TlsSecret>({
    ...parts,
    name: "secrets",
    path: `/api/v1/namespaces/${namespace}/secrets`,
    query: { fieldSelector: `metadata.name=${secret}` },
  });
  return new OwnCertificate({ informer, log: parts.log });
}

function must(value: string, setting: string): void {
  if (value === "") throw new ConfigError(`${setting} must be set where store is Kubernetes`);
}

/** The Deployment that this operator is of; without it (a process of a test) what is made belongs to nobody. */
async function ownersOf(
  api: KubeApi,
  { namespace, name, clock, log }: { namespace: string; name: string; clock: Clock; log: Log },
): Promise<readonly OwnerReference[]> {
  try {
    const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
    const { metadata } = await patiently(() => api.call<KubeObject>("GET", path), { clock, log });
    return [{ apiVersion: "apps/v1", kind: "Deployment", name, uid: metadata.uid ?? "" }];
  } catch (error) {
    if (!(error instanceof KubeError) || error.status !== 404) throw error;
    log.warn({ deployment: name }, "operator has no deployment, what it makes will outlive it");
    return [];
  }
}

/** The Lease, as the rest of the operator sees it. */
class Elected implements Leadership {
  readonly #elector: LeaderElector;
  readonly #listeners = new Set<() => void>();

  constructor(make: (onChange: () => void) => LeaderElector) {
    this.#elector = make(() => {
      for (const listener of this.#listeners) listener();
    });
  }

  get leading(): boolean {
    return this.#elector.leading;
  }

  stand(): void {
    this.#elector.start();
  }

  onChange(listener: () => void): Unlisten {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  resign(): Promise<void> {
    return this.#elector.close();
  }
}
