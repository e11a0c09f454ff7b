// Owns: one WebSocket connection: its frames in, one after the other, and its end. A token that is being verified holds
// back what came after it. Invariant: whatever a client sends, it gets an answer or a close of the table.
// Elsewhere: the upgrade (door.ts), what a frame may be (client-frame.ts), everything a session does (gateway/sessions).

import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import { CLOSES } from "#core/domain/closes.ts";
import { CONNECTION_UNANSWERED_BYTES_MAX, TOKEN_WAIT_MS } from "#core/domain/limits.ts";
import type { Edge } from "#core/edge/edge.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { EarshotError, messageOf } from "#core/runtime/errors.ts";
import type { Log } from "#core/runtime/log.ts";
import { WEBSOCKET } from "../fanout/encoding.ts";
import { WEBSOCKET_PING, webSocketPong } from "../fanout/frames.ts";
import type { Session, SessionEnd, Transport } from "../sessions/session.ts";
import type { Sessions } from "../sessions/sessions.ts";
import type { Subscribing } from "../sessions/subscribing.ts";
import type { UrlSubscriptions } from "../sessions/url-subscriptions.ts";
import type { Wheel } from "../sessions/wheel.ts";
import { type ClientFrame, parseClientFrame } from "./client-frame.ts";
import { Flood } from "./flood.ts";
import type { Ping, Pinged, Pings } from "../sessions/pings.ts";

export interface ClientDeps {
  readonly sessions: Sessions;
  readonly subscribing: Subscribing;
  readonly edge: Pick<Edge, "publish">;
  readonly pings: Pings;
  readonly wheel: Wheel;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: {
    readonly controlMessagesPerSecond: number;
    readonly controlMessagesBurst: number;
    readonly anonymous: boolean;
  };
  readonly totals: ClientTotals;
}

/** What all clients of a process share. */
export interface ClientTotals {
  /** Bytes of publishes that wait for their answer. */
  unansweredBytes: number;
  /** Frames above the limit of control messages. */
  framesDropped: number;
}

/** What the upgrade request asked for. */
export interface UpgradeRequest {
  readonly address: string;
  readonly token: string | undefined;
  /** Or why they cannot be read. */
  readonly subscriptions: UrlSubscriptions | EarshotError;
}

/** Serves a WebSocket until it ends. */
export function serveWebSocket(ws: WebSocket, socket: Socket, request: UpgradeRequest, deps: ClientDeps): void {
  const client = new WebSocketClient(ws, socket, request.address, deps);
  client.begin(request);
}

/** Bytes of a close frame's reason (RFC 6455, 5.5: 125 with the code). */
const CLOSE_REASON_BYTES_MAX = 123;

class WebSocketClient implements Transport, Pinged {
  readonly encoding = WEBSOCKET;
  readonly pingIntervalMs: number;
  readonly socket: Socket;
  readonly #ws: WebSocket;
  readonly #deps: ClientDeps;
  readonly #session: Session;
  readonly #ping: Ping;
  #onWelcome: () => void = () => undefined;
  #flood: Flood | undefined;
  /** Frames that wait for a token to be verified; undefined when none is. */
  #held: Buffer[] | undefined;
  /** Bytes of publishes that were not answered yet. */
  #unansweredBytes = 0;

