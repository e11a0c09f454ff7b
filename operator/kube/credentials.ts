// Owns: @kubernetes/client-node, of which only the configuration and its ways to prove who we are are used: a pod's
// ServiceAccount, or a kubeconfig file. Loaded when it is asked for: the library is 60 MB and a second that standalone
// mode need not pay. What it reads from files (tokens, certificates) is read anew every half minute, and at once when the
// API server refused it. Elsewhere: connections (transport.ts).

import type { RequestOptions } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import type { Clock } from "#core/runtime/clock.ts";
import { ConfigError } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";

/** How to reach the API server, and as whom, now. */
export interface Credentials {
  readonly server: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: Readonly<Record<string, unknown>>;
  /** An HTTP proxy on the way. */
  readonly proxyUrl: string | undefined;
  /** The same as long as connections made with the ones before are still right. */
  readonly fingerprint: string;
}

/** Milliseconds for which what files say is taken as it was: a bound token is renewed when 80 % of its hour have passed. */
const FRESH_MS = 30_000;

/** Milliseconds between two loads that a refusal asks for: the program that makes a token may be slow. */
const RELOAD_MS = 1_000;

/** What the library takes when nothing is configured: nobody means that one. */
const NOTHING_CONFIGURED = "http://localhost:8080";

export class KubeCredentials {
  readonly #clock: Clock;
  #config: KubeConfig | undefined;
  #reloadedAtMs = Number.NEGATIVE_INFINITY;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<Credentials> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Throws ConfigError where there is no configuration, or one that cannot be used. */
  read(): Promise<Credentials> {
    const nowMs = this.#clock.monotonic();
    if (this.#reading !== undefined && nowMs - this.#readAtMs < FRESH_MS) return this.#reading;
    this.#readAtMs = nowMs;
    const reading = this.#read();
    this.#reading = reading;
    reading.catch(() => {
      if (this.#reading === reading) this.#reading = undefined;
    });
    return reading;
  }

  /** The API server took them for wrong: the next read loads everything anew. */
  reload(): void {
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#reloadedAtMs < RELOAD_MS) return;
    this.#reloadedAtMs = nowMs;
    this.#config = undefined;
    this.#reading = undefined;
  }

  async #read(): Promise<Credentials> {
    this.#config ??= await loadConfig();
    const config = this.#config;
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new ConfigError("the kubeconfig names no current context: set one, or KUBECONFIG");
    const options: RequestOptions = {};
    try {
      await config.applyToHTTPSOptions(options);
    } catch (error) {
      throw new ConfigError(`the Kubernetes configuration cannot be used: ${messageOf(error)}`);
    }
    const { ca, cert, key, servername, rejectUnauthorized, auth } = options;
    const tls = Object.fromEntries(
      Object.entries({ ca, cert, key, servername, rejectUnauthorized }).filter(([, value]) => value !== undefined),
    );
    const { proxyUrl } = cluster;
    if (proxyUrl?.startsWith("socks") === true) {
      throw new ConfigError("the kubeconfig names a SOCKS proxy (proxy-url): only an HTTP proxy can be used");
    }
    const fingerprint = JSON.stringify([cluster.server, proxyUrl, tls]);
    return { server: new URL(cluster.server), headers: headersOf(options, auth), tls, proxyUrl, fingerprint };
  }
}

async function loadConfig(): Promise<KubeConfig> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  try {
    config.loadFromDefault();
  } catch (error) {
    throw new ConfigError(`the kubeconfig cannot be read: ${messageOf(error)}`);
  }
  if (config.getCurrentCluster()?.server === NOTHING_CONFIGURED) {
    throw new ConfigError(
      "no Kubernetes API server is configured: run in a pod with a ServiceAccount token, or set KUBECONFIG to a kubeconfig file",
    );
  }
  return config;
}

function headersOf({ headers }: RequestOptions, auth: string | null | undefined): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {})) found[name.toLowerCase()] = String(value).trim();
  if (typeof auth === "string") found["authorization"] = `Basic ${Buffer.from(auth).toString("base64")}`;
  return found;
}
