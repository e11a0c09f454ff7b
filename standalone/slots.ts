// Owns: which processes standalone mode consists of, and what each is told. Pure. A slot is the place of a process: the
// process in it may die and be started again (as another incarnation), the slot keeps its name.

import { join } from "node:path";
import { environmentOf } from "#core/runtime/config.ts";
import type { Config } from "#core/runtime/settings.ts";

export type Role = "operator" | "router" | "gateway" | "presence";

export interface Slot {
  /** `router-0`: also the name of its log and of its file in the peers folder. */
  readonly name: string;
  readonly role: Role;
  /** Script that is its process. */
  readonly entry: string;
  /** Its EARSHOT_* variables: all that it reads from its environment. */
  readonly environment: Readonly<Record<string, string>>;
}

/** What the supervisor decided for all of them. */
export interface Installation {
  /** With everything resolved: ports are real ones, the secret is there. */
  readonly config: Config;
  readonly peersFolder: string;
  readonly peerSecret: string;
  /** Name of this machine. */
  readonly node: string;
}

const ROOT = join(import.meta.dirname, "..");

const ENTRIES: Readonly<Record<Role, string>> = {
  operator: join(ROOT, "operator", "main.ts"),
  router: join(ROOT, "router", "main.ts"),
  gateway: join(ROOT, "gateway", "main.ts"),
  presence: join(ROOT, "gateway", "presence", "main.ts"),
};

/** One slot of a role. */
export function slotOf(role: Role, name: string, installation: Installation): Slot {
  const { config, peersFolder, peerSecret, node } = installation;
  const environment = environmentOf(role, {
    ...config,
    name,
    node,
    peers: `folder:${peersFolder}`,
    peerSecret,
  });
  // In standalone mode the public gRPC port belongs to the gateways; a router with this variable would open it too.
  if (role === "router") delete environment["EARSHOT_GRPC_PORT"];
  return { name, role, entry: ENTRIES[role], environment };
}

/** Every slot of an installation, in the order in which they are started. */
export function slotsOf(installation: Installation): readonly Slot[] {
  const { routers, gateways, redisUrl } = installation.config;
  const numbered = (role: Role, count: number): Slot[] =>
    Array.from({ length: count }, (_, index) => slotOf(role, `${role}-${index}`, installation));
  return [
    slotOf("operator", "operator-0", installation),
    ...numbered("router", routers),
    ...numbered("gateway", gateways),
    // Where Redis keeps presence, nobody would ask this process.
    ...numbered("presence", redisUrl === "" ? 1 : 0),
  ];
}
