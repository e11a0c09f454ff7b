// Owns: `GET /` and what it loads: one static page, whose every part comes from here, so that it works without any network
// but ours. Everybody may have it, without a token; what it shows it gets by the public API, with its user's rights.
// Invariant: no other origin may read it (it may hold the nonce of kill-route.ts), frame it, or run anything in it.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { HttpDeps } from "../deps.ts";
import { protocolProblem } from "../problem.ts";
import { type Asset, type Html, readAssets, readHtml } from "./assets.ts";
import { isLocal } from "./local-only.ts";

/** A host as it may stand in a policy; what else Host may hold is left out of it. */
const HOST = /^[a-z0-9.:[\]-]{1,255}$/i;

const SHARED_HEADERS = {
  // Asked for anew each time, answered 304: a page that is older than its server speaks another protocol.
  "cache-control": "no-cache",
  "cross-origin-resource-policy": "same-origin",
};

export function pageRoutes(app: FastifyInstance, { killer }: Pick<HttpDeps, "killer">): void {
  let html: Html | undefined;
  let assets: Promise<ReadonlyMap<string, Asset>> | undefined;
  const loadAssets = (): Promise<ReadonlyMap<string, Asset>> =>
    (assets ??= readAssets().catch((error: unknown) => {
      assets = undefined;
      throw error;
    }));
  const options = { config: { sameOriginOnly: true } };

  app.get("/", options, async (request, reply) => {
    html ??= readHtml();
    const mayKill = isLocal({ remoteAddress: request.socket.remoteAddress, headers: request.headers });
    reply.headers(documentHeaders(request.headers.host, html.importMapHash));
    return send(request, reply, html.documentFor(mayKill ? killer?.nonce : undefined));
  });

  app.get<{ Params: { "*": string } }>("/page/*", options, async (request, reply) => {
    const asset = (await loadAssets()).get(request.params["*"]);
    if (asset !== undefined) return send(request, reply, asset);
    const { status, body } = protocolProblem(404, "the page has no such part");
    return reply.code(status).type("application/problem+json; charset=utf-8").serializer(String).send(body);
  });
}

function send(request: FastifyRequest, reply: FastifyReply, { type, body, etag }: Asset): FastifyReply {
  reply.headers({ ...SHARED_HEADERS, etag });
  const known = (request.headers["if-none-match"] ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  if (known.includes(etag)) return reply.code(304).send();
  return reply.type(type).serializer(String).send(body);
}

function documentHeaders(host: string | undefined, importMapHash: string): Record<string, string> {
  // Older browsers do not take 'self' for WebSockets, so they are named.
  const sockets = host !== undefined && HOST.test(host) ? ` ws://${host} wss://${host}` : "";
  return {
    "content-security-policy": [
      "default-src 'none'",
      `script-src 'self' ${importMapHash}`,
      "style-src 'self'",
      "img-src 'self'",
      `connect-src 'self'${sockets}`,
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
    ].join("; "),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
  };
}
