// Owns: what an address counts as for limits: itself for IPv4, its /64 for IPv6, since that is the least that one house or
// one machine gets (RFC 6177), and it may use a new address of it for each connection (RFC 8981). An IPv4 address in an
// IPv6 one is that IPv4 address. Pure. Used by every door; never for telling who somebody is.

import { isIPv6 } from "node:net";

const GROUPS = 8;
const NETWORK_GROUPS = 4;

/** `::ffff:0:0/96` (RFC 4291, 2.5.5.2) and `64:ff9b::/96` (RFC 6052, 2.1): what stands before an IPv4 address. */
const IPV4_INSIDE: readonly string[] = ["0:0:0:0:0:ffff", "64:ff9b:0:0:0:0"];

/** Text that is no address is its own key. */
export function limitAddress(address: string): string {
  if (!isIPv6(address)) return address;
  const [bare = ""] = address.split("%");
  const groups = groupsOf(bare);
  const texts = groups.map((group) => group.toString(16));
  if (IPV4_INSIDE.includes(texts.slice(0, 6).join(":"))) return dotted(groups[6] ?? 0, groups[7] ?? 0);
  // Neighbours on one wire (fe80::/10) all have the same network: each counts by itself.
  if (((groups[0] ?? 0) & 0xffc0) === 0xfe80) return texts.join(":");
  return `${texts.slice(0, NETWORK_GROUPS).join(":")}::/64`;
}

/** The eight numbers of an IPv6 address (RFC 4291, 2.2), whose form was checked. */
function groupsOf(address: string): readonly number[] {
  const [before = "", after] = address.split("::");
  const head = numbersOf(before);
  if (after === undefined) return head;
  const tail = numbersOf(after);
  return [...head, ...Array.from({ length: GROUPS - head.length - tail.length }, () => 0), ...tail];
}

function numbersOf(part: string): readonly number[] {
  if (part === "") return [];
  return part.split(":").flatMap((text) => {
    if (!text.includes(".")) return [Number.parseInt(text, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = text.split(".").map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}

function dotted(high: number, low: number): string {
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join(".");
}
