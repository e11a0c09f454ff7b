// Owns: @grpc/grpc-js, and how it speaks the services that protobuf-es describes. Servers bind typed handlers, clients
// call typed methods; an EarshotError becomes a status (its code in the metadata key `earshot-code`) and back.
// A stream's messages may be given as bytes already encoded: they pass through unchanged (the hot path).
// Elsewhere: which process dials which (core/fleet), what a handler does.

import assert from "node:assert/strict";
import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { CODES, isCode } from "../domain/codes.ts";
import { EarshotError, messageOf } from "./errors.ts";
import { TlsClientCredentials, TlsServerCredentials } from "./grpc-tls.ts";
import type { CallerCredentials, CallJudge, Refusal } from "./peer-identity.ts";
import type { TlsSource } from "./tls.ts";

export type {
  ConnectionInjector,
  Metadata,
  Server,
  ServerDuplexStream,
  ServerWritableStream,
  StatusObject,
} from "@grpc/grpc-js";
export const { status: GrpcStatus } = grpc;

// Every failure reaches whoever called; the library's own lines on standard error say it again, in no format of ours.
grpc.setLogVerbosity(grpc.logVerbosity.NONE);

type Method<K extends string = string, I extends DescMessage = DescMessage, O extends DescMessage = DescMessage> = {
  readonly methodKind: K;
  readonly input: I;
  readonly output: O;
} & DescMethod;

/** What a unary handler knows of its caller. */
export interface CallContext {
  readonly metadata: grpc.Metadata;
  /** `host:port` of the peer. */
  readonly peer: string;
  /** Whether the caller has let go, or its deadline has passed: nobody waits for the answer. */
  isCancelled(): boolean;
}

type Handler<M> = M extends {
  methodKind: "unary";
  input: infer I extends DescMessage;
  output: infer O extends DescMessage;
}
  ? (request: MessageShape<I>, context: CallContext) => Promise<MessageShape<O>>
  : M extends {
        methodKind: "server_streaming";
        input: infer I extends DescMessage;
        output: infer O extends DescMessage;
      }
    ? (call: grpc.ServerWritableStream<MessageShape<I>, MessageShape<O> | Uint8Array>) => void
    : M extends {
          methodKind: "bidi_streaming";
          input: infer I extends DescMessage;
          output: infer O extends DescMessage;
        }
      ? (call: grpc.ServerDuplexStream<MessageShape<I>, MessageShape<O> | Uint8Array>) => void
      : never;

export type Handlers<S extends DescService> = { readonly [K in keyof S["method"]]: Handler<S["method"][K]> };

/** The grpc-js definition of a service: paths, streaming flags, serializers. */
function definitionOf(service: DescService): grpc.ServiceDefinition {
  const definition: Record<string, grpc.MethodDefinition<unknown, unknown>> = {};
  for (const method of service.methods) definition[method.localName] = methodDefinition(method);
  return definition;
}

function methodDefinition(method: DescMethod): grpc.MethodDefinition<unknown, unknown> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === "bidi_streaming" || method.methodKind === "client_streaming",
    responseStream: method.methodKind === "bidi_streaming" || method.methodKind === "server_streaming",
    requestSerialize: serializer(method.input),
    requestDeserialize: deserializer(method.input),
    responseSerialize: serializer(method.output),
    responseDeserialize: deserializer(method.output),
  };
}

function serializer(schema: DescMessage): (value: unknown) => Buffer {
  return (value) => {
    const bytes = value instanceof Uint8Array ? value : toBinary(schema, value as MessageShape<DescMessage>);
    return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer(schema: DescMessage): (bytes: Buffer) => unknown {
  return (bytes) => fromBinary(schema, bytes);
}

/** Adds typed handlers of a service to a server. */
export function bindService<S extends DescService>(server: grpc.Server, service: S, handlers: Handlers<S>): void {
  const implementation: Record<string, grpc.UntypedHandleCall> = {};
  for (const method of service.methods) {
    const handler = (handlers as Record<string, unknown>)[method.localName];
    implementation[method.localName] =
      method.methodKind === "unary"
        ? unaryAdapter(handler as (request: unknown, context: CallContext) => Promise<unknown>)
        : (handler as grpc.UntypedHandleCall);
  }
  server.addService(definitionOf(service), implementation);
}

function unaryAdapter(
  handler: (request: unknown, context: CallContext) => Promise<unknown>,
): grpc.handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    handler(call.request, {
      metadata: call.metadata,
      peer: call.getPeer(),
      isCancelled: () => call.cancelled,
    }).then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error)),
    );
  };
}

