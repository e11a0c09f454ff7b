// Owns: the two SSE routes. An EventSource never retries after anything but 200, so an overloaded or draining gateway
// answers 200, tells when to come back, and ends; what is wrong with the request itself stays a real error, but only when
// none of its topics can be had. Elsewhere: the stream (stream.ts), errors (gateway/http).

import type { BlockList } from "node:net";
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import type { Edge } from "#core/edge/edge.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { sseEvent } from "../fanout/frames.ts";
import { clientAddress } from "../http/client-address.ts";
import { tokenOf } from "../http/identify.ts";
import type { Admission } from "../sessions/admission.ts";
import { refuseIfNone } from "../sessions/refuse-if-none.ts";
import { toJson } from "../sessions/control-frame.ts";
import type { Pings } from "../sessions/pings.ts";
import { comeBackDelayMs } from "../sessions/session.ts";
import type { Sessions } from "../sessions/sessions.ts";
import type { Subscribing } from "../sessions/subscribing.ts";
import { readUrlSubscriptions, type UrlSubscriptions } from "../sessions/url-subscriptions.ts";
import { beginStream, retryLine, SseStream } from "./stream.ts";

export interface SseDeps {
  readonly edge: Pick<Edge, "authenticate" | "authorize">;
  readonly sessions: Sessions;
  readonly subscribing: Subscribing;
  readonly admission: Admission;
  readonly pings: Pings;
  readonly trusted: BlockList;
  readonly subscriptionsMax: number;
  readonly anonymous: boolean;
}

export function createSseRoutes(deps: SseDeps): FastifyPluginAsync {
  return async (app: FastifyInstance) => {
    // Without a body there is no stream: HEAD is not taken.
    const options = { exposeHeadRoute: false };
    app.get<{ Params: { topic_id: string } }>("/api/v1/topics/:topic_id/subscribe", options, (request, reply) =>
      open(deps, request, reply, request.params.topic_id),
    );
    app.get("/api/v1/subscribe", options, (request, reply) => open(deps, request, reply, undefined));
  };
}

/** Answers with a stream, or throws what is wrong. */
async function open(
  deps: SseDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  topicId: string | undefined,
): Promise<void> {
  const { admission, sessions } = deps;
  const address = clientAddress(request.socket.remoteAddress, request.headers["x-forwarded-for"], deps.trusted);
  if (sessions.draining || !entered(admission, address)) {
    turnAway(reply);
    return;
  }
  try {
    const principal = await authenticate(deps, request, address);
    const asked = readTopics(deps, request, topicId);
    refuseIfNone(deps.edge, principal, asked.topicIds);
    stream(deps, { reply, address, principal, asked });
  } catch (error) {
    admission.leave(address);
    // What is only a matter of time is no answer that an EventSource ever tries again after.
    if (!(error instanceof EarshotError && error.retryable)) throw error;
    turnAway(reply);
  }
}

type Principal = Awaited<ReturnType<Edge["authenticate"]>>;

function entered(admission: Admission, address: string): boolean {
  try {
    admission.enter(address);
    return true;
  } catch {
    return false;
  }
}

async function authenticate(deps: SseDeps, request: FastifyRequest, address: string): Promise<Principal> {
  const principal = await deps.edge.authenticate(tokenOf(request.headers.authorization, request.query), address);
  if (principal.kind === "anonymous" && !deps.anonymous) throw new EarshotError("unauthenticated");
  return principal;
}

function readTopics(deps: SseDeps, request: FastifyRequest, topicId: string | undefined): UrlSubscriptions {
  const query = new URL(request.raw.url ?? "", "http://gateway").searchParams;
  if (topicId !== undefined) query.set("topic_id", topicId);
  const asked = readUrlSubscriptions(query);
  const { length } = asked.topicIds;
  if (length >= 1 && length <= deps.subscriptionsMax) return asked;
  throw new EarshotError("invalid_request", `topic_id must be given 1 to ${deps.subscriptionsMax} times in the URL`, {
    field: "topic_id",
  });
}

function stream(
  deps: SseDeps,
  {
    reply,
    address,
    principal,
    asked,
  }: { reply: FastifyReply; address: string; principal: Principal; asked: UrlSubscriptions },
): void {
  const { socket } = reply.raw;
  if (socket === null || socket.destroyed) {
    if (!reply.request.socket.destroyed) {
      throw new EarshotError("invalid_request", "a stream cannot wait behind another request of its connection");
    }
    // The client left while its token was verified.
    deps.admission.leave(address);
    reply.hijack();
    return;
  }
  reply.hijack();
  const { sessions, pings, subscribing } = deps;
  const { session } = new SseStream(reply.raw, socket, { sessions, pings, address, headers: commonHeaders(reply) });
  try {
    sessions.admit(session, principal);
  } catch (error) {
    if (!(error instanceof EarshotError)) throw error;
    session.failWith(error, 1013);
    return;
  }
  const { echo, presence } = asked;
  for (const id of asked.topicIds) subscribing.subscribe(session, { id: undefined, topicId: id, echo, presence });
}

/** 200, when to come back, and the end. */
function turnAway(reply: FastifyReply): void {
  reply.hijack();
  const frame = toJson({ type: "reconnect", delayMs: comeBackDelayMs(), closesInMs: 0 });
  beginStream(reply.raw, commonHeaders(reply));
  reply.raw.socket?.write(retryLine(Math.random()));
  reply.raw.socket?.write(sseEvent(Buffer.from(frame)));
  reply.raw.end();
}

function commonHeaders(reply: FastifyReply): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(reply.getHeaders())) headers[name] = String(value);
  return headers;
}
