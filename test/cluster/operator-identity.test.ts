// Everything that processes prove themselves by, from a real API server: the Secrets that the operator makes, mounted as a
// kubelet mounts them; tokens that the API server signs, for peers and for users; its keys, handed out by the operator.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { peerDomain, peerServerName } from "#core/fleet/peer-names.ts";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { HeldTls } from "#core/runtime/tls.ts";
import { CountSubscriptionsRequestSchema, RouterService } from "#proto/earshot/internal/v1/router_pb.ts";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import { INSTALLED_IN, KubeFleet, RELEASE } from "../harness/kube-fleet.ts";
import { makeTopic } from "../harness/kube-topics.ts";
import { publish } from "../harness/http.ts";
import { freePort } from "../harness/redis.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const ROOT = join(import.meta.dirname, "../..");
const INSTALLATION = { release: RELEASE, namespace: INSTALLED_IN };
const AUDIENCE = peerDomain(INSTALLATION);
const PATIENCE_MS = 60_000;
const TLS_SECRETS = ["operator", "router", "gateway"].map((role) => `${RELEASE}-${role}-tls`);

interface Secret {
  readonly type: string;
  readonly metadata: { readonly ownerReferences?: readonly { readonly kind: string; readonly name: string }[] };
  readonly data: Readonly<Record<string, string>>;
}

interface Pod {
  readonly child: ChildProcess;
  readonly probes: number;
  readonly http: number;
  output: string;
}

let kube: KubeFleet;
let internalPort: number;
const pods = new Map<string, Pod>();

async function secret(name: string): Promise<Secret | undefined> {
  const { status, body } = await kube.api.call("GET", `/api/v1/namespaces/${INSTALLED_IN}/secrets/${name}`);
  return status === 200 ? (body as Secret) : undefined;
}

/** A folder as a kubelet mounts a Secret. */
async function mount(name: string): Promise<string> {
  const folder = join(kube.processes.folder, name);
  mkdirSync(folder, { recursive: true });
  for (const [file, value] of Object.entries((await secret(name))?.data ?? {})) {
    writeFileSync(join(folder, file), Buffer.from(value, "base64"));
  }
  return folder;
}

async function start(role: "router" | "gateway", host: string): Promise<void> {
  const tokenFile = join(kube.processes.folder, `${role}-token`);
  writeFileSync(tokenFile, await kube.api.serviceAccountToken(INSTALLED_IN, `${RELEASE}-${role}`, AUDIENCE));
  const [probes, http] = [await freePort(), await freePort()];
  const operator = kube.processes.peer("operator-0").grpc;
  const child = spawn(process.execPath, [join(ROOT, role, "main.ts")], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"] ?? "",
      EARSHOT_NAME: `${role}-0`,
      EARSHOT_RELEASE: RELEASE,
      EARSHOT_NAMESPACE: INSTALLED_IN,
      EARSHOT_PEERS: `dns:operator=${operator},router=127.0.0.1:${internalPort}`,
      EARSHOT_PEER_AUDIENCE: AUDIENCE,
      EARSHOT_PEER_TOKEN_FILE: tokenFile,
      EARSHOT_TLS_FOLDER: await mount(`${RELEASE}-${role}-tls`),
      EARSHOT_INTERNAL_HOST: host,
      EARSHOT_PROBES_PORT: String(probes),
      ...(role === "router"
        ? { EARSHOT_INTERNAL_PORT: String(internalPort) }
        : { EARSHOT_PORT: String(http), EARSHOT_GRPC_PORT: "0" }),
    },
  });
  const pod: Pod = { child, probes, http, output: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      pod.output += chunk.toString();
    });
  }
  pods.set(role, pod);
}

function pod(role: string): Pod {
  const found = pods.get(role);
  if (found === undefined) throw new Error(`there is no ${role}`);
  return found;
}

async function isReady(role: string, host: string): Promise<boolean> {
  const { child, probes, output } = pod(role);
  if (child.exitCode !== null) throw new Error(`${role} ended: ${output}`);
  const answer = await fetch(`http://${host}:${probes}/readyz`).catch(() => undefined);
  return answer?.status === 200;
}

/** Says that a process serves, as the controller of EndpointSlices would. */
async function tellServing(role: string): Promise<void> {
  const service = `${RELEASE}-${role}`;
  const slice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: service, namespace: INSTALLED_IN, labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    endpoints: [
      {
        addresses: ["10.0.0.1"],
        conditions: { ready: true },
        targetRef: { kind: "Pod", namespace: INSTALLED_IN, name: `${role}-0` },
      },
    ],
    ports: [{ name: "grpc-internal", port: 7001 }],
  };
  const path = `/apis/discovery.k8s.io/v1/namespaces/${INSTALLED_IN}/endpointslices/${service}`;
  const headers = { "content-type": "application/apply-patch+yaml" };
  const { status } = await kube.api.call("PATCH", `${path}?fieldManager=test&force=true`, slice, headers);
  expect(status).toBeLessThan(300);
}

