// Owns: every fixed limit that more than one room must agree on, each with its reason. Limits that an installation may
// change are settings (core/runtime/settings.ts), whose defaults come from here. docs/config.md lists both.

const KIB = 1024;
const MIB = 1024 * KIB;

/** Bytes of one message's payload where a Topic says nothing. 64 KiB is what a phone on 3G takes in half a second. */
export const MESSAGE_BYTES_DEFAULT = 64 * KIB;

/** Bytes of one message's payload that a Topic may allow at most: larger things belong in a store, with a link spoken. */
export const MESSAGE_BYTES_MAX = 1 * MIB;

/** Bytes by which a frame or body may exceed 4/3 of the largest message (base64): room for the other fields. */
export const BODY_OVERHEAD_BYTES = 4 * KIB;

/** Bytes of a whole batch publish: 100 messages of 20 KiB, and less than a 4 MiB gRPC message. */
export const BATCH_BYTES_MAX = 2 * MIB;

/** Messages in one batch publish. */
export const BATCH_MESSAGES_MAX = 100;

/** Subscriptions of one connection: a page shows dozens of topics, never hundreds. */
export const SUBSCRIPTIONS_PER_CONNECTION_MAX = 128;

/** Bytes a connection may have unsent before its Topic's slow-consumer rule applies. 1 MiB is 4 s at 2 Mbit/s. */
export const CONNECTION_UNSENT_BYTES_MAX = 1 * MIB;

/** Bytes of a topic id without its channel: a Kubernetes label (63), a dot, and a name of 189. */
export const TOPIC_ID_BYTES_MAX = 253;

/** Bytes of a Topic's name, so that its topic id fits TOPIC_ID_BYTES_MAX. */
export const TOPIC_NAME_BYTES_MAX = 189;

/** Bytes of a namespace: a DNS label (RFC 1123). */
export const NAMESPACE_BYTES_MAX = 63;

/** Bytes of a channel: enough for a UUID with prefixes, and a topic id still fits a log line. */
export const CHANNEL_BYTES_MAX = 128;

/** Hash slots. Fixed for ever: a power of two, 50 a router in a fleet of 20, and a map of 4 KiB. */
export const SHARD_COUNT = 1024;

/** Subjects in one list of a Topic: what etcd and a reader of YAML bear. */
export const SUBJECTS_MAX = 64;

/** Characters of a subject's name: of a user id or group as directories give them out. */
export const SUBJECT_NAME_LENGTH_MAX = 256;

/** Inbound control messages a second of one connection. */
export const CONTROL_MESSAGES_PER_SECOND = 100;

/** Inbound control messages of one connection at once: a page that subscribes to all its 128 topics, twice. */
export const CONTROL_MESSAGES_BURST = 256;

/**
 * Bytes of publishes of one connection that wait for their answer: it is not read on until some are answered. What a
 * gateway may have unanswered at a router (16 MiB) is everybody's, so no connection may fill it.
 */
export const CONNECTION_UNANSWERED_BYTES_MAX = 1 * MIB;

/** Seconds in a row above the control message limit that end a connection (4429). */
export const CONTROL_FLOOD_SECONDS = 10;

/** Connections of one gateway process: below 20,000 open files with room for the process's own. */
export const CONNECTIONS_PER_GATEWAY_MAX = 15_000;

/** Bytes a link may have undrained at the router: one second at 64 Mbit/s. */
export const LINK_UNDRAINED_BYTES_MAX = 8 * MIB;

/** Milliseconds a record may wait at the router for its link: older than this it is no longer live. */
export const LINK_UNDRAINED_AGE_MS_MAX = 2_000;

/** Milliseconds that a topic with no subscriber left is remembered by a router, so that churn costs counts, not entries. */
export const INTEREST_LINGER_MS = 2_000;

/** Milliseconds between heartbeats on links and publish streams. */
export const HEARTBEAT_INTERVAL_MS = 1_000;

/** Milliseconds of silence after which a link or publish stream is dead: three heartbeats missed. */
export const HEARTBEAT_TIMEOUT_MS = 3_000;

/** Milliseconds `subscribed` waits for the other routers of a shard after one has confirmed. */
export const SUBSCRIBED_WAIT_MS = 50;

/** Milliseconds for which a topic that spoke is told `gap` when its router dies: design, failure table. */
export const FAILOVER_MEMORY_MS = 10_000;

/** Milliseconds a publisher that moves to another router waits for answers still due, to keep its order. */
export const PUBLISHER_MOVE_WAIT_MS = 100;

/** Milliseconds between pings to a client: below the idle timeouts of proxies, mostly 60 s. */
export const PING_INTERVAL_MS = 30_000;

/** Pings in a row that a client may leave without an answer before its connection ends (3102): 60 s. */
export const PINGS_UNANSWERED_MAX = 2;

/** Milliseconds an unauthenticated connection may take to send its token where anonymous access is off. */
export const TOKEN_WAIT_MS = 5_000;

/** Subscriptions from which a topic is hot. */
export const HOT_ON_SUBSCRIPTIONS = 1_000;

/** Part of that number below which (for 60 s) it no longer is: one at the edge does not flicker. */
export const HOT_OFF_PART = 0.8;

/** Members listed in a presence frame and a page of `/subscribers`: beyond it a count and the first page. */
export const PRESENCE_PAGE_MAX = 1_000;

/** Milliseconds a batch window may be: more is no longer live. */
export const BATCH_WINDOW_MS_MAX = 1_000;

/** Milliseconds a router waits for gateways' counts with `receipt: "gateway"`. */
export const RECEIPT_WAIT_MS = 1_000;

/** Levels of nesting in a JSON body: deeper is an attack, not a message. */
export const JSON_DEPTH_MAX = 128;
