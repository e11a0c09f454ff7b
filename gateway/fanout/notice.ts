// Owns: one control frame for everybody subscribed to a topic, encoded once for each kind of connection.

import { type ControlFrame, toJson } from "../sessions/control-frame.ts";
import { type Encoding, GRPC, SSE, WEBSOCKET } from "./encoding.ts";
import { sseEvent, webSocketFrame } from "./frames.ts";

/** Makes the gRPC message of a control frame; undefined where gRPC has none. */
export type GrpcControlEncoder = (frame: ControlFrame) => Buffer | undefined;

/** The bytes of a control frame for one kind of connection; undefined where it has no such frame. */
export function encodeControl(frame: ControlFrame, encoding: Encoding, grpc: GrpcControlEncoder): Buffer | undefined {
  switch (encoding) {
    case WEBSOCKET:
      return webSocketFrame(Buffer.from(toJson(frame)));
    case SSE:
      return sseEvent(Buffer.from(toJson(frame)));
    case GRPC:
      return grpc(frame);
  }
}

export class Notice {
  readonly #frame: ControlFrame;
  readonly #grpc: GrpcControlEncoder;
  readonly #encoded: { readonly bytes: Buffer | undefined }[] = [];

  constructor(frame: ControlFrame, grpc: GrpcControlEncoder) {
    this.#frame = frame;
    this.#grpc = grpc;
  }

  bytes(encoding: Encoding): Buffer | undefined {
    const known = (this.#encoded[encoding] ??= { bytes: encodeControl(this.#frame, encoding, this.#grpc) });
    return known.bytes;
  }
}
