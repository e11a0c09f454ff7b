// Owns: what one message looks like on each kind of connection. WebSocket: an unmasked text frame (RFC 6455, 5.2).
// SSE: a `data:` event (HTML, 9.2.6); envelopes hold no line ends, so one line is enough. Pure. Called by flights, once
// for all recipients, and by sessions for what goes to one. Elsewhere: gRPC messages (gateway/grpc/events.ts).

const FIN_TEXT = 0x81;

/** Longest payload whose length fits the second byte, and the 16 bits after it. */
const LENGTH_7_BITS_MAX = 125;
const LENGTH_16_BITS_MAX = 0xffff;

const SSE_BEFORE = Buffer.from("data: ");
const SSE_AFTER = Buffer.from("\n\n");

/** A ping without payload: the same bytes for every connection. */
export const WEBSOCKET_PING = Buffer.from([0x89, 0x00]);

/** The answer to a client's ping: its own payload, 125 bytes at most (RFC 6455, 5.5.3). */
export function webSocketPong(payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0x8a, payload.length]), payload]);
}

/** Bytes that a WebSocket frame has before its payload. */
export function webSocketHeaderLength(payloadLength: number): number {
  if (payloadLength <= LENGTH_7_BITS_MAX) return 2;
  return payloadLength <= LENGTH_16_BITS_MAX ? 4 : 10;
}

/** Writes a whole text frame at `offset`; returns where the next may begin. */
export function writeWebSocketFrame(target: Buffer, offset: number, payload: Uint8Array): number {
  const { length } = payload;
  target[offset] = FIN_TEXT;
  let at = offset + 2;
  if (length <= LENGTH_7_BITS_MAX) {
    target[offset + 1] = length;
  } else if (length <= LENGTH_16_BITS_MAX) {
    target[offset + 1] = 126;
    at = target.writeUInt16BE(length, at);
  } else {
    target[offset + 1] = 127;
    at = target.writeUInt32BE(Math.floor(length / 2 ** 32), at);
    at = target.writeUInt32BE(length % 2 ** 32, at);
  }
  target.set(payload, at);
  return at + length;
}

export function webSocketFrame(payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(webSocketHeaderLength(payload.length) + payload.length);
  writeWebSocketFrame(frame, 0, payload);
  return frame;
}

/** Bytes that an SSE event has around its data. */
export const SSE_OVERHEAD_BYTES = SSE_BEFORE.length + SSE_AFTER.length;

/** Writes a whole event at `offset`; returns where the next may begin. `payload` holds no line ends. */
export function writeSseEvent(target: Buffer, offset: number, payload: Uint8Array): number {
  target.set(SSE_BEFORE, offset);
  target.set(payload, offset + SSE_BEFORE.length);
  const after = offset + SSE_BEFORE.length + payload.length;
  target.set(SSE_AFTER, after);
  return after + SSE_AFTER.length;
}

export function sseEvent(payload: Uint8Array): Buffer {
  const event = Buffer.allocUnsafe(SSE_OVERHEAD_BYTES + payload.length);
  writeSseEvent(event, 0, payload);
  return event;
}
