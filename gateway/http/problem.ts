// Owns: what an HTTP error looks like: RFC 9457 problem details with our code, whether repeating is safe, and the field
// to blame. Pure. Used by the fastify error handler and, before fastify sees a request, by the client-error handler.
// Invariant: nothing of a request's URL or headers is repeated in an answer (a URL may hold `?token=`).

import { CODES, type Code } from "#core/domain/codes.ts";
import { EarshotError } from "#core/runtime/errors.ts";

export interface Problem {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const PROBLEM_TYPE = "application/problem+json; charset=utf-8";

/** Seconds after which a 429 or 503 may be tried again: buckets refill and routers fail over within one. */
const RETRY_AFTER_SECONDS = 1;

const NOT_OURS_TITLES: Readonly<Record<number, string>> = {
  400: "The request is not HTTP/1.1 as RFC 9112 has it.",
  404: "There is nothing at this path.",
  405: "This path does not take this method.",
  409: "This cannot be done as things are now.",
  408: "The request did not arrive in time.",
  417: "The request expects what this server does not do.",
  426: "This path speaks another protocol.",
  431: "The request's headers are too large.",
};

/** The members of a problem, as the body and an `error` in a batch hold them. */
export function problemMembers(error: unknown): Record<string, unknown> {
  if (!(error instanceof EarshotError)) {
    return { type: "about:blank", title: "Internal error.", status: 500, code: "internal", retryable: false };
  }
  const { http, meaning, retryable } = CODES[error.code];
  return members({ code: error.code, status: http, title: meaning, detail: error.message, retryable }, error.field);
}

/** The answer to whatever was thrown. What is not an EarshotError tells nothing of itself. */
export function problemOf(error: unknown, tokenSent: boolean): Problem {
  const body = problemMembers(error);
  const status = body["status"] as number;
  const headers: Record<string, string> = {};
  if (status === 401) {
    headers["www-authenticate"] = `Bearer realm="earshot"${tokenSent ? ', error="invalid_token"' : ""}`;
  }
  if (status === 429 || status === 503) headers["retry-after"] = String(RETRY_AFTER_SECONDS);
  return { status, headers, body: JSON.stringify(body) };
}

/** An answer that HTTP itself asks for, before or beside our own codes: `code` is invalid_request, the status HTTP's. */
export function protocolProblem(status: number, detail: string, headers: Record<string, string> = {}): Problem {
  const title = NOT_OURS_TITLES[status] ?? CODES.invalid_request.meaning;
  const body = members({ code: "invalid_request", status, title, detail, retryable: false }, undefined);
  return { status, headers, body: JSON.stringify(body) };
}

interface Members {
  readonly code: Code;
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly retryable: boolean;
}

function members({ code, status, title, detail, retryable }: Members, field: string | undefined) {
  const type = `https://earshot.dev/errors#${code}`;
  return { type, title, status, detail, code, retryable, ...(field === undefined ? {} : { field }) };
}
