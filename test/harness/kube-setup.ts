// Owns: the one API server of a run of cluster tests, with the CRDs of crds/ in it. vitest.cluster.config.ts names this file
// as a global setup; test files reach it by kube-cluster.ts. Without any Kubernetes the run fails: these tests never pass
// without it.

import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { ApiServer, KUBE_ASSETS } from "./api-server.ts";
import { KubeAccess, type KubeAddress } from "./kube-access.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** A server of this run's own where the machine has the programs, else the full cluster. */
    readonly kubeApi: KubeAddress;
    /** A cluster in which pods run. */
    readonly kubeFull: KubeAddress | undefined;
  }
}

const CRDS_FOLDER = join(import.meta.dirname, "..", "..", "crds");

let server: ApiServer | undefined;

export async function setup(project: TestProject): Promise<void> {
  const full = fullCluster();
  if (KUBE_ASSETS === undefined && full === undefined) {
    process.stderr.write(
      "test:cluster needs Kubernetes: set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl (an API " +
        "server alone), or KUBECONFIG to the kubeconfig of a cluster for tests, or both.\n",
    );
    process.exit(1);
  }
  if (full === undefined) {
    process.stdout.write("tests in test/cluster/full-*.test.ts are skipped: KUBECONFIG names no cluster with pods\n");
  }
  if (KUBE_ASSETS !== undefined) server = await ApiServer.start();
  const api = server?.address ?? full;
  if (api === undefined) throw new Error("no API server was started");
  for (const address of new Set([api, ...(full === undefined ? [] : [full])])) await installCrds(address);
  project.provide("kubeApi", api);
  project.provide("kubeFull", full);
}

export async function teardown(): Promise<void> {
  await server?.close();
}

function fullCluster(): KubeAddress | undefined {
  const kubeconfig = process.env["KUBECONFIG"] || undefined;
  if (kubeconfig === undefined) return undefined;
  const kubectl = KUBE_ASSETS === undefined ? "kubectl" : join(KUBE_ASSETS, "kubectl");
  return { kubeconfig, kubectl, auditLog: process.env["KUBE_AUDIT_LOG"] || undefined };
}

/** Installs the CRDs of crds/, or brings those that are there to what the files say. */
export async function installCrds(address: KubeAddress): Promise<void> {
  const access = new KubeAccess(address);
  try {
    await access.kubectl(["apply", "--server-side", "--force-conflicts", "-f", CRDS_FOLDER]);
    await access.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "-f", CRDS_FOLDER]);
  } finally {
    await access.close();
  }
}
