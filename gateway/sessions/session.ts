// Owns: one client's connection, whatever carries it: who it is, what it is subscribed to, what it has not sent yet.
// Transports (websocket, sse, grpc) make one through Sessions, call it, and end what carries it when told so.
// Invariants: nothing is said before `welcome` but an error, nothing at all after the end; it ends once.
// Elsewhere: how a subscription comes to be (subscribing.ts), token and age (token-life.ts, sessions.ts).

import { randomBytes } from "node:crypto";
import type { CloseCode } from "#core/domain/closes.ts";
import { type Code, type CodeEntry, CODES } from "#core/domain/codes.ts";
import { ANONYMOUS, type Principal, publicIdOf } from "#core/domain/principal.ts";
import type { Caller } from "#core/edge/edge.ts";
import type { Timer } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Encoding } from "../fanout/encoding.ts";
import { encodeControl } from "../fanout/notice.ts";
import type { Listener, Subscription } from "../fanout/subscription.ts";
import { encodeGrpcControl } from "../grpc/events.ts";
import type { ControlFrame } from "./control-frame.ts";
import { Outbox, type OutboxLimits, type OutboxOwner, type OutboxSocket, type OutboxTotals } from "./outbox.ts";

/** Why a connection ends; transports tell it in their own words. */
export interface SessionEnd {
  readonly code: CloseCode;
  /** For the client's eyes; undefined: the meaning of the code says all. */
  readonly message: string | undefined;
}

/** What carries a session. */
export interface Transport {
  readonly encoding: Encoding;
  readonly socket: OutboxSocket;
  /** Milliseconds between signs of life that the client may expect. */
  readonly pingIntervalMs: number;
  /** Ends the connection in an orderly way; what was written before is sent first. */
  end(end: SessionEnd): void;
  /** Its client was told to open a new connection after `delayMs`; absent: nothing else is to be done. */
  moving?(delayMs: number): void;
}

type SessionState =
  /** Its token is awaited or being verified. */
  "entering" | "open" | "ended";

/** By which code this side ended it; `gone`: the client left, or the transport ended it by itself. */
export type SessionEnding = CloseCode | "gone";

interface SessionOptions {
  readonly id: string;
  readonly address: string;
  readonly transport: Transport;
  readonly limits: OutboxLimits;
  readonly totals: OutboxTotals;
  /** Called once, when it has ended for whatever reason. */
  readonly ended: (session: Session, how: SessionEnding) => void;
}

export class Session implements Listener, OutboxOwner {
  readonly connectionId: string;
  /** Secret by which an anonymous client proves over HTTP that the connection is its own. */
  readonly key: string;
  readonly address: string;
  readonly outbox: Outbox;
  readonly subscriptions = new Map<string, Subscription>();
  principal: Principal = ANONYMOUS;
  /** Warning and end of its token. */
  tokenTimer: Timer | undefined;
  /** Its greatest age, and every other end that is planned. */
  endTimer: Timer | undefined;
  readonly #options: SessionOptions;
  #state: SessionState = "entering";
  #subscriptionCounter = 0;

  constructor(options: SessionOptions) {
    const { id, address, transport, limits, totals } = options;
    this.#options = options;
    this.connectionId = id;
    this.key = randomBytes(16).toString("base64url");
    this.address = address;
    this.outbox = new Outbox(transport.encoding, transport.socket, { limits, totals }, this);
  }

  get state(): SessionState {
    return this.#state;
  }

  get encoding(): Encoding {
    return this.#options.transport.encoding;
  }

  /** What others see of who this is. */
  get userId(): string {
    return publicIdOf(this.principal, this.connectionId);
  }

  get tokenExpiresAtMs(): number | undefined {
    return this.principal.kind === "anonymous" ? undefined : this.principal.expiresAtMs;
  }

  caller(): Caller {
    return { principal: this.principal, address: this.address, connectionId: this.connectionId, door: "websocket" };
  }

  newSubscriptionId(): string {
    this.#subscriptionCounter += 1;
    return `s${this.#subscriptionCounter}`;
  }

  /** The first frame: from now on it may subscribe. */
  welcome(): void {
    if (this.#state !== "entering") return;
    this.#state = "open";
    this.say({
      type: "welcome",
      connectionId: this.connectionId,
      connectionKey: this.key,
      userId: this.userId,
      pingIntervalMs: this.#options.transport.pingIntervalMs,
      tokenExpiresAtMs: this.tokenExpiresAtMs,
    });
  }

  say(frame: ControlFrame): void {
    if (this.#state === "ended") return;
    const bytes = encodeControl(frame, this.encoding, encodeGrpcControl);
    if (bytes !== undefined) this.outbox.control(bytes);
  }

  /** Tells what went wrong; the connection goes on. */
  sayError(error: EarshotError, id?: string, topicId?: string): void {
    this.say({ type: "error", id, topicId, code: error.code, message: error.message });
  }

  /** Ends it as an error of the table does, after telling the error. */
  failWith(error: EarshotError, otherwise: CloseCode): void {
    this.sayError(error);
    const code = closeCodeOf(error.code, otherwise);
    if (code === 1013) this.say({ type: "reconnect", delayMs: comeBackDelayMs(), closesInMs: 0 });
    this.end(code, error.message);
  }

  /** Tells the client to open a new connection after `delayMs`; this one ends `closesInMs` from now. */
  move(delayMs: number, closesInMs: number): void {
    if (this.#state === "ended") return;
    this.say({ type: "reconnect", delayMs, closesInMs });
    this.#options.transport.moving?.(delayMs);
  }

  end(code: CloseCode, message?: string): void {
    if (this.#state === "ended") return;
    // A slow consumer does not read its queue anyway; everybody else gets the last words.
    if (code === 3103) this.outbox.close();
    else this.outbox.flushAll();
    this.#finish(code);
    this.#options.transport.end({ code, message });
  }

  /** The client is gone, or the transport has ended it by itself. */
  gone(): void {
    if (this.#state === "ended") return;
    this.outbox.close();
    this.#finish("gone");
  }

  gapFrame(topicId: string, missed: number): Buffer {
    const frame: ControlFrame = { type: "gap", topicId, missed, reason: "slow_consumer" };
    return encodeControl(frame, this.encoding, encodeGrpcControl) ?? Buffer.alloc(0);
  }

  tooSlow(): void {
    this.end(3103);
  }

  #finish(how: SessionEnding): void {
    this.#state = "ended";
    this.tokenTimer?.cancel();
    this.endTimer?.cancel();
    this.#options.ended(this, how);
  }
}

/** Milliseconds after which a client that was turned away comes back, jittered. */
const COME_BACK_MS_MIN = 1_000;
const COME_BACK_MS_MAX = 5_000;

export function comeBackDelayMs(): number {
  return Math.round(COME_BACK_MS_MIN + Math.random() * (COME_BACK_MS_MAX - COME_BACK_MS_MIN));
}

function closeCodeOf(code: Code, otherwise: CloseCode): CloseCode {
  const entry: CodeEntry = CODES[code];
  return (entry.close as CloseCode | undefined) ?? otherwise;
}
