// Owns: `/api/v1/openapi.json`. Everybody may read it, without a token.

import type { FastifyInstance } from "fastify";
import type { HttpDeps } from "../deps.ts";
import { openapiDocument } from "../openapi/document.ts";

export function documentRoutes(app: FastifyInstance, { peers }: HttpDeps): void {
  const text = JSON.stringify(openapiDocument({ standalone: peers !== undefined }));
  app.get("/api/v1/openapi.json", async (_request, reply) => {
    reply.type("application/json; charset=utf-8").serializer(String);
    return text;
  });
}
