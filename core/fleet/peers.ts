// Owns: how processes of one installation find each other, as the setting `peers` says: `folder:<path>` on one machine
// (peers-folder.ts), `dns:operator=<host>:<port>,router=<host>:<port>` in Kubernetes (peers-dns.ts).

import { ConfigError } from "../runtime/config.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import type { PeerDirectory, PeerEndpoint } from "./peer-endpoint.ts";
import { parseDnsPeers, watchDns } from "./peers-dns.ts";
import { announceInFolder, watchFolder } from "./peers-folder.ts";

export type { PeerDirectory, PeerEndpoint, PeerRole } from "./peer-endpoint.ts";

/**
 * Tells the others where this process is, until the answer is closed; where they find it by DNS there is nothing to
 * tell. Throws ConfigError.
 */
export function announcePeer(setting: string, endpoint: PeerEndpoint): Promise<Component> {
  const place = placeOf(setting);
  return Promise.resolve(
    place.kind === "folder" ? announceInFolder(place.path, endpoint) : { close: () => Promise.resolve() },
  );
}

/** Watches who the others are. Throws ConfigError. */
export function watchPeers(setting: string, log: Log): PeerDirectory {
  const place = placeOf(setting);
  return place.kind === "folder" ? watchFolder(place.path, log) : watchDns(place.names, { log });
}

type Place =
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "dns"; readonly names: ReturnType<typeof parseDnsPeers> };

function placeOf(setting: string): Place {
  const [, kind, rest = ""] = /^(folder|dns):(.+)$/.exec(setting) ?? [];
  if (kind === "folder") return { kind, path: rest };
  if (kind === "dns") return { kind, names: parseDnsPeers(rest) };
  throw new ConfigError(
    `peers (--peers, EARSHOT_PEERS) must be folder:<path> or dns:operator=<host>:<port>,router=<host>:<port>, not ${JSON.stringify(setting)}`,
  );
}
