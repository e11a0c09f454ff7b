// Owns: every error code that a user of Earshot can meet, with its meaning, HTTP status, gRPC status, close code and
// whether repeating is safe. docs/errors.md, the OpenAPI document and the proto comments are checked against it.
// Called by every edge that answers a user. Invariant: `retryable: true` always means safe to repeat.
// Elsewhere: WebSocket close codes that are not an error's (closes.ts), wording for one case (the place that raises it).

export interface CodeEntry {
  /** HTTP status of the problem details answer. */
  readonly http: number;
  /** gRPC status number. */
  readonly grpc: number;
  /** WebSocket close code where this error ends the connection; absent where it never does. */
  readonly close?: number;
  /** Whether the very same request may be sent again without a second effect. */
  readonly retryable: boolean;
  /** One sentence for docs/errors.md and the `title` of the problem details. */
  readonly meaning: string;
}

const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;
const UNKNOWN = 2;

export const CODES = {
  invalid_request: {
    http: 422,
    grpc: INVALID_ARGUMENT,
    retryable: false,
    meaning: "A field is missing, unknown, or has a value that is not allowed.",
  },
  invalid_json: {
    http: 400,
    grpc: INVALID_ARGUMENT,
    close: 4400,
    retryable: false,
    meaning: "The body or frame is not JSON in UTF-8.",
  },
  unauthenticated: {
    http: 401,
    grpc: UNAUTHENTICATED,
    close: 4401,
    retryable: false,
    meaning: "No token was sent where one is needed, or the token could not be verified.",
  },
  token_expired: {
    http: 401,
    grpc: UNAUTHENTICATED,
    close: 3101,
    retryable: false,
    meaning: "The token was good but its time is over; come back with a new one.",
  },
  forbidden: {
    http: 403,
    grpc: PERMISSION_DENIED,
    close: 4403,
    retryable: false,
    meaning: "The principal is known and lacks the right.",
  },
  quota_exceeded: {
    http: 403,
    grpc: RESOURCE_EXHAUSTED,
    retryable: false,
    meaning: "The namespace may not hold more Topics.",
  },
  topic_not_found: {
    http: 404,
    grpc: NOT_FOUND,
    retryable: false,
    meaning: "No such topic, or a token is needed to see it.",
  },
  topic_exists: {
    http: 409,
    grpc: ALREADY_EXISTS,
    retryable: false,
    meaning: "A Topic of this name is there already.",
  },
  presence_not_kept: {
    http: 409,
    grpc: FAILED_PRECONDITION,
    retryable: false,
    meaning: "The Topic keeps no member list (its presence is not Members).",
  },
  message_too_large: {
    http: 413,
    grpc: INVALID_ARGUMENT,
    close: 1009,
    retryable: false,
    meaning: "The payload is larger than the Topic allows, or the body or frame larger than any payload needs.",
  },
  topic_name_invalid: {
    http: 422,
    grpc: INVALID_ARGUMENT,
    retryable: false,
    meaning: "The Topic's name or namespace is not a DNS name that Kubernetes would take.",
  },
  topic_id_invalid: {
    http: 422,
    grpc: INVALID_ARGUMENT,
    retryable: false,
    meaning: "The topic id is not <namespace>.<name> or <namespace>.<name>:<channel>.",
  },
  namespace_not_served: {
    http: 422,
    grpc: INVALID_ARGUMENT,
    retryable: false,
    meaning: "This installation makes no Topics in that namespace.",
  },
  rate_limited: {
    http: 429,
    grpc: RESOURCE_EXHAUSTED,
    close: 4429,
    retryable: true,
    meaning: "Too many calls of this principal or address, or too many messages on this topic; nothing was done.",
  },
  backpressure: {
    http: 429,
    grpc: RESOURCE_EXHAUSTED,
    retryable: true,
    meaning: "The process is too busy to take the message; nothing was done.",
  },
  topic_full: {
    http: 429,
    grpc: RESOURCE_EXHAUSTED,
    retryable: true,
    meaning: "The Topic's maxSubscribers or maxChannels is reached.",
  },
  publish_unknown: {
    http: 502,
    grpc: UNKNOWN,
    retryable: false,
    meaning:
      "The router went away before it answered: the message may have been delivered, repeating may deliver it twice.",
  },
  control_plane_unavailable: {
    http: 503,
    grpc: UNAVAILABLE,
    retryable: true,
    meaning: "No operator answers, so Topics cannot be made or changed now; everything else goes on.",
  },
  shard_unavailable: {
    http: 503,
    grpc: UNAVAILABLE,
    retryable: true,
    meaning: "No router that may carry this topic is alive; nothing was sent.",
  },
  presence_unavailable: {
    http: 503,
    grpc: UNAVAILABLE,
    retryable: true,
    meaning: "The presence store is not there or does not answer.",
  },
  overloaded: {
    http: 503,
    grpc: UNAVAILABLE,
    close: 1013,
    retryable: true,
    meaning: "The process takes no new connections now; come back after Retry-After.",
  },
  draining: {
    http: 503,
    grpc: UNAVAILABLE,
    close: 1012,
    retryable: true,
    meaning: "The process is going away; another one answers.",
  },
} as const satisfies Record<string, CodeEntry>;

export type Code = keyof typeof CODES;

/** Whether a string that came from another process is one of ours. */
export function isCode(value: string): value is Code {
  return Object.hasOwn(CODES, value);
}

/** Why a subscription ended, as told in `unsubscribed`. */
export const UNSUBSCRIBE_REASONS = {
  requested: "The client, or its user through the HTTP call, asked for it.",
  topic_deleted: "The Topic is gone.",
  permission_changed: "The Topic's permissions no longer let this principal subscribe.",
  token_expired: "The token's time is over and no new one came.",
  removed: "Somebody who manages the Topic ended it.",
} as const;
export type UnsubscribeReason = keyof typeof UNSUBSCRIBE_REASONS;

/** Why messages were lost, as told in `gap`. */
export const GAP_REASONS = {
  slow_consumer: "This connection did not read fast enough; the Topic's slowConsumer rule dropped messages.",
  router_failover: "A router died that had carried messages of this topic in the last 10 s.",
  link_overflow: "The gateway did not drain its link to a router in time.",
  late_interest:
    "A router confirmed the subscription only after `subscribed` was told, and something was spoken meanwhile.",
} as const;
export type GapReason = keyof typeof GAP_REASONS;

/** Why a publish was handed to nobody. */
export const DROP_REASONS = {
  no_subscribers: "Nobody is subscribed: the message is gone, as it is meant to be.",
  backpressure: "Everybody who would have heard it was too slow, or it was Low priority under load.",
} as const;
export type DropReason = keyof typeof DROP_REASONS;
