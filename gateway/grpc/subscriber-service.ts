// Owns: SubscriberService.Subscribe: a session carried by a gRPC server stream, for services in the cluster. Its socket is
// an adapter: gRPC sends one message at a time and says when it was taken, so bytes under way are counted here.

import type { Edge } from "#core/edge/edge.ts";
import { addressOf, admitCaller } from "#core/edge/grpc-caller.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Timer } from "#core/runtime/clock.ts";
import { bindService, type Server, type ServerWritableStream, toStatus } from "#core/runtime/grpc.ts";
import type { GrpcConnections } from "#core/runtime/grpc-connections.ts";
import type { Log } from "#core/runtime/log.ts";
import { type SubscribeRequest, type SubscribeResponse, SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";
import { GRPC } from "../fanout/encoding.ts";
import type { Admission } from "../sessions/admission.ts";
import { refuseIfNone } from "../sessions/refuse-if-none.ts";
import type { OutboxSocket } from "../sessions/outbox.ts";
import { type Ping, type Pinged, type Pings, Taking } from "../sessions/pings.ts";
import type { Session, SessionEnd, Transport } from "../sessions/session.ts";
import type { Sessions } from "../sessions/sessions.ts";
import type { Subscribing } from "../sessions/subscribing.ts";
import type { Wheel } from "../sessions/wheel.ts";

export interface SubscriberDeps {
  readonly edge: Pick<Edge, "authenticate" | "admitCall" | "authorize">;
  readonly sessions: Sessions;
  readonly subscribing: Subscribing;
  readonly admission: Admission;
  readonly subscriptionsMax: number;
  readonly connections: Pick<GrpcConnections, "hold" | "leave">;
  readonly pings: Pings;
  readonly wheel: Wheel;
  readonly log: Log;
}

type Call = ServerWritableStream<SubscribeRequest, SubscribeResponse | Uint8Array>;

export function bindSubscriberService(server: Server, deps: SubscriberDeps): void {
  bindService(server, SubscriberService, {
    subscribe: (call) => {
      void subscribe(deps, call).catch((error: unknown) => {
        if (!(error instanceof EarshotError)) deps.log.error({ error }, "subscribe call failed");
        call.emit("error", toStatus(error));
      });
    },
  });
}

async function subscribe(deps: SubscriberDeps, call: Call): Promise<void> {
  const { sessions, admission, subscribing } = deps;
  if (sessions.draining) throw new EarshotError("draining");
  const peer = call.getPeer();
  const address = addressOf(peer);
  admission.enter(address);
  const opened = await open(deps, call, peer).catch((error: unknown) => {
    admission.leave(address);
    throw error;
  });
  const { session } = new GrpcStream(call, deps, address);
  if (call.cancelled) {
    session.gone();
    return;
  }
  try {
    sessions.admit(session, opened.principal);
  } catch (error) {
    session.gone();
    throw error;
  }
  const { presence } = call.request;
  for (const topicId of opened.topicIds) {
    subscribing.subscribe(session, { id: undefined, topicId, echo: true, presence });
  }
}

/** Who calls, and for which topics; throws what is wrong. */
async function open(deps: SubscriberDeps, call: Call, peer: string) {
  const caller = await admitCaller(deps.edge, { metadata: call.metadata, peer });
  const topicIds = [...new Set(call.request.topicIds)];
  if (topicIds.length < 1 || topicIds.length > deps.subscriptionsMax) {
    throw new EarshotError("invalid_request", `topic_ids must name 1 to ${deps.subscriptionsMax} topics`);
  }
  refuseIfNone(deps.edge, caller.principal, topicIds);
  return { principal: caller.principal, topicIds };
}

class GrpcStream implements Transport, Pinged {
  readonly encoding = GRPC;
  readonly socket: GrpcSocket;
  readonly session: Session;
  /** TCP finds out who is gone while nothing waits; nothing is said for it. */
  readonly pingIntervalMs = 0;
  readonly #call: Call;
  readonly #deps: SubscriberDeps;
  readonly #ping: Ping;
  readonly #taking = new Taking();
  #release: (() => void) | undefined;
  #moving: Timer | undefined;

  constructor(call: Call, deps: SubscriberDeps, address: string) {
    this.#call = call;
    this.#deps = deps;
    this.#release = deps.connections.hold(call.getPeer());
    this.socket = new GrpcSocket(call);
    this.session = deps.sessions.enter(this, address);
    this.#ping = deps.pings.add(this);
    for (const over of ["cancelled", "error", "close"]) call.once(over, () => this.#over());
  }

  ping(): void {
    if (this.#taking.isAlive(this.socket.writableLength, this.socket.taken)) this.#ping.heard();
  }

  silent(): void {
    this.session.end(3102);
  }

  /** Its next call is made on a new connection, which is another gateway's, once this one was told to go. */
  moving(delayMs: number): void {
    const { connections, wheel } = this.#deps;
    this.#moving = wheel.after(delayMs - TELL_BEFORE_MS, () => connections.leave(this.#call.getPeer()));
  }

  end({ code, message }: SessionEnd): void {
    const error = errorOf(code, message);
    if (error === undefined) this.#call.end();
    else this.#call.emit("error", toStatus(error));
    this.#over();
  }

  #over(): void {
    this.#ping.stop();
    this.#moving?.cancel();
    this.#release?.();
    this.#release = undefined;
    this.session.gone();
  }
}

/** Milliseconds by which a connection is told to go before its client opens the next stream. */
const TELL_BEFORE_MS = 250;

/** What the end of a session is in gRPC: a status, or the plain end after a `reconnect` event. */
function errorOf(code: SessionEnd["code"], message: string | undefined): EarshotError | undefined {
  if (code === 1012) return undefined;
  if (code === 3101) return new EarshotError("token_expired", message);
  if (code === 3103) return new EarshotError("backpressure", message ?? "this stream did not read fast enough");
  return new EarshotError("overloaded", message);
}

/** Bytes given to a call before it counts as behind: HTTP/2's own first window. */
const WINDOW_BYTES = 64 * 1024;

class GrpcSocket implements OutboxSocket {
  /** Bytes that were taken so far. */
  taken = 0;
  readonly #call: Call;
  #underWay = 0;

  constructor(call: Call) {
    this.#call = call;
  }

  get writableLength(): number {
    return Math.max(0, this.#underWay - WINDOW_BYTES);
  }

  write(bytes: Uint8Array, taken?: (error?: Error | null) => void): boolean {
    if (bytes.length === 0) {
      this.#whenTaken(taken);
      return true;
    }
    this.#underWay += bytes.length;
    return this.#call.write(bytes, (error?: Error | null) => {
      this.#underWay -= bytes.length;
      this.taken += bytes.length;
      taken?.(error);
      if (this.#underWay <= WINDOW_BYTES) this.#tell(error);
    });
  }

  cork(): void {}

  uncork(): void {}

  #waiting: ((error?: Error | null) => void) | undefined;

  #whenTaken(taken: ((error?: Error | null) => void) | undefined): void {
    if (taken === undefined) return;
    if (this.#underWay <= WINDOW_BYTES) queueMicrotask(taken);
    else this.#waiting = taken;
  }

  #tell(error: Error | null | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(error);
  }
}
