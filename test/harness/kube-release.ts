// Owns: one installation of the chart in the cluster under test, put up by helm in a namespace of its own that enforces
// restricted Pod Security, and what is done to it: pods deleted, Deployments rolled, upgrades, helm test, uninstall.
// Elsewhere: the cluster (kube-setup.ts), what clients do meanwhile (kube-load.ts).

import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { KubeAccess } from "./kube-access.ts";
import { EDGE_CLASS, EDGE_URL, hostOf } from "./kube-edge.ts";

export type Component = "operator" | "router" | "gateway";
export const COMPONENTS: readonly Component[] = ["operator", "router", "gateway"];

/** `repository:tag` of the image that the cluster has, and of the same under another tag. */
export const IMAGE = process.env["EARSHOT_TEST_IMAGE"] || undefined;
export const IMAGE_NEXT = process.env["EARSHOT_TEST_IMAGE_NEXT"] || undefined;

const CHART = join(import.meta.dirname, "../../charts/earshot");
const ASSETS = process.env["KUBEBUILDER_ASSETS"] ?? "";
const HELM = existsSync(join(ASSETS, "helm")) ? join(ASSETS, "helm") : "helm";

/** Seconds within which a rollout is over on a busy machine, its drains apart. */
const ROLLOUT_S = 240;

/** Why no installation can be put up here; undefined: it can. */
export const NO_RELEASE = missing();
if (NO_RELEASE !== undefined) process.stdout.write(`tests of whole installations are skipped: ${NO_RELEASE}\n`);

function missing(): string | undefined {
  if (!process.env["KUBECONFIG"]) return "KUBECONFIG names no cluster with pods";
  if (IMAGE === undefined) return "EARSHOT_TEST_IMAGE names no image that the cluster has";
  if (EDGE_URL === undefined || EDGE_CLASS === undefined) {
    return "EARSHOT_TEST_EDGE and EARSHOT_TEST_EDGE_CLASS name no ingress controller";
  }
  if (spawnSync(HELM, ["version"]).status !== 0) return "there is no helm on the PATH or in KUBEBUILDER_ASSETS";
  return undefined;
}

export type Values = { readonly [key: string]: unknown };

/** Small processes, of which many have room on a small machine, and drains that a test can wait for. */
const SMALL: Readonly<Record<Component, Values>> = {
  operator: { resources: smallOf("20m") },
  router: { resources: smallOf("50m"), drainSeconds: 40, minReadySeconds: 2, terminationGracePeriodSeconds: 60 },
  gateway: { resources: smallOf("50m"), drainSeconds: 20, preStopSeconds: 5, terminationGracePeriodSeconds: 60 },
};

function smallOf(cpu: string): Values {
  return { requests: { cpu, memory: "256Mi" }, limits: { memory: "256Mi" } };
}

export interface ReleaseOptions {
  readonly name: string;
  readonly namespace: string;
  readonly values?: Values;
  /** The chart's own drains in the place of short ones. */
  readonly realDrains?: boolean;
}

export class KubeRelease {
  readonly kube: KubeAccess;
  readonly namespace: string;
  readonly name: string;
  readonly ingressHost: string;
  readonly routeHost: string;
  readonly #options: ReleaseOptions;

  private constructor(kube: KubeAccess, options: ReleaseOptions) {
    this.kube = kube;
    this.#options = options;
    this.namespace = options.namespace;
    this.name = options.name;
    this.ingressHost = hostOf("ingress", `${options.name}.${options.namespace}`);
    this.routeHost = hostOf("route", `${options.name}.${options.namespace}`);
  }