/** A status of its own, for standard services whose protocol names one. Everybody else throws an EarshotError. */
export class GrpcStatusError extends Error {
  override readonly name = "GrpcStatusError";
  readonly code: grpc.status;

  constructor(code: grpc.status, message: string) {
    super(message);
    this.code = code;
  }
}

/** The status that tells a caller of an error; what is not an EarshotError stays INTERNAL without its text. */
export function toStatus(error: unknown): Partial<grpc.StatusObject> & { code: grpc.status; details: string } {
  if (error instanceof GrpcStatusError) return { code: error.code, details: error.message };
  if (!(error instanceof EarshotError)) return { code: grpc.status.INTERNAL, details: "internal error" };
  const metadata = new grpc.Metadata();
  metadata.set("earshot-code", error.code);
  return { code: CODES[error.code].grpc, details: `${error.code}: ${error.message}`, metadata };
}

/** The EarshotError behind a failed call of ours; `otherwise` when the peer was not there or failed. */
export function fromStatus(error: unknown, otherwise: (message: string) => EarshotError): EarshotError {
  if (error instanceof EarshotError) return error;
  if (isServiceError(error)) {
    const code = error.metadata?.get("earshot-code")[0];
    if (typeof code === "string" && isCode(code)) return new EarshotError(code, error.details.replace(`${code}: `, ""));
  }
  return otherwise(messageOf(error));
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

// Heartbeats of our own end dead streams (3 s); HTTP/2 keepalive is the net below them, for calls without a stream.
const COMMON_OPTIONS: grpc.ChannelOptions = {
  "grpc.keepalive_time_ms": 2_000,
  "grpc.keepalive_timeout_ms": 1_500,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
  "grpc.max_send_message_length": -1,
  // Nobody asks for grpc-js's own books of every connection and call.
  "grpc.enable_channelz": 0,
};

const CLIENT_OPTIONS: grpc.ChannelOptions = {
  ...COMMON_OPTIONS,
  // A long stream otherwise keeps every message in a retry buffer.
  "grpc.enable_retries": 0,
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 2_000,
  "grpc.dns_min_time_between_resolutions_ms": 1_000,
  "grpc-node.flow_control_window": 8 * 1024 * 1024,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.service_config_disable_resolution": 1,
};

/** grpc-js takes this for no keepalive at all. */
const NEVER_MS = 2 ** 31 - 1;

export interface GrpcServerOptions {
  /** Judges every call; undefined: open to all (the public port). */
  readonly judge?: CallJudge | undefined;
  readonly maxReceiveBytes?: number;
  /** Calls of one connection at the same time; HTTP/2 makes more wait. */
  readonly maxConcurrentCalls?: number;
  /** Whether clients are asked for signs of life. Default: true. False where grpc-connections.ts takes them. */
  readonly pings?: boolean;
  /** Milliseconds without a call after which a connection is told to go. Default: never. */
  readonly maxIdleMs?: number;
}

/**
 * Calls that a client may take back (RST_STREAM) at once and a second, before its connection is ended: each costs as
 * much as a call that is made (CVE-2023-44487). Node's own burst of 1,000 let ten connections hold the loop for 2 s.
 */
const RESETS_BURST = 200;
const RESETS_PER_SECOND = 33;

/** A server without services and ports. */
export function createGrpcServer(options: GrpcServerOptions = {}): grpc.Server {
  const { judge, maxReceiveBytes, maxConcurrentCalls, pings = true, maxIdleMs } = options;
  const server = new grpc.Server({
    ...COMMON_OPTIONS,
    ...(pings ? {} : { "grpc.keepalive_time_ms": NEVER_MS }),
    ...(maxIdleMs === undefined ? {} : { "grpc.max_connection_idle_ms": maxIdleMs }),
    ...(maxReceiveBytes === undefined ? {} : { "grpc.max_receive_message_length": maxReceiveBytes }),
    ...(maxConcurrentCalls === undefined ? {} : { "grpc.max_concurrent_streams": maxConcurrentCalls }),
    ...(judge === undefined ? {} : { interceptors: [letIn(judge)] }),
  });
  if (judge === undefined) limitResets(server);
  return server;
}

/** grpc-js has no option for these two of node:http2; it makes every HTTP/2 server from this field (1.14). */
function limitResets(server: grpc.Server): void {
  const { commonServerOptions } = server as unknown as { commonServerOptions: Record<string, number> };
  assert(commonServerOptions !== undefined, "grpc-js keeps the options of its HTTP/2 servers elsewhere");
  commonServerOptions["streamResetBurst"] = RESETS_BURST;
  commonServerOptions["streamResetRate"] = RESETS_PER_SECOND;
}

/** Lets in the calls that a judge lets in; what comes with a call waits until then. */
function letIn(judge: CallJudge): grpc.ServerInterceptor {
  return (method, call) =>
    new grpc.ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, forward) => {
            const judged = (refusal: Refusal | undefined): void => {
              if (refusal === undefined) forward(metadata);
              else call.sendStatus({ code: grpc.status[refusal.status], details: refusal.details });
            };
            const [shown] = metadata.get("authorization");
            const judgement = judge(method.path, typeof shown === "string" ? shown : undefined);
            if (judgement instanceof Promise) void judgement.then(judged);
            else judged(judgement);
          },
        }),
    });
}