describe.skipIf(KUBE_ASSETS === undefined)("what processes prove themselves by", () => {
  beforeAll(async () => {
    internalPort = await freePort();
    const operatorEnv = { EARSHOT_PEER_AUDIENCE: AUDIENCE, EARSHOT_TLS_AUTHORITY: "true" };
    kube = await KubeFleet.start({ operators: 1, routers: 0, gateways: 0, operatorEnv });
  });

  afterAll(async () => {
    for (const { child } of pods.values()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    await kube?.close();
  });

  test("the operator makes its Secrets once, and they are its Deployment's", async () => {
    await until(async () => (await secret(TLS_SECRETS[2] ?? "")) !== undefined, "they are there", PATIENCE_MS);
    for (const name of [`${RELEASE}-ca`, ...TLS_SECRETS]) {
      const made = await secret(name);
      expect(made, name).toMatchObject({
        type: "kubernetes.io/tls",
        metadata: { ownerReferences: [{ kind: "Deployment", name: `${RELEASE}-operator` }] },
      });
      expect(Object.keys(made?.data ?? {}).toSorted()).toEqual(["ca.crt", "tls.crt", "tls.key"]);
    }
    const writes = kube.wrote().filter(({ objectRef }) => objectRef?.resource === "secrets");
    expect(writes.map(({ verb }) => verb)).toEqual(["create", "create", "create", "create"]);
  });

  test("with them and with tokens of the API server, processes find and believe each other", async () => {
    await kube.api.kubectl(["create", "namespace", "shop"]);
    await kube.api.kubectl(["create", "serviceaccount", "checkout", "-n", "shop"]);
    const subjects = [{ kind: "ServiceAccount", namespace: "shop", name: "checkout" }];
    await makeTopic(kube.api, "shop", "orders", { publishers: subjects, subscribers: subjects });
    await start("router", "127.0.0.1");
    await tellServing("router");
    await start("gateway", "127.0.0.2");
    await tellServing("gateway");
    await until(() => isReady("gateway", "127.0.0.2"), "the gateway is ready", PATIENCE_MS);
    await until(() => isReady("router", "127.0.0.1"), "the router is ready", PATIENCE_MS);
  });

  test("a ServiceAccount publishes and hears with its projected token; with a token for the API server it does not", async () => {
    const base = `http://127.0.0.1:${pod("gateway").http}`;
    const token = await kube.api.serviceAccountToken("shop", "checkout", "earshot");
    const ears = await openWebSocket(base.replace("http", "ws"), { topics: ["shop.orders"], token });
    const { status, json } = await publish(base, "shop.orders", { total: 12 }, { token });
    expect([status, json["delivered_to"]]).toEqual([200, 1]);
    const message = await ears.frames.next({ type: "message" });
    expect(message).toMatchObject({ publisher_id: "system:serviceaccount:shop:checkout", payload: { total: 12 } });
    await ears.close();
    const other = await kube.api.serviceAccountToken("shop", "checkout");
    expect(await publish(base, "shop.orders", 1, { token: other })).toMatchObject({ status: 401 });
  });

  test("another ServiceAccount calls nothing between processes, and who does not trust the authority calls nobody", async () => {
    const ask = async (token: string, authorities: string): Promise<string> => {
      const { "tls.crt": certificate = "", "tls.key": key = "" } = (await secret(`${RELEASE}-gateway-tls`))?.data ?? {};
      const text = (value: string): string => Buffer.from(value, "base64").toString("utf8");
      const source = new HeldTls();
      source.offer({ certificate: text(certificate), key: text(key), authorities: text(authorities) });
      const tls = { source, serverName: peerServerName("router", INSTALLATION) };
      const client = new GrpcClient(`127.0.0.1:${internalPort}`, { bearer: () => token, tls });
      try {
        await client.unary(RouterService.method.countSubscriptions, create(CountSubscriptionsRequestSchema), 5_000);
        return "served";
      } catch (error) {
        return String(error);
      } finally {
        client.close();
      }
    };
    const bundle = (await secret(`${RELEASE}-gateway-tls`))?.data["ca.crt"] ?? "";
    const gateway = await kube.api.serviceAccountToken(INSTALLED_IN, `${RELEASE}-gateway`, AUDIENCE);
    expect(await ask(gateway, bundle)).toBe("served");
    expect(await ask(gateway, "")).toContain("14 UNAVAILABLE");
    const stranger = await kube.api.serviceAccountToken("shop", "checkout", AUDIENCE);
    expect(await ask(stranger, bundle)).toContain("16 UNAUTHENTICATED");
    const operator = await kube.api.serviceAccountToken(INSTALLED_IN, `${RELEASE}-operator`, AUDIENCE);
    expect(await ask(operator, bundle)).toContain("7 PERMISSION_DENIED");
    const plain = await kube.api.serviceAccountToken(INSTALLED_IN, `${RELEASE}-gateway`);
    expect(await ask(plain, bundle)).toContain("aud must name");
  });

  test("a Secret that somebody removed is made again, and nothing else is written", async () => {
    const start = kube.api.auditEnd();
    const before = (await secret(`${RELEASE}-router-tls`))?.data["tls.crt"];
    await kube.api.call("DELETE", `/api/v1/namespaces/${INSTALLED_IN}/secrets/${RELEASE}-router-tls`);
    await until(async () => (await secret(`${RELEASE}-router-tls`)) !== undefined, "it is there again", 100_000);
    expect((await secret(`${RELEASE}-router-tls`))?.data["tls.crt"]).not.toBe(before);
    const writes = kube.wrote(start).filter(({ objectRef }) => objectRef?.resource === "secrets");
    expect(writes.map(({ verb, objectRef }) => `${verb} ${objectRef?.name ?? ""}`)).toEqual([
      `create ${RELEASE}-router-tls`,
    ]);
  });
});
