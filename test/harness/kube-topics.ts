// Owns: Topics at a real API server, as tests make them and read what the server says of them.

import type { KubeAccess, KubeResponse } from "./kube-access.ts";

/** A manifest, right or wrong. */
export type Manifest = Readonly<Record<string, unknown>>;

export interface StoredTopic {
  readonly metadata: {
    readonly name: string;
    readonly generation: number;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly managedFields?: readonly { readonly manager: string; readonly subresource?: string }[];
  };
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status: {
    readonly observedGeneration?: number;
    readonly topicId?: string;
    readonly controllerName?: string;
    readonly conditions: readonly StoredCondition[];
  };
}

export interface StoredCondition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly observedGeneration?: number;
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

/** What a server found wrong: the field as it names it, and why. */
export interface Cause {
  readonly field: string;
  readonly message: string;
}

export const TOPICS_API = "/apis/earshot.dev/v1alpha1";

/** `/apis/earshot.dev/v1alpha1/namespaces/shop/topics/orders` */
export function topicPath(namespace: string, name?: string): string {
  return `${TOPICS_API}/namespaces/${namespace}/topics${name === undefined ? "" : `/${name}`}`;
}

export function topicOf(name: string, spec?: unknown): Manifest {
  const head = { apiVersion: "earshot.dev/v1alpha1", kind: "Topic", metadata: { name } };
  return spec === undefined ? head : { ...head, spec };
}

/** Judged as if it were made, with everything of the answer; nothing is kept. Unknown fields are errors, as for kubectl. */
export function tryTopic(api: KubeAccess, namespace: string, manifest: Manifest): Promise<KubeResponse> {
  return api.call("POST", `${topicPath(namespace)}?dryRun=All&fieldValidation=Strict`, manifest);
}

/** Makes one; throws where the server refuses it. */
export async function makeTopic(
  api: KubeAccess,
  namespace: string,
  name: string,
  spec?: unknown,
): Promise<StoredTopic> {
  return stored(await api.call("POST", topicPath(namespace), topicOf(name, spec)));
}

export async function getTopic(api: KubeAccess, namespace: string, name: string): Promise<StoredTopic> {
  return stored(await api.call("GET", topicPath(namespace, name)));
}

/** JSON Merge Patch of the object (or of its status). */
export function patchTopic(
  api: KubeAccess,
  [namespace, name]: readonly [namespace: string, name: string],
  patch: unknown,
  subresource = "",
): Promise<KubeResponse> {
  return api.call("PATCH", `${topicPath(namespace, name)}${subresource}`, patch, {
    "content-type": "application/merge-patch+json",
  });
}

/** Server-side apply as one manager. */
export function applyTopic(
  api: KubeAccess,
  [namespace, name]: readonly [namespace: string, name: string],
  manifest: Manifest,
  { manager, query = "", subresource = "" }: { manager: string; query?: string; subresource?: string },
): Promise<KubeResponse> {
  const path = `${topicPath(namespace, name)}${subresource}?fieldManager=${manager}${query}`;
  return api.call("PATCH", path, manifest, { "content-type": "application/apply-patch+yaml" });
}

/** The object of an answer that must be good. */
export function stored(response: KubeResponse): StoredTopic {
  if (response.status >= 300) throw new Error(`the API server answered ${JSON.stringify(response.body)}`);
  return response.body as StoredTopic;
}

/** What is wrong with the object of an answer; empty: nothing. */
export function causesOf({ status, body }: KubeResponse): readonly Cause[] {
  if (status < 300) return [];
  const { message, details } = body as { message: string; details?: { causes?: readonly Cause[] } };
  const causes = (details?.causes ?? []).filter(
    // "some validation rules were not checked because the object was invalid"
    ({ field }) => field !== "<nil>",
  );
  const unknown = [...message.matchAll(/unknown field "([^"]+)"/g)].map(([told, field = ""]) => ({
    field,
    message: told,
  }));
  return [...causes, ...unknown];
}
