// Owns: the three ways in which a client can be written to, as indices, so that a flight finds the bytes for a
// connection by one array access.

export const WEBSOCKET = 0;
export const SSE = 1;
export const GRPC = 2;

export type Encoding = typeof WEBSOCKET | typeof SSE | typeof GRPC;

/** Names for metrics and logs, by encoding. */
export const ENCODING_NAMES = ["websocket", "sse", "grpc"] as const;