  constructor(ws: WebSocket, socket: Socket, address: string, deps: ClientDeps) {
    this.#ws = ws;
    this.socket = socket;
    this.pingIntervalMs = deps.pings.intervalMs;
    this.#deps = deps;
    this.#session = deps.sessions.enter(this, address);
    this.#ping = deps.pings.add(this);
    ws.on("message", (data: Buffer, isBinary: boolean) => this.#message(data, isBinary));
    ws.on("ping", (data: Buffer) => this.#pinged(data));
    ws.on("pong", () => this.#ponged());
    ws.on("error", () => undefined);
    ws.on("close", () => this.#closed());
  }

  ping(): void {
    this.#session.outbox.control(WEBSOCKET_PING);
  }

  silent(): void {
    this.#session.end(3102);
  }

  end({ code, message }: SessionEnd): void {
    this.#ping.stop();
    this.#held = undefined;
    this.#ws.close(code, shorten(message ?? CLOSES[code].meaning));
  }

  #closed(): void {
    this.#ping.stop();
    this.#held = undefined;
    this.#session.gone();
  }

  /** Verifies the token that came with the upgrade, or waits for one. */
  begin({ token, subscriptions }: UpgradeRequest): void {
    const { limits, wheel } = this.#deps;
    if (token !== undefined || limits.anonymous) {
      this.#verify(token, undefined, () => this.#subscribeAll(subscriptions));
      return;
    }
    const waiting = wheel.after(TOKEN_WAIT_MS, () => {
      if (this.#session.state !== "entering") return;
      this.#session.failWith(
        new EarshotError("unauthenticated", `no token came within ${TOKEN_WAIT_MS / 1_000} s`),
        4401,
      );
    });
    this.#session.endTimer = waiting;
    this.#onWelcome = () => this.#subscribeAll(subscriptions);
  }

  #subscribeAll(subscriptions: UrlSubscriptions | EarshotError): void {
    if (subscriptions instanceof EarshotError) {
      this.#session.sayError(subscriptions);
      return;
    }
    const { topicIds, echo, presence } = subscriptions;
    for (const topicId of topicIds) {
      this.#deps.subscribing.subscribe(this.#session, { id: undefined, topicId, echo, presence });
    }
  }

  #message(data: Buffer, isBinary: boolean): void {
    this.#ping.heard();
    if (this.#session.state === "ended") return;
    if (isBinary) {
      this.#session.end(1003, "frames are text");
      return;
    }
    if (!this.#passes()) return;
    if (this.#held === undefined) this.#frame(data);
    else this.#held.push(data);
  }

  /** Answered like everything else: ws itself would answer whoever reads nothing without end. */
  #pinged(data: Buffer): void {
    this.#ping.heard();
    if (this.#session.state !== "ended" && this.#passes()) this.#session.outbox.control(webSocketPong(data));
  }

  /** Nobody sends more of them than it was sent pings, unless to keep this process busy. */
  #ponged(): void {
    this.#ping.heard();
    if (this.#session.state !== "ended") this.#passes();
  }

  #passes(): boolean {
    const { clock, limits, totals } = this.#deps;
    const nowMs = clock.monotonic();
    this.#flood ??= new Flood(limits.controlMessagesPerSecond, limits.controlMessagesBurst, nowMs);
    const verdict = this.#flood.judge(nowMs);
    if (verdict !== "pass") totals.framesDropped += 1;
    switch (verdict) {
      case "pass":
        return true;
      case "drop":
        return false;
      case "tell":
        this.#session.sayError(
          new EarshotError("rate_limited", `more than ${limits.controlMessagesPerSecond} frames a second; dropped`),
        );
        return false;
      case "end":
        this.#session.end(4429);
        return false;
    }
  }

  #frame(data: Buffer): void {
    const parsed = parseClientFrame(data);
    switch (parsed.kind) {
      case "foreign":
        this.#session.failWith(new EarshotError("invalid_json", parsed.message), 4400);
        return;
      case "refused":
        this.#session.sayError(parsed.error, parsed.id, parsed.topicId);
        return;
      case "frame":
        this.#do(parsed.frame);
    }
  }

  #do(frame: ClientFrame): void {
    const session = this.#session;
    if (session.state === "entering" && frame.type !== "token") {
      session.failWith(new EarshotError("unauthenticated", "the first frame must be a token"), 4401);
      return;
    }
    switch (frame.type) {
      case "subscribe":
        this.#deps.subscribing.subscribe(session, frame);
        return;
      case "unsubscribe":
        this.#deps.subscribing.unsubscribe(session, frame.topicId, frame.id);
        return;
      case "publish":
        this.#publish(frame);
        return;
      case "token":
        this.#verify(frame.token, frame.id, this.#onWelcome);
        return;
      case "ping":
        session.say({ type: "pong", id: frame.id });
    }
  }

  #publish({ id, input }: Extract<ClientFrame, { type: "publish" }>): void {
    const session = this.#session;
    const { topicId, receipt, content } = input;
    const bytes = content.kind === "json" ? content.text.length : content.bytes.length;
    const { totals } = this.#deps;
    this.#unansweredBytes += bytes;
    totals.unansweredBytes += bytes;
    this.#follow();
    this.#deps.edge
      .publish(session.caller(), input)
      .then(
        (result) => session.say({ type: "published", id, topicId, result, receipt }),
        (error: unknown) => session.sayError(this.#operating(error), id, topicId),
      )
      .finally(() => {
        this.#unansweredBytes -= bytes;
        totals.unansweredBytes -= bytes;
        this.#follow();
      });
  }

  /** Reads on, or not: while a token is verified, or too much waits for its answer. */
  #follow(): void {
    const mayRead = this.#held === undefined && this.#unansweredBytes < CONNECTION_UNANSWERED_BYTES_MAX;
    if (mayRead === !this.#ws.isPaused) return;
    if (mayRead) this.#ws.resume();
    else this.#ws.pause();
  }

  /** Verifies a token; what comes meanwhile waits. `welcomed` runs when this was the first one. */
  #verify(token: string | undefined, id: string | undefined, welcomed: () => void): void {
    const session = this.#session;
    const wasOpen = session.state === "open";
    this.#held = [];
    this.#follow();
    this.#deps.sessions.authenticate(session, token, id).then(
      () => {
        if (!wasOpen) welcomed();
        this.#release();
      },
      (error: unknown) => {
        const known = this.#operating(error);
        if (wasOpen) session.sayError(known, id);
        else session.failWith(notItsOwn(known), 4401);
        this.#release();
      },
    );
  }

  #release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    while (held.length > 0 && this.#session.state !== "ended") {
      const data = held.shift();
      if (data !== undefined) this.#frame(data);
      // Another token among them: the rest waits for that one.
      if (this.#held !== undefined) {
        (this.#held as Buffer[]).push(...held);
        return;
      }
    }
    this.#follow();
  }

  /** What may be told to a client; what may not is logged, and told as an overload. */
  #operating(error: unknown): EarshotError {
    if (error instanceof EarshotError) return error;
    this.#deps.log.error({ error }, "frame failed");
    return new EarshotError("overloaded", messageOf("internal error"));
  }
}

/** Others at its address sent too many bad tokens: the client has done nothing that 4429 would be right for. */
function notItsOwn(error: EarshotError): EarshotError {
  return error.code === "rate_limited" ? new EarshotError("overloaded", error.message) : error;
}

/** A close reason that fits its frame; ours are ASCII but for what users named. */
function shorten(reason: string): string {
  const bytes = Buffer.from(reason);
  if (bytes.length <= CLOSE_REASON_BYTES_MAX) return reason;
  return bytes
    .subarray(0, CLOSE_REASON_BYTES_MAX - 3)
    .toString("utf8")
    .replace(/\uFFFD+$/, "");
}
