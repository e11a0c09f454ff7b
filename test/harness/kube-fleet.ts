// Owns: an installation in Kubernetes without pods: an API server of its own, real operators that keep everything there with
// the rights that the chart gives them, and routers and gateways as processes of this machine. What is missing of a
// cluster is done by hand here: EndpointSlices say which process is ready, as their controller would.
// Elsewhere: the processes (fleet.ts), the API server (api-server.ts).

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { ApiServer, type ApiServerOptions } from "./api-server.ts";
import { type FleetOptions, TestFleet } from "./fleet.ts";
import type { AuditEntry, KubeAccess } from "./kube-access.ts";
import { installCrds } from "./kube-setup.ts";
import { freePort } from "./redis.ts";

/** As test/golden/chart/default.yaml has them. */
export const RELEASE = "live-earshot";
export const INSTALLED_IN = "earshot";
export const OPERATOR_USER = `system:serviceaccount:${INSTALLED_IN}:${RELEASE}-operator`;

const CHART = join(import.meta.dirname, "../golden/chart/default.yaml");

export interface KubeFleetOptions
  extends Pick<FleetOptions, "routers" | "gateways" | "operators" | "env">,
    ApiServerOptions {
  /** Of the operators alone. */
  readonly operatorEnv?: Readonly<Record<string, string>>;
}

type Role = "router" | "gateway";

export class KubeFleet {
  readonly server: ApiServer;
  readonly processes: TestFleet;
  readonly #ports = new Map<string, { readonly internal: number; readonly probes: number }>();
  /** Readiness by name, as EndpointSlices have it. */
  readonly #endpoints: Readonly<Record<Role, Map<string, boolean>>> = { router: new Map(), gateway: new Map() };

  private constructor(server: ApiServer, options: KubeFleetOptions) {
    this.server = server;
    const { operatorEnv = {}, controllers: _, ...fleet } = options;
    this.processes = new TestFleet({
      ...fleet,
      topics: [],
      presence: false,
      envOf: (name) => ({ ...this.#environmentOf(name), ...(name.startsWith("operator") ? operatorEnv : {}) }),
    });
  }

  /** Starts everything; resolves when all of it is ready. */
  static async start(options: KubeFleetOptions = {}): Promise<KubeFleet> {
    const server = await ApiServer.start(options);
    const fleet = new KubeFleet(server, options);
    try {
      await fleet.#install();
      const { processes } = fleet;
      await Promise.all(processes.names("operator").map((name) => fleet.start(name)));
      await Promise.all([...processes.names("router"), ...processes.names("gateway")].map((name) => fleet.start(name)));
      return fleet;
    } catch (error) {
      await fleet.close();
      throw error;
    }
  }

  get api(): KubeAccess {
    return this.server.access;
  }

  /** Starts a process that is not running; resolves when it is ready, and Kubernetes has been told. */
  async start(name: string): Promise<void> {
    if (name.startsWith("operator")) {
      await this.#choosePorts(name);
      await this.processes.start(name);
      this.#announce(name);
      return;
    }
    await this.#endpoint(name, false);
    await this.processes.start(name);
    await this.#endpoint(name, true);
  }

  /** Tells Kubernetes which routers and gateways run, where its API was away meanwhile. */
  async tellEndpoints(): Promise<void> {
    for (const role of ["router", "gateway"] as const) {
      for (const name of this.#endpoints[role].keys()) {
        this.#endpoints[role].set(name, this.processes.isRunning(name));
      }
      await this.#writeSlice(role);
    }
  }

  /** Ends a process at once; Kubernetes sees it not ready. */
  async kill(name: string): Promise<void> {
    await this.killUnseen(name);
    if (!name.startsWith("operator")) await this.#endpoint(name, false);
  }

  /** Ends a process at once, and Kubernetes hears nothing of it. */
  async killUnseen(name: string): Promise<void> {
    this.processes.kill(name);
    await this.processes.ended(name);
  }

  /** A pod more: its name. */
  async add(role: Role): Promise<string> {
    const name = this.processes.addPlace(role);
    await this.start(name);
    return name;
  }

  /** A pod less: its place is gone. */
  async remove(name: string): Promise<void> {
    await this.killUnseen(name);
    this.#endpoints[roleOf(name)].delete(name);
    await this.#writeSlice(roleOf(name));
  }

  /** What operators have asked of the API server since `start` (see KubeAccess.auditEnd). */
  asked(start = 0): readonly AuditEntry[] {
    return this.api.audit(start).filter(({ user }) => user.username === OPERATOR_USER);
  }

  /** Of those, what changes anything. */
  wrote(start = 0): readonly AuditEntry[] {
    return this.asked(start).filter(({ verb }) => !["get", "list", "watch"].includes(verb));
  }

  async close(): Promise<void> {
    await this.processes.close();
    await this.server.close();
  }

  async #install(): Promise<void> {
    await installCrds(this.server.address);
    await this.api.kubectl(["create", "namespace", INSTALLED_IN]);
    const wanted = /^((Cluster)?Role(Binding)?|ServiceAccount)$/;
    const items = parseAllDocuments(readFileSync(CHART, "utf8"))
      .map((document) => document.toJS() as { kind: string; metadata: { name: string } })
      .filter(
        ({ kind, metadata }) => wanted.test(kind) || `${kind}/${metadata.name}` === `Deployment/${RELEASE}-operator`,
      );
    await this.api.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    const token = await this.api.serviceAccountToken(INSTALLED_IN, `${RELEASE}-operator`);
    const config = JSON.parse(readFileSync(this.server.address.kubeconfig, "utf8")) as Record<string, unknown>;
    writeFileSync(this.#kubeconfig, JSON.stringify({ ...config, users: [{ name: "admin", user: { token } }] }));
  }

  get #kubeconfig(): string {
    return join(this.server.folder, "operator-kubeconfig");
  }

  async #choosePorts(name: string): Promise<void> {
    if (!this.#ports.has(name)) this.#ports.set(name, { internal: await freePort(), probes: await freePort() });
  }

  #environmentOf(name: string): Readonly<Record<string, string>> {
    const ports = this.#ports.get(name);
    if (ports === undefined) return {};
    return {
      EARSHOT_STORE: "Kubernetes",
      EARSHOT_RELEASE: RELEASE,
      EARSHOT_NAMESPACE: INSTALLED_IN,
      EARSHOT_INTERNAL_PORT: String(ports.internal),
      EARSHOT_PROBES_PORT: String(ports.probes),
      KUBECONFIG: this.#kubeconfig,
    };
  }

