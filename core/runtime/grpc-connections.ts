// Owns: connections of a gRPC server that were accepted elsewhere, each of which can be told by itself to go (GOAWAY):
// its client makes further calls on a new connection and ends those under way here. A connection that carries a stream
// which shall outlive that word is held meanwhile: neither side's HTTP/2 session answers keepalive once it was told
// (grpc-js 1.14 on Node 24 then drops it), so whoever pings would lose the stream. For the same reason the server pings
// nobody here; TCP finds out who is gone. Connections are counted, and who says nothing is not kept.

import type { Socket } from "node:net";
import { TlsFront } from "./grpc-tls.ts";
import { type ConnectionInjector, injectorOf, type Server } from "./grpc.ts";
import type { Component } from "./lifecycle.ts";
import type { TlsSource } from "./tls.ts";

/** Milliseconds of silence after which TCP asks whether the other side is there; ten seconds later it is not. */
const TCP_KEEPALIVE_MS = 30_000;

/**
 * Connections of one process; one more is closed at once. A service holds a few; with a full gateway's 15,000 of
 * browsers this stays below the 20,000 files that a process may open.
 */
export const GRPC_CONNECTIONS_MAX = 2_000;

/** Milliseconds in which a new connection must have begun to speak. */
const FIRST_WORD_MS = 10_000;

export interface GrpcConnectionLimits {
  readonly connectionsMax?: number;
  readonly firstWordMs?: number;
  /** Absent: plain text. */
  readonly tls?: TlsSource | undefined;
}

interface Connection {
  /** One a connection: an injector lets go of all its connections at once. */
  readonly injector: ConnectionInjector;
  held: number;
}

export class GrpcConnections implements Component {
  readonly #server: Server;
  /** By `host:port` of the client, as its calls name it. */
  readonly #byPeer = new Map<string, Connection>();
  readonly #connectionsMax: number;
  readonly #firstWordMs: number;
  /** Undefined: plain text. */
  readonly #tls: TlsFront | undefined;
  /** Connections that were closed at once. */
  #refused = 0;
  #draining = false;
  #emptied: (() => void) | undefined;

  constructor(server: Server, limits: GrpcConnectionLimits = {}) {
    this.#server = server;
    this.#connectionsMax = limits.connectionsMax ?? GRPC_CONNECTIONS_MAX;
    this.#firstWordMs = limits.firstWordMs ?? FIRST_WORD_MS;
    if (limits.tls !== undefined) this.#tls = new TlsFront(limits.tls, (socket) => this.#secured(socket));
  }

  get size(): number {
    return this.#byPeer.size;
  }

  get refused(): number {
    return this.#refused;
  }

  accept(socket: Socket): void {
    if (this.#byPeer.size >= this.#connectionsMax) {
      this.#refused += 1;
      socket.destroy();
      return;
    }
    const peer = peerOf(socket);
    const injector = injectorOf(this.#server);
    const connection = { injector, held: 0 };
    this.#byPeer.set(peer, connection);
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    socket.once("close", () => this.#forget(peer, connection));
    if (this.#tls === undefined) this.#inject(socket, injector);
    else this.#tls.accept(socket);
  }

  #secured(socket: Socket): void {
    const connection = this.#byPeer.get(peerOf(socket));
    if (connection === undefined) socket.destroy();
    else this.#inject(socket, connection.injector);
  }

  #inject(socket: Socket, injector: ConnectionInjector): void {
    const firstWord = setTimeout(() => {
      if (socket.bytesRead === 0) socket.destroy();
    }, this.#firstWordMs);
    socket.once("close", () => clearTimeout(firstWord));
    injector.injectConnection(socket);
    if (this.#draining) injector.destroy();
  }

  #forget(peer: string, connection: Connection): void {
    connection.injector.destroy();
    if (this.#byPeer.get(peer) === connection) this.#byPeer.delete(peer);
    if (this.#byPeer.size === 0) this.#emptied?.();
  }

  /** Keeps a connection from being told to go by `drain`, until the returned function is called (once). */
  hold(peer: string): () => void {
    const connection = this.#byPeer.get(peer);
    if (connection === undefined) return () => undefined;
    connection.held += 1;
    return () => {
      connection.held -= 1;
      if (connection.held === 0 && this.#draining) connection.injector.destroy();
    };
  }

  /** Tells one connection to go, held or not. */
  leave(peer: string): void {
    this.#byPeer.get(peer)?.injector.destroy();
  }

  /** Tells every connection to go, as soon as it is not held; resolves when all are gone. */
  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    for (const { injector, held } of this.#byPeer.values()) if (held === 0) injector.destroy();
    if (this.#byPeer.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.#emptied = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** The server ends what is left. */
  close(): Promise<void> {
    this.#draining = true;
    this.#tls?.close();
    for (const { injector } of this.#byPeer.values()) injector.destroy();
    return Promise.resolve();
  }
}

/** As calls name it. */
function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}