  /** Resolves when helm says that all of it is ready. */
  static async install(kube: KubeAccess, options: ReleaseOptions): Promise<KubeRelease> {
    const release = new KubeRelease(kube, options);
    await kube.kubectl([
      "label",
      "--overwrite",
      "namespace",
      options.namespace,
      "pod-security.kubernetes.io/enforce=restricted",
    ]);
    await kube.kubectl(["apply", "-f", "-"], JSON.stringify(release.#edgeGateway()));
    await release.#helm("install", "--wait");
    return release;
  }

  /** The chart again with an image, and other values where they are given; resolves when all pods are rolled. */
  async upgrade(image = IMAGE, values: Values = {}): Promise<void> {
    await this.#helm("upgrade", "--wait", image, values);
    await this.rolled(COMPONENTS);
  }

  /** `helm test`: what it printed. */
  test(): Promise<string> {
    return helm(["test", this.name, "-n", this.namespace, "--logs", "--timeout", "180s"]);
  }

  async uninstall(): Promise<void> {
    await helm(["uninstall", this.name, "-n", this.namespace, "--wait", "--timeout", "300s"]);
  }

  /** Name of what belongs to a component. */
  of(component: Component | "publish"): string {
    return `${this.fullname}-${component}`;
  }

  /** Names of the pods of a component that are not ending. */
  async pods(component: Component): Promise<readonly string[]> {
    const items = await this.#items("pods", component);
    return items.flatMap(({ metadata }) => (metadata.deletionTimestamp === undefined ? [metadata.name] : []));
  }

  /** IPs of the pods of a component that are not ending. */
  async podAddresses(component: Component): Promise<readonly string[]> {
    const items = await this.#items("pods", component);
    return items.flatMap(({ metadata, status }) =>
      metadata.deletionTimestamp === undefined ? [status?.podIP ?? ""] : [],
    );
  }

  /** Images of the pods of a component. */
  async images(component: Component): Promise<readonly string[]> {
    const items = await this.#items("pods", component);
    return items.flatMap(({ spec }) => spec?.containers.map(({ image }) => image) ?? []);
  }

  /** Ends pods as an eviction does; resolves when they are gone and their Deployment is whole again. */
  async deletePods(component: Component, count = 1): Promise<void> {
    const names = (await this.pods(component)).slice(0, count);
    await this.kube.kubectl(["delete", "pod", "-n", this.namespace, ...names, "--timeout", `${ROLLOUT_S}s`]);
    await this.rolled([component]);
  }

  /** Rolls a Deployment, and resolves when that is over, with all old pods gone. */
  async roll(component: Component): Promise<void> {
    await this.kube.kubectl(["rollout", "restart", "-n", this.namespace, `deployment/${this.of(component)}`]);
    await this.rolled([component]);
  }

  async rolled(components: readonly Component[]): Promise<void> {
    const timeout = ["--timeout", `${ROLLOUT_S * 4}s`];
    for (const component of components) {
      const deployment = `deployment/${this.of(component)}`;
      await this.kube.kubectl(["rollout", "status", "-n", this.namespace, deployment, ...timeout]);
    }
    for (const component of components) await this.#oldGone(component, timeout);
  }

  /** Address at which a Service is reached inside the cluster. */
  async serviceAddress(name: string, port: number): Promise<string> {
    const args = ["get", "service", name, "-n", this.namespace, "-o", "jsonpath={.spec.clusterIP}"];
    return `${await this.kube.kubectl(args)}:${port}`;
  }

  async #oldGone(component: Component, timeout: readonly string[]): Promise<void> {
    const items = await this.#items("pods", component);
    const ending = items.flatMap(({ metadata: { name, deletionTimestamp } }) =>
      deletionTimestamp === undefined ? [] : [`pod/${name}`],
    );
    if (ending.length === 0) return;
    await this.kube.kubectl(["wait", "--for=delete", "-n", this.namespace, ...ending, ...timeout]);
  }

  async #items(kind: string, component: Component): Promise<readonly Item[]> {
    const selector = `app.kubernetes.io/instance=${this.fullname},app.kubernetes.io/component=${component}`;
    const text = await this.kube.kubectl(["get", kind, "-n", this.namespace, "-l", selector, "-o", "json"]);
    return (JSON.parse(text) as { readonly items: readonly Item[] }).items;
  }

  /** Everything is named after it. */
  get fullname(): string {
    return this.name.includes("earshot") ? this.name : `${this.name}-earshot`;
  }

  async #helm(verb: "install" | "upgrade", wait: string, image = IMAGE, values: Values = {}): Promise<void> {
    const all = stringify(merged(merged(this.#values(image ?? ""), this.#options.values ?? {}), values));
    const args = [verb, this.name, CHART, "-n", this.namespace, "--values", "-", wait, "--timeout", "600s"];
    await helm(args, all);
  }

  #values(image: string): Values {
    const colon = image.lastIndexOf(":");
    const realDrains = this.#options.realDrains ?? false;
    const component = (name: Component): Values => (realDrains ? { resources: SMALL[name]["resources"] } : SMALL[name]);
    return {
      image: { repository: image.slice(0, colon), tag: image.slice(colon + 1), pullPolicy: "Never" },
      operator: component("operator"),
      router: component("router"),
      gateway: {
        ...component("gateway"),
        ingress: { enabled: true, className: EDGE_CLASS, hosts: [this.ingressHost] },
        httpRoute: { enabled: true, parentRefs: [{ name: "edge" }], hostnames: [this.routeHost] },
      },
    };
  }

  #edgeGateway(): object {
    const port = Number(new URL(EDGE_URL ?? "").port || 80);
    return {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "Gateway",
      metadata: { name: "edge", namespace: this.namespace },
      spec: { gatewayClassName: EDGE_CLASS, listeners: [{ name: "http", protocol: "HTTP", port }] },
    };
  }
}

interface Item {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly spec?: { readonly containers: readonly { readonly image: string }[] };
  readonly status?: { readonly podIP?: string };
}

/** Values of the second win; objects are joined, lists are not. */
function merged(first: Values, second: Values): Values {
  const result: Record<string, unknown> = { ...first };
  for (const [key, value] of Object.entries(second)) {
    const before = result[key];
    result[key] = isObject(before) && isObject(value) ? merged(before, value) : value;
  }
  return result;
}

function isObject(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What helm printed; rejects with its stderr where it fails. The load goes on meanwhile. */
async function helm(args: readonly string[], input = ""): Promise<string> {
  const child = spawn(HELM, args);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  child.stdin.on("error", () => {}).end(input);
  const code = await new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject));
  if (code !== 0) throw new Error(`helm ${args.join(" ")} ended with ${code}: ${stdout}${stderr}`);
  return stdout;
}