  /** In the place of the operators' headless Service. Its address stands for its incarnation, as where DNS names it. */
  #announce(name: string): void {
    const ports = this.#ports.get(name);
    if (ports === undefined) throw new Error(`${name} was not started`);
    const grpc = `127.0.0.1:${ports.internal}`;
    const probes = `127.0.0.1:${ports.probes}`;
    const pid = this.processes.pid(name);
    const endpoint = { name, role: "operator", incarnation: grpc, pid, grpc, probes, node: "", zone: "" };
    writeFileSync(join(this.processes.peersFolder, `${name}.json`), JSON.stringify(endpoint));
  }

  async #endpoint(name: string, ready: boolean): Promise<void> {
    this.#endpoints[roleOf(name)].set(name, ready);
    await this.#writeSlice(roleOf(name));
  }

  async #writeSlice(role: Role): Promise<void> {
    const service = `${RELEASE}-${role}`;
    const slice = {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: service, namespace: INSTALLED_IN, labels: { "kubernetes.io/service-name": service } },
      addressType: "IPv4",
      endpoints: [...this.#endpoints[role]].map(([name, ready], index) => ({
        // Nobody dials it: processes say themselves where they are.
        addresses: [`10.0.0.${index + 1}`],
        conditions: { ready },
        targetRef: { kind: "Pod", namespace: INSTALLED_IN, name },
        zone: `zone-${index % 2}`,
      })),
      ports: [{ name: "grpc-internal", port: 7001 }],
    };
    const path = `/apis/discovery.k8s.io/v1/namespaces/${INSTALLED_IN}/endpointslices/${service}`;
    const headers = { "content-type": "application/apply-patch+yaml" };
    const { status, body } = await this.api.call("PATCH", `${path}?fieldManager=test&force=true`, slice, headers);
    if (status >= 300) throw new Error(`the EndpointSlice was refused: ${JSON.stringify(body)}`);
  }
}

function roleOf(name: string): Role {
  return name.startsWith("router") ? "router" : "gateway";
}
