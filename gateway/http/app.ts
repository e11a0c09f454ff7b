// Owns: fastify: the HTTP door of a gateway, with every hook that all routes share. It never listens: whoever has the
// public port emits 'connection' (and 'upgrade' is heard) on `app.server`. Called once by gateway/main.ts.
// Invariant: every answer that is not a stream is JSON, every error a problem (problem.ts), and nobody's body is read
// before the caller is known. Elsewhere: what a route does (routes/), what a caller may (core/edge).

import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { BODY_OVERHEAD_BYTES } from "#core/domain/limits.ts";
import type { Caller } from "#core/edge/edge.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { checkContentType, readBody } from "./body.ts";
import { trustedProxies } from "./client-address.ts";
import { corsHeaders, PREFLIGHT_HEADERS } from "./cors.ts";
import type { HttpDeps } from "./deps.ts";
import { createIdentify, sentToken } from "./identify.ts";
import { createHttpMetrics } from "./metrics.ts";
import { killRoutes } from "./page/kill-route.ts";
import { pageRoutes } from "./page/page-routes.ts";
import { PROBLEM_TYPE, type Problem, problemOf, protocolProblem } from "./problem.ts";
import { RouteTable } from "./route-table.ts";
import { diagnosticRoutes } from "./routes/diagnostics.ts";
import { documentRoutes } from "./routes/document.ts";
import { publishRoutes } from "./routes/publish.ts";
import { subscriptionRoutes } from "./routes/subscriptions.ts";
import { topicRoutes } from "./routes/topics.ts";
import { answerClientError, createHttpServer } from "./server.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Bytes of a body; undefined: as many as the largest message of all Topics needs. */
    bodyBytesMax?: number;
    /** Whether no page of another origin is let in, whatever the installation allows: without CORS. */
    sameOriginOnly?: boolean;
  }
}

/** Characters of a topic id in a path; longer ones are refused before they are looked at. The longest real one has 382. */
const PARAM_LENGTH_MAX = 512;

/** Builds the door. The result is ready for connections on its `server`; closing it ends those that are open. */
export async function createHttpApp(deps: HttpDeps): Promise<FastifyInstance> {
  const app = Fastify({
    logger: false,
    // RFC 9110, 9.1: whoever serves GET serves HEAD; streams alone do not (gateway/sse).
    exposeHeadRoutes: true,
    serverFactory: createHttpServer,
    clientErrorHandler: answerClientError,
    // The target of no resource (RFC 9112, 3.2.4): the router would take it for the page.
    rewriteUrl: ({ url = "/" }) => (url === "*" ? "/*" : url),
    routerOptions: { maxParamLength: PARAM_LENGTH_MAX },
    frameworkErrors: (error, request, reply) => {
      reply.headers(commonHeaders(deps, request));
      void sendProblem(reply, frameworkProblem(error, request));
    },
  });
  const routes = new RouteTable();
  app.addHook("onRoute", ({ method, url }) => routes.add(method, url));
  shareHooks(app, deps);
  shareErrors(app, deps, routes);
  readBodies(app, deps);
  await app.register(async (api) => apiRoutes(api, deps));
  await app.register(deps.sseRoutes);
  documentRoutes(app, deps);
  pageRoutes(app, deps);
  await app.ready();
  return app;
}

function shareHooks(app: FastifyInstance, deps: HttpDeps): void {
  const metrics = createHttpMetrics(deps.registry);
  app.addHook("onRequest", async (request, reply) => {
    reply.headers(commonHeaders(deps, request));
    if (request.method === "OPTIONS") {
      return reply
        .code(204)
        .headers(isSameOriginOnly(request) ? {} : PREFLIGHT_HEADERS)
        .send();
    }
    return undefined;
  });
  app.addHook("onResponse", async (request, reply) => metrics.answered(request, reply));
  app.addHook("onClose", async () => {
    // Fastify closes only servers that it told to listen; this also ends the server's own timer.
    app.server.close();
    app.server.closeAllConnections();
  });
}

