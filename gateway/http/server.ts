// Owns: node:http's server as fastify needs it, hardened: small headers, few requests at once on one connection, and
// whoever is slow to send a request is cut off. What HTTP itself refuses, before there is a request, is a problem too.

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyServerFactoryHandler } from "fastify";
import { createServer, STATUS_CODES } from "#core/runtime/node-http.ts";
import { PROBLEM_TYPE, type Problem, protocolProblem } from "./problem.ts";

/** Bytes of all headers: a token of some 8 KiB and a long path fit. */
const HEADER_BYTES_MAX = 16 * 1024;

/** Milliseconds in which a request's headers must have come: slow loris. */
const HEADERS_TIMEOUT_MS = 10_000;

/** Milliseconds in which a whole request must have come: 1.4 MiB at 400 kbit/s. Answers may take as long as they like. */
const REQUEST_TIMEOUT_MS = 30_000;

/** Milliseconds between looks for requests that are late. */
const LATE_CHECK_MS = 2_000;

/** Milliseconds an idle connection is kept: longer than a load balancer keeps it (60 s), so that it closes first. */
const KEEP_ALIVE_MS = 65_000;

/**
 * Milliseconds without a byte in either direction after which a connection is ended, also one whose client does not read
 * its answer: far longer than any answer takes. Streams and WebSockets have signs of life of their own.
 */
const SILENT_MS = 60_000;

/**
 * Requests of one connection that may wait behind one without its answer; one more ends the connection. Browsers send
 * none, tools a few. node:http itself takes all that come in one packet: 1,000 and more, each 20 KB until its turn.
 */
const PIPELINED_MAX = 16;

/** Makes the server. It is never told to listen: connections are emitted into it. */
export function createHttpServer(handler: FastifyServerFactoryHandler): Server {
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: LATE_CHECK_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      noDelay: true,
      shouldUpgradeCallback: asksForWebSocket,
    },
    limitPipelining(handler),
  );
  server.setTimeout(SILENT_MS);
  server.on("checkExpectation", refuseExpectation);
  // node:http begins to look for late requests when it hears that it listens, which nobody else tells it here.
  server.emit("listening");
  return server;
}

/**
 * Whether a request is to become a WebSocket. Every other upgrade is passed over and the request answered as it is
 * (RFC 9110, 7.8): Java's HttpClient and `curl --http2` ask for h2c on each first request.
 */
function asksForWebSocket({ headers: { upgrade = "" } }: IncomingMessage): boolean {
  return upgrade.split(",").some((protocol) => protocol.trim().toLowerCase() === "websocket");
}

function limitPipelining(handler: FastifyServerFactoryHandler): FastifyServerFactoryHandler {
  const waiting = new WeakMap<Socket, number>();
  return (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    // What else the packet held that ended the connection.
    if (socket.destroyed) return;
    // An answer has its socket once those before it are sent.
    if (response.socket === null) {
      const before = waiting.get(socket) ?? 0;
      if (before >= PIPELINED_MAX) {
        socket.destroy();
        return;
      }
      waiting.set(socket, before + 1);
      response.once("socket", () => waiting.set(socket, (waiting.get(socket) ?? 1) - 1));
    }
    handler(request, response);
  };
}

/** 100-continue is node:http's own; there are no others (RFC 9110, 10.1.1). */
function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const { status, body } = protocolProblem(417, "Expect may only ask for 100-continue");
  response
    .writeHead(status, { "content-type": PROBLEM_TYPE, "cache-control": "no-store", connection: "close" })
    .end(body);
}

/** Answers a connection whose bytes are not a request, and ends it. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  const answering = (socket as { _httpMessage?: { headersSent: boolean } })._httpMessage?.headersSent === true;
  if (error.code === "ECONNRESET" || answering || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, body } = clientErrorProblem(error.code);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\ncache-control: no-store\r\n\r\n${body}`,
  );
}

function clientErrorProblem(code: string | undefined): Problem {
  if (code === "HPE_HEADER_OVERFLOW")
    return protocolProblem(431, `headers have at most ${HEADER_BYTES_MAX} bytes in all`);
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return protocolProblem(408, "the request took too long to arrive");
  return protocolProblem(400, "this is not an HTTP/1.1 request");
}
