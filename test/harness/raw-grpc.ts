// Owns: gRPC calls of tests as bytes on HTTP/2, for what no client library does: any header, any body.

import { connect, constants } from "node:http2";

export interface RawGrpcAnswer {
  /** Of HTTP. */
  readonly status: number;
  /** `grpc-status` and `grpc-message`, from headers or trailers; undefined where there are none. */
  readonly grpcStatus: number | undefined;
  readonly grpcMessage: string;
  readonly messages: number;
}

/** One message as gRPC frames it. */
export function grpcFrame(message: Uint8Array, compressed = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = compressed;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Makes one call and resolves when it is over. `address` is `host:port`. */
export function rawGrpcCall(
  address: string,
  path: string,
  body: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<RawGrpcAnswer> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://${address}`);
    session.on("error", reject);
    const request = session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const fields: Record<string, unknown> = {};
    let received = Buffer.alloc(0);
    request.on("response", (answer) => Object.assign(fields, answer));
    request.on("trailers", (trailers) => Object.assign(fields, trailers));
    request.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    request.on("error", () => undefined);
    request.on("close", () => {
      session.close();
      const { "grpc-status": status, "grpc-message": message } = fields;
      resolve({
        status: Number(fields[":status"]),
        grpcStatus: status === undefined ? undefined : Number(status),
        grpcMessage: typeof message === "string" ? decodeURIComponent(message) : "",
        messages: countMessages(received),
      });
    });
    request.end(body);
  });
}

function countMessages(bytes: Buffer): number {
  let count = 0;
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt32BE(at + 1)) count += 1;
  return count;
}