/** Listens on `host:port`, with TLS where it is given; resolves with the port. */
export function listenGrpc(server: grpc.Server, host: string, port: number, tls?: TlsSource): Promise<number> {
  const bracketed = host.includes(":") ? `[${host}]` : host;
  const credentials = tls === undefined ? grpc.ServerCredentials.createInsecure() : new TlsServerCredentials(tls);
  return new Promise((resolve, reject) => {
    server.bindAsync(`${bracketed}:${port}`, credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
}

/** Takes connections that were accepted elsewhere (a shared port, a handed-over socket). */
export function injectorOf(server: grpc.Server): grpc.ConnectionInjector {
  return server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
}

export interface ClientStream<I extends DescMessage, O extends DescMessage>
  extends grpc.ClientDuplexStream<MessageShape<I> | Uint8Array, MessageShape<O>> {}

/** One channel to one address, with typed calls. Closing it ends every call. */
export class GrpcClient {
  readonly #client: grpc.Client;
  readonly #bearer: () => string | undefined;

  /** `shown` goes with every call: what proves a process inside the fleet, a user's token outside. */
  constructor(address: string, shown?: CallerCredentials | string) {
    const tls = typeof shown === "object" ? shown.tls : undefined;
    const credentials = tls === undefined ? grpc.credentials.createInsecure() : new TlsClientCredentials(tls);
    this.#client = new grpc.Client(address, credentials, CLIENT_OPTIONS);
    this.#bearer = typeof shown === "object" ? () => shown.bearer() : () => shown;
  }

  /** Rejects with a ServiceError (see fromStatus) on failure or after `deadlineMs`. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: Method<"unary", I, O>,
    request: MessageShape<I>,
    deadlineMs: number,
  ): Promise<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize as (bytes: Buffer) => MessageShape<O>,
        request,
        this.#metadata(),
        { deadline: Date.now() + deadlineMs },
        (error, response) => {
          if (error !== null) reject(error);
          else if (response === undefined) reject(new Error("call ended without a response"));
          else resolve(response);
        },
      );
    });
  }

  serverStream<I extends DescMessage, O extends DescMessage>(
    method: Method<"server_streaming", I, O>,
    request: MessageShape<I>,
  ): grpc.ClientReadableStream<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize as (bytes: Buffer) => MessageShape<O>,
      request,
      this.#metadata(),
    );
  }

  bidi<I extends DescMessage, O extends DescMessage>(method: Method<"bidi_streaming", I, O>): ClientStream<I, O> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return this.#client.makeBidiStreamRequest(
      path,
      requestSerialize as (value: MessageShape<I> | Uint8Array) => Buffer,
      responseDeserialize as (bytes: Buffer) => MessageShape<O>,
      this.#metadata(),
    );
  }

  close(): void {
    this.#client.close();
  }

  #metadata(): grpc.Metadata {
    const metadata = new grpc.Metadata();
    const bearer = this.#bearer();
    if (bearer !== undefined) metadata.set("authorization", `Bearer ${bearer}`);
    return metadata;
  }
}
