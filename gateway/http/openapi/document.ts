// Owns: the OpenAPI document as a whole. Pure.

import { type Paths, paths } from "./paths.ts";
import { SCHEMAS, type Schema } from "./schemas.ts";

interface OpenapiDocument {
  readonly openapi: "3.1.0";
  readonly info: Schema;
  readonly security: readonly Schema[];
  readonly paths: Paths;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>>; readonly securitySchemes: Schema };
}

const DESCRIPTION = [
  "Ephemeral publish/subscribe: whoever is within earshot when a message is spoken hears it; nobody else ever will.",
  "Errors are problem details (RFC 9457) with a stable `code`; `retryable: true` always means safe to repeat.",
  "Before a call is understood HTTP itself may refuse it with the code `invalid_request` and the status 400 (not HTTP),",
  "404 (no such path), 405 (with `Allow`), 408 (too slow), 426 (a WebSocket) or 431 (headers too large).",
  "Bodies are JSON, whatever of application/json, text/plain, application/x-www-form-urlencoded or nothing at all",
  "Content-Type says; another type is 422 `invalid_request`. Unknown fields are refused by name.",
].join(" ");

/** `standalone`: with the calls that only standalone mode has. */
export function openapiDocument(options: { readonly standalone: boolean }): OpenapiDocument {
  return {
    openapi: "3.1.0",
    info: { title: "Earshot", version: "1", description: DESCRIPTION, license: { name: "Apache-2.0" } },
    // Any of the three; none where the installation allows anonymous access.
    security: [{ bearer: [] }, { query: [] }, {}],
    paths: paths(options),
    components: {
      schemas: SCHEMAS,
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        query: { type: "apiKey", in: "query", name: "token" },
      },
    },
  };
}
