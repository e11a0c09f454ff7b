// Owns: the authority's Secrets as objects of the Kubernetes API. They belong to the operator's Deployment and go with it.
// Elsewhere: what is in them (carry-out.ts), who may read which (the chart's roles).

import { type KubeApi, KubeError, type KubeObject, type OwnerReference } from "../kube/api.ts";
import type { SecretContents, SecretStore, StoredSecret } from "./secret-store.ts";

/** core/v1 Secret; values are base64. */
interface SecretObject extends KubeObject {
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
}

export interface KubeSecretsOptions {
  readonly api: Pick<KubeApi, "call">;
  readonly namespace: string;
  readonly owners: readonly OwnerReference[];
}

/** HTTP statuses that say that somebody else was faster: made (AlreadyExists), changed (Conflict), removed. */
const OVERTAKEN: readonly number[] = [409, 404];

export class KubeSecrets implements SecretStore {
  readonly #options: KubeSecretsOptions;

  constructor(options: KubeSecretsOptions) {
    this.#options = options;
  }

  async read(name: string): Promise<StoredSecret | undefined> {
    try {
      const { metadata, data = {} } = await this.#options.api.call<SecretObject>("GET", this.#path(name));
      return {
        data: mapped(data, (value) => Buffer.from(value, "base64").toString("utf8")),
        annotations: metadata.annotations ?? {},
        resourceVersion: metadata.resourceVersion ?? "",
      };
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return undefined;
      throw error;
    }
  }

  create(name: string, contents: SecretContents): Promise<boolean> {
    return this.#write("POST", this.#path(), this.#object(name, contents));
  }

  replace(name: string, contents: SecretContents, resourceVersion: string): Promise<boolean> {
    return this.#write("PUT", this.#path(name), this.#object(name, contents, resourceVersion));
  }

  async #write(verb: "POST" | "PUT", path: string, body: SecretObject): Promise<boolean> {
    try {
      await this.#options.api.call(verb, path, { body });
      return true;
    } catch (error) {
      if (error instanceof KubeError && OVERTAKEN.includes(error.status)) return false;
      throw error;
    }
  }

  #object(name: string, { data, annotations }: SecretContents, resourceVersion?: string): SecretObject {
    const { namespace, owners } = this.#options;
    return {
      apiVersion: "v1",
      kind: "Secret",
      type: "kubernetes.io/tls",
      metadata: {
        name,
        namespace,
        annotations,
        labels: { "app.kubernetes.io/part-of": "earshot", "app.kubernetes.io/managed-by": "earshot-operator" },
        ownerReferences: owners,
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      },
      data: mapped(data, (text) => Buffer.from(text, "utf8").toString("base64")),
    };
  }

  #path(name?: string): string {
    const all = `/api/v1/namespaces/${this.#options.namespace}/secrets`;
    return name === undefined ? all : `${all}/${name}`;
  }
}

function mapped(
  values: Readonly<Record<string, string>>,
  change: (value: string) => string,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value)]));
}
