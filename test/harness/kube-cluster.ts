// Owns: a test file's part of the shared cluster: access, and namespaces of its own that nobody else's objects are in.

import { randomBytes } from "node:crypto";
import { afterAll, inject } from "vitest";
import { KubeAccess, type KubeAddress } from "./kube-access.ts";

/** For `describe.skipIf(!HAS_PODS)`: whether there is a cluster in which pods run (kube-setup.ts says so where not). */
export const HAS_PODS = inject("kubeFull") !== undefined;

/** The API server of the run; closed after the file. */
export function apiServer(): KubeAccess {
  return opened(inject("kubeApi"));
}

/** The cluster with pods; closed after the file. */
export function fullCluster(): KubeAccess {
  const address = inject("kubeFull");
  if (address === undefined) throw new Error("KUBECONFIG names no cluster with pods");
  return opened(address);
}

const namespaces = new WeakMap<KubeAccess, string[]>();

function opened(address: KubeAddress): KubeAccess {
  const access = new KubeAccess(address);
  namespaces.set(access, []);
  afterAll(async () => {
    for (const name of namespaces.get(access) ?? []) await access.call("DELETE", `/api/v1/namespaces/${name}`);
    await access.close();
  });
  return access;
}

/** Makes a namespace under a name that nobody had before; its deletion is asked for after the file. */
export async function makeNamespace(access: KubeAccess, purpose: string): Promise<string> {
  const name = `${purpose}-${randomBytes(4).toString("hex")}`;
  await access.kubectl(["create", "namespace", name]);
  namespaces.get(access)?.push(name);
  return name;
}
