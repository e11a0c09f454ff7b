// Owns: what is done to an installation in a cluster while it is under load, each drill by its name, and what it promises.
// Used by test/cluster/full-rolling.test.ts (once each, short drains) and bench/drills.ts (several times, the chart's own).
// Elsewhere: the load and its counts (kube-load.ts), the installation (kube-release.ts).

import { createHash, X509Certificate } from "node:crypto";
import { networkInterfaces } from "node:os";
import { connect } from "node:tls";
import type { KubeAccess } from "./kube-access.ts";
import { KubeLoad, type LoadFigures, type LoadSize, prepareLoad } from "./kube-load.ts";
import { IMAGE_NEXT, KubeRelease, type ReleaseOptions } from "./kube-release.ts";
import { HAS_REDIS, RedisServer } from "./redis.ts";
import { until } from "./until.ts";

/** Port of routers for processes of ours, with the certificate of their Secret. */
const INTERNAL_PORT = 7001;

/** Milliseconds until the kubelet has brought a changed Secret to its pods: a minute or two, on a busy machine more. */
const MOUNTED_MS = 300_000;

/** An installation for drills, with all that they need. */
export interface Drilled {
  readonly release: KubeRelease;
  /** Where member lists are kept; undefined: there is no redis-server here, or pods cannot reach this machine. */
  readonly redis: RedisServer | undefined;
  close(): Promise<void>;
}

export interface KubeDrill {
  readonly name: string;
  readonly what: string;
  /** Clients are told to move; else nobody is. */
  readonly moves?: boolean;
  /** Why it cannot be done here; undefined: it can. */
  skipped?(drilled: Drilled): string | undefined;
  /** Resolves when everything is whole again. */
  event(drilled: Drilled, load: KubeLoad): Promise<void>;
}

const ALL = Number.POSITIVE_INFINITY;

export const KUBE_DRILLS: readonly KubeDrill[] = [
  {
    name: "router-deleted",
    what: "one router pod is deleted",
    event: ({ release }) => release.deletePods("router"),
  },
  { name: "routers-rolled", what: "the routers' Deployment is rolled", event: ({ release }) => release.roll("router") },
  {
    name: "routers-at-once",
    what: "all router pods are deleted at once",
    event: ({ release }) => release.deletePods("router", ALL),
  },
  {
    name: "gateways-rolled",
    what: "the gateways' Deployment is rolled",
    moves: true,
    event: ({ release }) => release.roll("gateway"),
  },
  {
    name: "operators-rolled",
    what: "the operators' Deployment is rolled",
    event: ({ release }) => release.roll("operator"),
  },
  {
    name: "upgrade",
    what: "`helm upgrade` of everything to another image",
    moves: true,
    skipped: () => (IMAGE_NEXT === undefined ? "EARSHOT_TEST_IMAGE_NEXT names no other image" : undefined),
    event: ({ release }) => release.upgrade(IMAGE_NEXT),
  },
  {
    name: "certificates",
    what: "the routers' certificate is renewed, then one router pod is deleted",
    event: certificatesRenewed,
  },
  {
    name: "redis-restarted",
    what: "Redis dies, and comes back empty",
    skipped: ({ redis }) => (redis === undefined ? "there is no redis-server here that pods reach" : undefined),
    event: async ({ redis }, load) => {
      await redis?.kill();
      await load.flows();
      await redis?.start();
      await load.flows();
    },
  },
];

/** Puts up an installation with everything that drills need; a Redis of this machine where pods reach it. */
export async function openDrilled(kube: KubeAccess, options: ReleaseOptions): Promise<Drilled> {
  const redis = await redisForPods(kube);
  const values = {
    crds: { enabled: false },
    watch: { namespaces: [options.namespace] },
    ...(redis === undefined ? {} : { redis: { url: redis.url } }),
    ...options.values,
  };
  try {
    const release = await KubeRelease.install(kube, { ...options, values });
    await prepareLoad(release, redis === undefined ? "Count" : "Members");
    const close = async (): Promise<void> => {
      await release.uninstall();
      await redis?.server.close();
    };
    return { release, redis: redis?.server, close };
  } catch (error) {
    await redis?.server.close();
    throw error;
  }
}

/** Does one drill under load: what was counted. */
export async function drill(drilled: Drilled, one: KubeDrill, size?: LoadSize): Promise<LoadFigures> {
  const load = await KubeLoad.start(drilled.release, size);
  try {
    await one.event(drilled, load);
    await load.flows();
    await load.stop();
    return load.figures();
  } finally {
    await load.close();
  }
}

async function certificatesRenewed({ release }: Drilled): Promise<void> {
  const { kube, namespace } = release;
  const secret = `${release.of("router")}-tls`;
  const before = await certificateOf(release, secret);
  await kube.kubectl(["delete", "secret", secret, "-n", namespace]);
  const isNew = async (): Promise<string | undefined> => {
    const now = await certificateOf(release, secret);
    return now === undefined || now === before ? undefined : now;
  };
  const made = await until(isNew, "the operator makes a new certificate", MOUNTED_MS);
  for (const address of await release.podAddresses("router")) {
    const isShown = async (): Promise<boolean> => (await shownAt(address)) === made;
    await until(isShown, `the router at ${address} shows its new certificate`, MOUNTED_MS);
  }
  await release.deletePods("router");
}

/** Fingerprint of the certificate in a Secret. */
async function certificateOf({ kube, namespace }: KubeRelease, secret: string): Promise<string | undefined> {
  const args = ["get", "secret", secret, "-n", namespace, "--ignore-not-found", "-o", "jsonpath={.data.tls\\.crt}"];
  const text = await kube.kubectl(args);
  if (text === "") return undefined;
  return fingerprint(new X509Certificate(Buffer.from(text, "base64")).raw);
}

/** Fingerprint of the certificate that a process shows whoever dials it; undefined: nobody answers. */
function shownAt(host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    // What it proves is not judged here, only which one it is.
    const socket = connect({ host, port: INTERNAL_PORT, rejectUnauthorized: false, ALPNProtocols: ["h2"] }, () => {
      resolve(fingerprint(socket.getPeerCertificate().raw));
      socket.destroy();
    });
    socket.on("error", () => resolve(undefined));
  });
}

function fingerprint(der: Buffer): string {
  return createHash("sha256").update(der).digest("hex");
}

interface RedisForPods {
  readonly server: RedisServer;
  readonly url: string;
}

async function redisForPods(kube: KubeAccess): Promise<RedisForPods | undefined> {
  if (!HAS_REDIS) return undefined;
  const path = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}';
  const node = await kube.kubectl(["get", "nodes", "-o", `jsonpath=${path}`]);
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  if (!own.some(({ address }) => address === node)) return undefined;
  const server = await RedisServer.start({ args: ["--bind", "127.0.0.1", node, "--protected-mode", "no"] });
  return { server, url: `redis://${node}:${server.port}` };
}
