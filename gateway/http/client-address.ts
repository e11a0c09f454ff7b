// Owns: whose address a call counts for (for limits alone: see core/edge/limit-address.ts). Only proxies of the setting
// trustedProxies are believed, from the nearest one outwards: the first address in X-Forwarded-For (read from its end)
// that is not a trusted proxy is the client. Used by HTTP, SSE and the WebSocket upgrade.

import { BlockList, isIP } from "node:net";
import { limitAddress } from "#core/edge/limit-address.ts";

/** Entries of X-Forwarded-For that are looked at: more proxies in a row than anybody has. */
const HOPS_MAX = 16;

/** The trusted proxies of a setting: addresses and CIDR ranges, whose form the setting has checked. */
export function trustedProxies(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = "", prefix] = entry.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return list;
}

/** What the client's address counts as; `remote` is the socket's peer. */
export function clientAddress(
  remote: string | undefined,
  forwardedFor: string | readonly string[] | undefined,
  trusted: BlockList,
): string {
  return limitAddress(nearestUntrusted(remote, forwardedFor, trusted));
}

function nearestUntrusted(
  remote: string | undefined,
  forwardedFor: string | readonly string[] | undefined,
  trusted: BlockList,
): string {
  let address = plain(remote ?? "");
  if (forwardedFor === undefined || !isTrusted(address, trusted)) return address;
  const hops = (typeof forwardedFor === "string" ? forwardedFor : forwardedFor.join(",")).split(",");
  for (let index = hops.length - 1; index >= Math.max(0, hops.length - HOPS_MAX); index--) {
    const hop = plain(withoutPort((hops[index] ?? "").trim()));
    if (isIP(hop) === 0) return address;
    address = hop;
    if (!isTrusted(address, trusted)) return address;
  }
  return address;
}

/** Some proxies write the client's port too: `192.0.2.7:1234`, `[2001:db8::1]:1234`, and some brackets alone. */
function withoutPort(hop: string): string {
  return /^(?:\[([^\]]*)\]|([\d.]+))(?::\d{1,5})?$/.exec(hop)?.slice(1).find(Boolean) ?? hop;
}

/** An IPv4 address that came over an IPv6 socket, as IPv4. */
function plain(address: string): string {
  return address.startsWith("::ffff:") && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
}

function isTrusted(address: string, trusted: BlockList): boolean {
  const family = isIP(address);
  return family !== 0 && trusted.check(address, family === 6 ? "ipv6" : "ipv4");
}
