// Owns: what `npm start` prints once everything is ready, to the letter: what to do next, and no more.

export interface BannerFacts {
  readonly host: string;
  readonly ports: { readonly http: number; readonly grpc: number };
  readonly routers: number;
  readonly gateways: number;
}

/** What a browser on this machine opens. */
export function publicUrl(host: string, port: number): string {
  return `http://${shownHost(host)}:${port}`;
}

export function bannerOf({ host, ports, routers, gateways }: BannerFacts): string {
  const shown = shownHost(host);
  const http = `${shown}:${ports.http}`;
  return [
    `Earshot is listening.   ${publicUrl(host, ports.http)}   (${counted(routers, "router")}, ${counted(gateways, "gateway")})`,
    `gRPC:   ${shown}:${ports.grpc}   (reflection is on)`,
    `Hear:   curl -N ${typed(`${http}/api/v1/topics/default.demo/subscribe`)}`,
    `Speak:  curl ${typed(`${http}/api/v1/topics/default.demo/publish`)} -d '{"payload":"hi"}'`,
    "Token:  npm run token -- alice --subscribe 'default.*'",
    "",
  ].join("\n");
}

/** What to type on this machine to reach an address that is bound. For many machines localhost is 127.0.0.1 alone. */
function shownHost(host: string): string {
  if (host === "127.0.0.1" || host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}

/** As a shell takes it: brackets are a pattern to zsh, and curl needs the scheme before them. */
function typed(url: string): string {
  return url.startsWith("[") ? `'http://${url}'` : url;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
