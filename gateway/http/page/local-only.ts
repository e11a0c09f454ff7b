// Owns: whether a request comes from this machine's own browser, on our own page: the guard of the "Kill a router" button. A
// page of another site must not press it (CSRF), also not one whose name was made to point here (DNS rebinding), nor
// anybody on another machine. Each rule alone would do against some browser; together none is the only one. Pure.

import { timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { BlockList, isIP } from "node:net";

/** Sent with the nonce in it. No preflight of another origin is ever told that it may send it. */
export const KILL_HEADER = "x-earshot-kill";

export interface Asking {
  /** Of the socket itself: nobody's word for it. */
  readonly remoteAddress: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Names that no DNS answer leads elsewhere (RFC 6761, 6.3; addresses are none). */
const LOCAL_HOST = /^(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/;

/** What a proxy adds: behind it the address says nothing. */
const PROXY_HEADERS = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/** Whether the page was asked for on this machine, under its own name. */
export function isLocal({ remoteAddress, headers }: Asking): boolean {
  return (
    isLoopback(remoteAddress ?? "") &&
    LOCAL_HOST.test(headers.host ?? "") &&
    PROXY_HEADERS.every((name) => headers[name] === undefined)
  );
}

/** Why this is not our own page that asks, as a sentence; undefined: it is. */
export function foreignness(asking: Asking, nonce: string): string | undefined {
  const { host, origin, "sec-fetch-site": site, "content-type": type, [KILL_HEADER]: sent } = asking.headers;
  if (!isLocal(asking)) return "only this machine itself may ask for this, as localhost and without a proxy";
  if (origin !== undefined && origin !== `http://${host}`) return "only the page at / may ask for this";
  if (site !== undefined && site !== "same-origin") return "only the page at / may ask for this";
  if (!/^application\/json\s*(;|$)/i.test(type ?? "")) return "Content-Type must be application/json here";
  if (typeof sent !== "string" || !isSame(sent, nonce)) return `${KILL_HEADER} must be what the page at / was given`;
  return undefined;
}

function isLoopback(address: string): boolean {
  const plain = address.startsWith("::ffff:") ? address.slice(7) : address;
  const family = isIP(plain);
  return family !== 0 && LOOPBACK.check(plain, family === 6 ? "ipv6" : "ipv4");
}

function isSame(sent: string, nonce: string): boolean {
  const [a, b] = [Buffer.from(sent), Buffer.from(nonce)];
  return a.length === b.length && timingSafeEqual(a, b);
}
