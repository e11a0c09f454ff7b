// Owns: CORS. There are no cookies, so nothing is ever allowed with credentials: any origin gets `*`, a list of allowed
// origins is answered one by one. Pure. The WebSocket door checks Origin by the same rule (originAllowed).
// https://fetch.spec.whatwg.org/#http-cors-protocol

/** Seconds a browser may keep a preflight: 2 h is the most that Chromium keeps. */
const PREFLIGHT_SECONDS = 7_200;

const ALLOWED_METHODS = "GET, POST, PATCH, DELETE";
const ALLOWED_HEADERS = "Authorization, Content-Type, Accept, Cache-Control, Last-Event-ID";
const EXPOSED_HEADERS = "Retry-After, WWW-Authenticate, Allow, Location";

/** Whether a browser page of `origin` may come in; undefined: not a browser's cross-origin request. */
export function originAllowed(allowed: readonly string[], origin: string | undefined): boolean {
  return origin === undefined || allowed.includes("*") || allowed.includes(origin);
}

/** Headers of every answer. */
export function corsHeaders(allowed: readonly string[], origin: string | undefined): Record<string, string> {
  if (allowed.includes("*")) {
    return { "access-control-allow-origin": "*", "access-control-expose-headers": EXPOSED_HEADERS };
  }
  if (origin === undefined || !allowed.includes(origin)) return { vary: "Origin" };
  return {
    "access-control-allow-origin": origin,
    "access-control-expose-headers": EXPOSED_HEADERS,
    vary: "Origin",
  };
}

/** Headers that a preflight (OPTIONS) gets besides. */
export const PREFLIGHT_HEADERS: Readonly<Record<string, string>> = {
  "access-control-allow-methods": ALLOWED_METHODS,
  "access-control-allow-headers": ALLOWED_HEADERS,
  "access-control-max-age": String(PREFLIGHT_SECONDS),
};
