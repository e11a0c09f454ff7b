// Owns: what `npm start` prints once everything is ready, to the letter: what to do next, and no more.

import { isLoopback } from "./doors.ts";

export interface BannerFacts {
  readonly host: string;
  readonly ports: { readonly http: number; readonly grpc: number };
  readonly routers: number;
  readonly gateways: number;
}

export function bannerOf({ host, ports, routers, gateways }: BannerFacts): string {
  const shown = shownHost(host);
  const http = `${shown}:${ports.http}`;
  return [
    `Earshot is listening.   http://${http}   (${counted(routers, "router")}, ${counted(gateways, "gateway")})`,
    `gRPC:   ${shown}:${ports.grpc}   (reflection is on)`,
    `Hear:   curl -N ${http}/api/v1/topics/default.demo/subscribe`,
    `Speak:  curl ${http}/api/v1/topics/default.demo/publish -d '{"payload":"hi"}'`,
    "Token:  npm run token -- alice --subscribe 'default.*'",
    "",
  ].join("\n");
}

/** What to type on this machine to reach an address that is bound. */
function shownHost(host: string): string {
  if (host === "127.0.0.1" || host === "::1" || host === "0.0.0.0" || host === "::") return "localhost";
  if (isLoopback(host)) return host;
  return host.includes(":") ? `[${host}]` : host;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
