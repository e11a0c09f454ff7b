// Owns: TLS at the public gRPC port, where the setting publicTlsFolder names its certificate. HTTP stays plain: an ingress
// stands before it. Elsewhere: the folder (core/runtime/tls-folder.ts).

import type { Clock } from "../runtime/clock.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { type Registry, readGauge } from "../runtime/metrics.ts";
import type { Config } from "../runtime/settings.ts";
import { expiryOf, type TlsSource } from "../runtime/tls.ts";
import { TlsFolder } from "../runtime/tls-folder.ts";

interface PublicTlsOptions {
  readonly config: Pick<Config, "publicTlsFolder">;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

/** Undefined where there is none. Throws ConfigError. Whoever calls closes it. */
export function openPublicTls(options: PublicTlsOptions): (TlsSource & Component) | undefined {
  const { config, registry, ...parts } = options;
  const path = config.publicTlsFolder;
  const folder = path === "" ? undefined : new TlsFolder({ setting: "publicTlsFolder", path, ...parts });
  const help = "When the certificate of the public gRPC port ends, in seconds since the epoch; 0: it has none.";
  readGauge(registry, "earshot_public_certificate_expiry_seconds", help, () =>
    folder?.material === undefined ? 0 : expiryOf(folder.material) / 1000,
  );
  return folder;
}
