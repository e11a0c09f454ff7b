// Owns: the topics that a client names in a URL (WebSocket upgrade, SSE): `?topic_id=a&topic_id=b&presence=true&echo=false`.
// Pure. Elsewhere: `token` (gateway/http/identify.ts).

import { EarshotError } from "#core/runtime/errors.ts";

export interface UrlSubscriptions {
  /** In the order given, each once. */
  readonly topicIds: readonly string[];
  readonly presence: boolean;
  readonly echo: boolean;
}

/** Parameters that a client may use; every other one is left to proxies and their cache busters. */
const KNOWN = { presence: false, echo: true } as const;

/** Throws invalid_request. */
export function readUrlSubscriptions(query: URLSearchParams): UrlSubscriptions {
  return {
    topicIds: [...new Set(query.getAll("topic_id"))],
    presence: readFlag(query, "presence"),
    echo: readFlag(query, "echo"),
  };
}

function readFlag(query: URLSearchParams, name: keyof typeof KNOWN): boolean {
  const values = query.getAll(name);
  const [value] = values;
  if (value === undefined) return KNOWN[name];
  if (values.length === 1 && (value === "true" || value === "false")) return value === "true";
  throw new EarshotError("invalid_request", `${name} in the URL must be true or false, once`, { field: name });
}
