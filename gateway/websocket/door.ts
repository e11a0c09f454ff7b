// Owns: the library ws, and the upgrade at `GET /ws/subscribe`: who is refused before anything is hashed or verified, and
// what ws is allowed to buffer. An accepted one becomes a WebSocketClient. Browsers cannot read a refused upgrade, so
// whatever concerns a token is told after it was accepted.

import type { IncomingMessage, Server } from "node:http";
import type { BlockList, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { BODY_OVERHEAD_BYTES } from "#core/domain/limits.ts";
import type { Fleet } from "#core/fleet/fleet.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { clientAddress } from "../http/client-address.ts";
import { originAllowed } from "../http/cors.ts";
import { tokenOf } from "../http/identify.ts";
import { isAnswering } from "../http/connections.ts";
import { PROBLEM_TYPE, type Problem, problemOf, protocolProblem } from "../http/problem.ts";
import type { Admission } from "../sessions/admission.ts";
import { readUrlSubscriptions } from "../sessions/url-subscriptions.ts";
import { type ClientDeps, serveWebSocket, type UpgradeRequest } from "./client.ts";

const PATH = "/ws/subscribe";

/** Fragments of one message: nobody who writes frames of 100 bytes to a megabyte needs more; ws allows 128 Ki. */
const FRAGMENTS_MAX = 64;

/** Chunks of a frame that is not complete: a 1.4 MiB frame in packets of 1,460 bytes, with room. */
const CHUNKS_MAX = 2_048;

/** Milliseconds a client may take to answer a close. */
const CLOSE_TIMEOUT_MS = 5_000;

/** Options of ws 8.23 that its types do not have yet. */
const UNTYPED_OPTIONS = { maxFragments: FRAGMENTS_MAX, maxBufferedChunks: CHUNKS_MAX, closeTimeout: CLOSE_TIMEOUT_MS };

interface DoorDeps {
  readonly client: ClientDeps;
  readonly admission: Admission;
  readonly fleet: Pick<Fleet, "largestMessageBytes" | "onTopic">;
  readonly trusted: BlockList;
  readonly allowedOrigins: readonly string[];
}

/** ws ends with 1008 what has too many fragments or chunks; the protocol's table has 1009 for too large. */
class TableWebSocket extends WebSocket {
  override close(code?: number, data?: string | Buffer): void {
    super.close(code === 1008 ? 1009 : code, data);
  }
}

export class WebSocketDoor implements Component {
  readonly #deps: DoorDeps;
  readonly #server: WebSocketServer;
  readonly #open = new Set<WebSocket>();
  readonly #unlisten: () => void;
  #maxPayload: number;
  #closed = false;

  constructor(deps: DoorDeps) {
    this.#deps = deps;
    this.#maxPayload = maxPayload(deps.fleet);
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      autoPong: false,
      maxPayload: this.#maxPayload,
      WebSocket: TableWebSocket,
      ...UNTYPED_OPTIONS,
    });
    this.#server.on("wsClientError", ({ message }, socket) => {
      refuse(socket as Socket, protocolProblem(400, message, { "sec-websocket-version": "13" }));
    });
    this.#unlisten = deps.fleet.onTopic(() => this.#follow());
  }

  attach(server: Server): void {
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#upgrade(request, socket as Socket, head);
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#unlisten();
    for (const ws of this.#open) ws.terminate();
    this.#server.close();
    return Promise.resolve();
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on("error", destroy);
    // Its answer would be written among frames.
    if (isAnswering(socket)) {
      socket.destroy();
      return;
    }
    const url = URL.parse(request.url ?? "", "http://gateway");
    if (url === null || url.pathname !== PATH) {
      refuse(socket, protocolProblem(404, `WebSockets are at ${PATH}`));
      return;
    }
    if (request.method !== "GET") {
      refuse(socket, protocolProblem(405, "a WebSocket begins with GET", { allow: "GET" }));
      return;
    }
    const { admission, trusted, allowedOrigins, client } = this.#deps;
    const address = clientAddress(request.socket.remoteAddress, request.headers["x-forwarded-for"], trusted);
    if (!originAllowed(allowedOrigins, request.headers.origin)) {
      refuse(socket, problemOf(new EarshotError("forbidden", "this origin may not connect"), false));
      return;
    }
    if (this.#closed || client.sessions.draining) {
      refuse(socket, problemOf(new EarshotError("draining"), false));
      return;
    }
    try {
      admission.enter(address);
    } catch (error) {
      refuse(socket, problemOf(error, false));
      return;
    }
    // The place is given back by the session's end, or here when there never is one.
    const abandoned = (): void => admission.leave(address);
    socket.once("close", abandoned);
    this.#server.handleUpgrade(request, socket, head, (ws) => {
      socket.off("close", abandoned);
      socket.off("error", destroy);
      this.#open.add(ws);
      ws.once("close", () => this.#open.delete(ws));
      serveWebSocket(ws, socket, upgradeRequest(request, url, address), client);
    });
  }

  /** The largest frame follows the largest Topic, for live connections too. */
  #follow(): void {
    const bytes = maxPayload(this.#deps.fleet);
    if (bytes === this.#maxPayload) return;
    this.#maxPayload = bytes;
    this.#server.options.maxPayload = bytes;
    for (const ws of this.#open) setMaxPayload(ws, bytes);
  }
}

function maxPayload(fleet: Pick<Fleet, "largestMessageBytes">): number {
  return Math.ceil((fleet.largestMessageBytes * 4) / 3) + BODY_OVERHEAD_BYTES;
}

/** ws has no way to change the limit of a live connection; its receiver reads this field for each frame (8.23). */
function setMaxPayload(ws: WebSocket, bytes: number): void {
  const { _receiver: receiver } = ws as unknown as { _receiver?: { _maxPayload: number } };
  if (receiver !== undefined) receiver._maxPayload = bytes;
}

function upgradeRequest(request: IncomingMessage, url: URL, address: string): UpgradeRequest {
  let token: string | undefined;
  let subscriptions: UpgradeRequest["subscriptions"];
  try {
    subscriptions = readUrlSubscriptions(url.searchParams);
  } catch (error) {
    if (!(error instanceof EarshotError)) throw error;
    subscriptions = error;
  }
  try {
    token = tokenOf(request.headers.authorization, { token: url.searchParams.get("token") ?? undefined });
  } catch {
    // Not a Bearer token: verified as it is, it fails like any bad one, where the client can read it.
    token = request.headers.authorization;
  }
  return { address, token, subscriptions };
}

function destroy(this: Socket): void {
  this.destroy();
}

/** Answers an upgrade that does not take place, and ends the connection. */
function refuse(socket: Socket, { status, headers, body }: Problem): void {
  const all = {
    connection: "close",
    "content-type": PROBLEM_TYPE,
    "content-length": Buffer.byteLength(body),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/1.1 ${status} \r\n${lines.join("")}\r\n${body}`);
  // Nobody else looks after a socket that was to be upgraded, and its client need not ever close it.
  socket.destroySoon();
}
