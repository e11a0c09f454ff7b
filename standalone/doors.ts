// Owns: the public ports before a gateway has them. Finds out that they are free, which one a 0 means, and what is wrong
// with an address, so that the user hears of it from one process and at once. How gateways then share the ports is
// decided here too: the kernel spreads connections over the sockets of all gateways (SO_REUSEPORT, Linux), or the
// supervisor keeps the ports and hands connections over (handoff.ts).

import { once } from "node:events";
import { BlockList, createServer, isIP, type Server } from "node:net";
import type { AddressInfo } from "node:net";
import { messageOf } from "#core/runtime/errors.ts";
import type { DoorName } from "#core/runtime/parent.ts";
import { CannotStart, EXIT_WRONG_SETTING } from "./cannot-start.ts";

export type PortSharing = "reusePort" | "handoff";

/** What `auto` means here. Other systems have the option too, but do not spread connections with it. */
export function resolvePortSharing(asked: "auto" | PortSharing, platform: NodeJS.Platform): PortSharing {
  if (asked === "auto") return platform === "linux" ? "reusePort" : "handoff";
  if (asked === "reusePort" && platform !== "linux") {
    throw new CannotStart(
      "reusePort (--port-sharing, EARSHOT_PORT_SHARING) works on Linux only; leave it out, or choose handoff",
      EXIT_WRONG_SETTING,
    );
  }
  return asked;
}

export type Doors = Readonly<Record<DoorName, Server>>;

const SETTING_OF: Readonly<Record<DoorName, string>> = {
  http: "--port or EARSHOT_PORT",
  grpc: "--grpc-port or EARSHOT_GRPC_PORT",
};

/** Connections the kernel keeps for us while the event loop is busy. */
const BACKLOG = 1024;

/**
 * Listens on both ports; connections are not read from. Where the kernel shares ports the gateways can listen beside us,
 * and nobody else can take a port before they do. Throws CannotStart, with nothing left open.
 */
export async function openDoors(
  host: string,
  ports: Readonly<Record<DoorName, number>>,
  sharing: PortSharing,
): Promise<Doors> {
  const http = await open("http", host, ports.http, sharing);
  try {
    return { http, grpc: await open("grpc", host, ports.grpc, sharing) };
  } catch (error) {
    http.close();
    throw error;
  }
}

export function portsOf(doors: Doors): Readonly<Record<DoorName, number>> {
  return { http: (doors.http.address() as AddressInfo).port, grpc: (doors.grpc.address() as AddressInfo).port };
}

/**
 * Stops listening. The ports are free at once; what was handed over lives on in the gateways (Node would tell of the
 * end of a server only after the end of its last connection, wherever that is by now).
 */
export function closeDoors(doors: Doors): void {
  doors.http.close();
  doors.grpc.close();
}

async function open(door: DoorName, host: string, port: number, sharing: PortSharing): Promise<Server> {
  const shared = sharing === "reusePort";
  try {
    if (!shared || port === 0) return await listen(host, port, shared);
    // Alone first: a port that somebody else shares would be shared with them too.
    const alone = await listen(host, port, false);
    alone.close();
    await once(alone, "close");
    return await listen(host, port, true);
  } catch (error) {
    throw new CannotStart(sentenceOf(door, host, port, error));
  }
}

async function listen(host: string, port: number, reusePort: boolean): Promise<Server> {
  const server = createServer({ pauseOnConnect: true });
  // Too early, while nobody could answer; handoff.ts puts itself in this place.
  server.on("connection", (socket) => socket.destroy());
  server.listen({ host, port, backlog: BACKLOG, reusePort, exclusive: true });
  await once(server, "listening");
  return server;
}

function sentenceOf(door: DoorName, host: string, port: number, error: unknown): string {
  const setting = SETTING_OF[door];
  const code = (error as NodeJS.ErrnoException).code ?? "";
  switch (code) {
    case "EADDRINUSE":
      return `port ${port} on ${host} is in use by another program; choose another one with ${setting} (0: any free one)`;
    case "EACCES":
      return `port ${port} on ${host} may not be opened by this user; choose one from 1024 up with ${setting}`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `${host} is not an address of this machine (--host, EARSHOT_HOST)`;
    default:
      return `port ${port} on ${host} cannot be opened (${setting}): ${messageOf(error)}`;
  }
}

/** RFC 6890; an IPv4 address in an IPv6 one counts as the IPv4 address (BlockList does that). */
const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Whether an address is reached from this machine alone. */
export function isLoopback(host: string): boolean {
  const version = isIP(host);
  return version === 0 ? host === "localhost" : LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}