function commonHeaders(deps: HttpDeps, request: FastifyRequest): Record<string, string> {
  return {
    ...(isSameOriginOnly(request) ? {} : corsHeaders(deps.config.allowedOrigins, request.headers.origin)),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(deps.draining?.() === true ? { connection: "close" } : {}),
  };
}

/** What fastify refuses before it looks for a route has none. */
function isSameOriginOnly({ routeOptions }: FastifyRequest): boolean {
  return (routeOptions as FastifyRequest["routeOptions"] | undefined)?.config?.sameOriginOnly === true;
}

/** Routes whose callers are known (request.caller) before anything else happens. */
function apiRoutes(api: FastifyInstance, deps: HttpDeps): void {
  const { edge, incarnation, config } = deps;
  const identify = createIdentify({ edge, incarnation, trusted: trustedProxies(config.trustedProxies) });
  api.decorateRequest("caller", null as unknown as Caller);
  api.addHook("onRequest", async (request) => {
    request.caller = await identify(request);
  });
  topicRoutes(api, deps);
  publishRoutes(api, deps);
  subscriptionRoutes(api, deps);
  diagnosticRoutes(api, deps);
  killRoutes(api, deps);
}

/** One reader for every content type: what is not read as JSON is refused by name. */
function readBodies(app: FastifyInstance, { fleet }: HttpDeps): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", async (request: FastifyRequest, stream: FastifyRequest["raw"]) => {
    if (request.is404) return undefined;
    checkContentType(request.headers["content-type"], request.headers["content-encoding"]);
    const needed = Math.ceil((fleet.largestMessageBytes * 4) / 3) + BODY_OVERHEAD_BYTES;
    return readBody(stream, request.routeOptions.config.bodyBytesMax ?? needed);
  });
}

function shareErrors(app: FastifyInstance, { log }: HttpDeps, routes: RouteTable): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const problem =
      error instanceof EarshotError ? problemOf(error, sentToken(request)) : frameworkProblem(error, request);
    if (problem.status === 500) log.error({ error, route: request.routeOptions.url }, "http request failed");
    return sendProblem(reply, problem);
  });
  app.setNotFoundHandler((request, reply) => {
    const url = request.raw.url ?? "";
    if (/^\/ws\/subscribe(\?|$)/.test(url)) {
      const headers = { upgrade: "websocket", connection: "upgrade" };
      return sendProblem(
        reply,
        protocolProblem(
          426,
          "this path speaks WebSocket, and the request has no Upgrade: websocket; a proxy on the way must pass it on",
          headers,
        ),
      );
    }
    const allowed = routes.methodsOf(url);
    if (allowed.length === 0 || allowed.includes(request.method)) {
      return sendProblem(
        reply,
        protocolProblem(404, "there is nothing at this path; /api/v1/openapi.json lists what is"),
      );
    }
    const allow = allowed.join(", ");
    return sendProblem(reply, protocolProblem(405, `this path takes ${allow}`, { allow }));
  });
}

/** What fastify itself refuses. */
function frameworkProblem(error: FastifyError, request: FastifyRequest): Problem {
  const refused = (code: "topic_id_invalid" | "invalid_request", message: string): Problem =>
    problemOf(new EarshotError(code, message), sentToken(request));
  switch (error.code) {
    case "FST_ERR_MAX_PARAM_LENGTH":
      return refused("topic_id_invalid", `a topic id in a path has at most ${PARAM_LENGTH_MAX} characters`);
    case "FST_ERR_BAD_URL":
      return refused("invalid_request", "the path's percent-encoding is broken");
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return refused("invalid_request", "Content-Type is not a media type");
    case "FST_ERR_NOT_FOUND":
      return protocolProblem(404, "there is nothing at this path");
  }
  const status = error.statusCode ?? 500;
  return status < 500 ? protocolProblem(status, "the request could not be read") : problemOf(error, false);
}

function sendProblem(reply: FastifyReply, { status, headers, body }: Problem): FastifyReply {
  return reply.code(status).headers(headers).type(PROBLEM_TYPE).serializer(String).send(body);
}
