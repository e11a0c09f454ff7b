// Owns: what stands at the edge of the cluster under test, as a client outside sees it: hosts whose names lead to it. Which
// host belongs to an Ingress and which to an HTTPRoute is the release's (kube-release.ts).

import dns from "node:dns";

/** Address of the ingress controller that plays the edge; undefined: there is none. */
export const EDGE_URL = process.env["EARSHOT_TEST_EDGE"] || undefined;
/** IngressClass and GatewayClass that it serves. */
export const EDGE_CLASS = process.env["EARSHOT_TEST_EDGE_CLASS"] || undefined;

/** Host names that tests use end so (RFC 6761: nobody has them). */
const DOMAIN = ".edge.test";

type Lookup = (hostname: string, options: dns.LookupOptions, callback: (...answer: unknown[]) => void) => void;

/** In the place of a wildcard record: from now on every name under edge.test is the edge's address, in this process. */
export function nameEdge(): void {
  const edge = new URL(EDGE_URL ?? "");
  const others = dns.lookup as unknown as Lookup;
  const lookup: Lookup = (hostname, options, callback) =>
    others(hostname.endsWith(DOMAIN) ? edge.hostname : hostname, options, callback);
  Object.assign(dns, { lookup });
}

export function hostOf(route: string, namespace: string): string {
  return `${route}.${namespace}${DOMAIN}`;
}

/** `http://host:port` of a host at the edge. */
export function urlOf(host: string): string {
  const { port } = new URL(EDGE_URL ?? "");
  return `http://${host}${port === "" ? "" : `:${port}`}`;
}
