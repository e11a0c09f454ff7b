// Owns: what is measured of HTTP answers. Labels are route patterns, never paths.

import type { FastifyReply, FastifyRequest } from "fastify";
import { Counter, Histogram, type Registry } from "#core/runtime/metrics.ts";

/** Seconds: from a local answer to a receipt that waited. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export function createHttpMetrics(registry: Registry) {
  const requests = new Counter({
    name: "earshot_http_requests_total",
    help: "HTTP requests answered, by route pattern, method and status.",
    labelNames: ["route", "method", "status"],
    registers: [registry],
  });
  const seconds = new Histogram({
    name: "earshot_http_request_seconds",
    help: "Seconds from a request's headers to the end of its answer, streams aside.",
    labelNames: ["route"],
    buckets: BUCKETS,
    registers: [registry],
  });
  return {
    answered(request: FastifyRequest, reply: FastifyReply): void {
      const route = request.is404 ? "none" : (request.routeOptions.url ?? "none");
      const method = request.is404 ? "any" : request.method;
      requests.inc({ route, method, status: reply.statusCode });
      const isStream = method === "GET" && route.endsWith("/subscribe");
      if (!isStream) seconds.observe({ route }, reply.elapsedTime / 1_000);
    },
  };
}
