// Owns: putting together by what this process proves itself to others of its installation, as settings say: a secret that
// all share (standalone mode), or in Kubernetes the token of its ServiceAccount, over TLS whose names say who is who.
// Called once by each main. Invariant: a token never leaves in plain text.
// Elsewhere: judging tokens (peer-judge.ts), certificates in a folder (core/runtime/tls-folder.ts).

import type { Clock } from "../runtime/clock.ts";
import { ConfigError } from "../runtime/config.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { type Registry, readGauge } from "../runtime/metrics.ts";
import { type PeerIdentity, type PeerServer, secretIdentity } from "../runtime/peer-identity.ts";
import type { Config } from "../runtime/settings.ts";
import { expiryOf, type TlsSource } from "../runtime/tls.ts";
import { TlsFolder } from "../runtime/tls-folder.ts";
import { TokenFile } from "../runtime/token-file.ts";
import { PeerJudge } from "./peer-judge.ts";
import { type Installation, peerServerName } from "./peer-names.ts";
import type { ServiceAccounts } from "./service-accounts.ts";

export interface PeerIdentityOptions {
  readonly config: Pick<
    Config,
    "peerSecret" | "peerTokenFile" | "peerAudience" | "tlsFolder" | "release" | "namespace"
  >;
  /** Whose tokens are believed; its owner is told of new keys. */
  readonly accounts: ServiceAccounts;
  /** In the place of tlsFolder: the operator that makes certificates has none. */
  readonly tls?: TlsSource | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

/** Throws ConfigError. Whoever calls closes it. */
export function createPeerIdentity(options: PeerIdentityOptions): PeerIdentity & Component {
  const { config, clock, log, registry } = options;
  const folder = openFolder(options);
  const tls = options.tls ?? folder;
  const close = async (): Promise<void> => folder?.close();
  const help = "When this process's certificate towards others ends, in seconds since the epoch; 0: it has none.";
  readGauge(registry, "earshot_peer_certificate_expiry_seconds", help, () =>
    tls?.material === undefined ? 0 : expiryOf(tls.material) / 1000,
  );
  if (config.peerAudience === "") return { ...bySecret(config, tls), close };
  if (tls === undefined) {
    throw new ConfigError(
      "tlsFolder (--tls-folder, EARSHOT_TLS_FOLDER) must be set with peerAudience: tokens need TLS",
    );
  }
  const installation = installationOf(config);
  const setting = "peerTokenFile (--peer-token-file, EARSHOT_PEER_TOKEN_FILE)";
  const file = config.peerTokenFile;
  const token = file === "" ? undefined : new TokenFile({ setting, path: file, clock, log });
  const { accounts } = options;
  const { judge } = new PeerJudge({ installation, audience: config.peerAudience, accounts, clock, log, registry });
  return {
    toward: (server) => ({ bearer: () => token?.token ?? "", tls: clientTls(tls, server, installation) }),
    judge,
    tls,
    close,
  };
}

function openFolder({ config, tls, clock, log }: PeerIdentityOptions): TlsFolder | undefined {
  if (tls !== undefined || config.tlsFolder === "") return undefined;
  return new TlsFolder({ setting: "tlsFolder", path: config.tlsFolder, clock, log });
}

function bySecret(config: PeerIdentityOptions["config"], tls: TlsSource | undefined): PeerIdentity {
  const { peerSecret } = config;
  if (config.peerTokenFile !== "") {
    throw new ConfigError("peerAudience (--peer-audience, EARSHOT_PEER_AUDIENCE) must be set with peerTokenFile");
  }
  if (peerSecret === "") throw new ConfigError("peerSecret (--peer-secret, EARSHOT_PEER_SECRET) must be set");
  const plain = secretIdentity(peerSecret);
  if (tls === undefined) return plain;
  const installation = installationOf(config);
  const toward: PeerIdentity["toward"] = (server) => ({
    bearer: () => peerSecret,
    tls: clientTls(tls, server, installation),
  });
  return { toward, judge: plain.judge, tls };
}

function installationOf({ release, namespace }: Installation): Installation {
  if (release === "" || namespace === "") {
    throw new ConfigError(
      "release and namespace (EARSHOT_RELEASE, EARSHOT_NAMESPACE) must be set with TLS between processes",
    );
  }
  return { release, namespace };
}

/** The presence process, which standalone mode alone has, is on the same machine. */
function clientTls(source: TlsSource, server: PeerServer, installation: Installation) {
  return server === "presence" ? undefined : { source, serverName: peerServerName(server, installation) };
}
