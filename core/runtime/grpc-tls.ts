// Owns: gRPC over TLS whose certificates change while a process runs. New handshakes use what counts then, streams that
// are open go on. grpc-js has such credentials too (experimental), but none that ask for TLS 1.3 or for a name that is
// not the one that was dialled. Elsewhere: what counts (tls.ts), servers and clients (grpc.ts).

import type { Socket } from "node:net";
import { checkServerIdentity, connect, createServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import * as grpc from "@grpc/grpc-js";
import { type ClientTls, clientContextOf, serverOptions, type TlsSource } from "./tls.ts";

/** Milliseconds that a handshake may take. */
const HANDSHAKE_MS = 10_000;

/** HTTP/2 alone. */
const ALPN = ["h2"];

/** For ports that a gRPC server opens itself. While its source has nothing, connections are closed at once. */
export class TlsServerCredentials extends grpc.ServerCredentials {
  readonly #source: TlsSource;

  constructor(source: TlsSource) {
    const { material } = source;
    super({ handshakeTimeout: HANDSHAKE_MS }, material === undefined ? undefined : serverOptions(material));
    this.#source = source;
    source.onChange(() => {
      if (source.material !== undefined) this.updateSecureContextOptions(serverOptions(source.material));
    });
  }

  override _equals(other: grpc.ServerCredentials): boolean {
    return other instanceof TlsServerCredentials && other.#source === this.#source;
  }
}

/** Takes connections that were accepted elsewhere through their handshakes. It listens nowhere. */
export class TlsFront {
  readonly #source: TlsSource;
  readonly #server: TlsServer;
  readonly #unlisten: () => void;

  /** `secured` is given each connection once it is encrypted. */
  constructor(source: TlsSource, secured: (socket: TLSSocket) => void) {
    this.#source = source;
    this.#server = createServer({ ALPNProtocols: ALPN, handshakeTimeout: HANDSHAKE_MS }, secured);
    // Whoever speaks something else, or takes too long.
    this.#server.on("tlsClientError", (_error, socket) => socket.destroy());
    this.#unlisten = source.onChange(() => this.#follow());
    this.#follow();
  }

  accept(socket: Socket): void {
    if (this.#source.material === undefined) socket.destroy();
    else this.#server.emit("connection", socket);
  }

  close(): void {
    this.#unlisten();
  }

  #follow(): void {
    if (this.#source.material !== undefined) this.#server.setSecureContext(serverOptions(this.#source.material));
  }
}

/** Connections to servers of one name, whatever address they are dialled at. */
export class TlsClientCredentials extends grpc.ChannelCredentials {
  readonly #tls: ClientTls;

  constructor(tls: ClientTls) {
    super();
    this.#tls = tls;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: grpc.ChannelCredentials): boolean {
    if (!(other instanceof TlsClientCredentials)) return false;
    return other.#tls.source === this.#tls.source && other.#tls.serverName === this.#tls.serverName;
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials?: grpc.CallCredentials,
  ): grpc.experimental.SecureConnector {
    return {
      connect: (socket) => this.#connect(socket),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials ?? grpc.CallCredentials.createEmpty(),
      destroy: () => undefined,
    };
  }

  #connect(socket: Socket): Promise<grpc.experimental.SecureConnectResult> {
    const { source, serverName } = this.#tls;
    const { material } = source;
    return new Promise((resolve, reject) => {
      if (material === undefined) {
        reject(new Error("there are no certificates yet"));
        return;
      }
      const secure = connect({
        socket,
        secureContext: clientContextOf(material),
        servername: serverName,
        checkServerIdentity: (_dialled, certificate) => checkServerIdentity(serverName, certificate),
        ALPNProtocols: ALPN,
      });
      const late = setTimeout(() => secure.destroy(new Error("the handshake took too long")), HANDSHAKE_MS);
      const failed = (error?: Error): void => {
        clearTimeout(late);
        reject(error ?? new Error("the connection ended in its handshake"));
      };
      secure.once("error", failed);
      secure.once("close", failed);
      secure.once("secureConnect", () => {
        clearTimeout(late);
        secure.off("error", failed);
        secure.off("close", failed);
        resolve({ socket: secure, secure: true });
      });
    });
  }
}
