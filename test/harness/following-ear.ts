// Owns: a subscriber for the message counter, by WebSocket, SSE or gRPC, that does what docs/protocol.md asks of a client:
// told `reconnect` it opens a new connection, at another gateway, before it leaves the old one, and takes what both
// bring once; a connection that breaks is followed by another one.

import { setTimeout as delay } from "node:timers/promises";
import { GatewayChoice, type Gateways } from "./gateway-choice.ts";
import { GrpcEars, type GrpcEvent } from "./grpc-ears.ts";
import type { Frames } from "./frames.ts";
import type { Hearing, MessageCounter } from "./message-counter.ts";
import { SseClient } from "./sse.ts";
import { WebSocketClient } from "./websocket.ts";

export const EAR_KINDS = ["websocket", "sse", "grpc"] as const;
type EarKind = (typeof EAR_KINDS)[number];

export interface EarOptions {
  readonly kind: EarKind;
  readonly gateways: Gateways;
  readonly home: string;
  readonly topicId: string;
  readonly token?: string;
  /** Told to move it leaves the old connection before it opens the new one, as a careless client does. */
  readonly leavesFirst?: boolean;
}

/** Milliseconds between tries to come back. A client of users would wait longer, and not the same. */
const RETRY_MS = 20;

interface Connection {
  readonly ended: Promise<unknown>;
  close(): unknown;
}

/** What is not numbered is somebody else's, and is not counted. */
interface ConnectionEvents extends Pick<Hearing, "gap"> {
  message(number: number, messageId: string, seq: number): void;
  subscribed(): void;
  moving(delayMs: number): void;
}

export class FollowingEar {
  /** Connections that ended before another one was there in their place. */
  breaks = 0;
  /** Connections that were left as told. */
  moves = 0;
  readonly name: string;
  readonly #options: EarOptions;
  readonly #choice: GatewayChoice;
  readonly #hears: () => Hearing;
  #hearing: Hearing | undefined;
  /** Which connection brought each message first. */
  readonly #by = new Map<string, Connection>();
  /** Of each connection. */
  readonly #numbers = new Map<Connection, number>();
  #current: Connection | undefined;
  #closed = false;

  private constructor(options: EarOptions, counter: MessageCounter) {
    this.name = `${options.kind} at ${options.home}`;
    this.#options = options;
    this.#choice = new GatewayChoice(options.gateways, options.home);
    this.#hears = () => counter.listen(this.name);
  }

  /** Resolves once it is subscribed, and counted from then on. */
  static async open(options: EarOptions, counter: MessageCounter): Promise<FollowingEar> {
    const ear = new FollowingEar(options, counter);
    await ear.#open();
    return ear;
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#numbers.keys()) connection.close();
  }

  async #open(): Promise<void> {
    while (!this.#closed) {
      const gateway = this.#choice.current;
      if (await this.#openAt(gateway)) return;
      this.#choice.leave(gateway);
      await delay(RETRY_MS);
    }
  }

  /** Resolves true once it is subscribed there. */
  async #openAt(gateway: string): Promise<boolean> {
    let connection: Connection | undefined;
    const early: (() => void)[] = [];
    const subscribed = Promise.withResolvers<true>();
    const events: ConnectionEvents = {
      subscribed: () => subscribed.resolve(true),
      moving: (delayMs) => void this.#move(gateway, delayMs),
      gap: (reason, missed) => this.#hearing?.gap(reason, missed),
      message: (number, messageId, seq) => {
        const take = (): void => this.#take(connection, number, messageId, seq);
        if (this.#current === undefined || connection === undefined) early.push(take);
        else take();
      },
    };
    connection = await connect(this.#options, gateway, events);
    if (connection === undefined) return false;
    this.#numbers.set(connection, this.#numbers.size);
    if ((await Promise.race([subscribed.promise, connection.ended])) !== true) return false;
    const before = this.#current;
    this.#current = connection;
    this.#hearing ??= this.#hears();
    if (before === undefined) this.#hearing.back();
    // The one before is ended by its gateway, and heard until then.
    else this.moves += 1;
    for (const take of early) take();
    void connection.ended.then(() => this.#ended(connection, gateway));
    if (this.#closed) connection.close();
    return true;
  }

  /** Both connections of a move bring the same: one counts. Twice by the same one is a double. */
  #take(connection: Connection | undefined, number: number, messageId: string, seq: number): void {
    if (connection === undefined) return;
    const by = this.#by.get(messageId);
    if (by !== undefined && by !== connection) return;
    this.#by.set(messageId, connection);
    this.#hearing?.message(number, messageId, seq, this.#numbers.get(connection) ?? 0);
  }

  async #move(gateway: string, delayMs: number): Promise<void> {
    await delay(delayMs);
    this.#choice.leave(gateway);
    if (this.#options.leavesFirst === true) this.#leave();
    await this.#open();
  }

  #leave(): void {
    const left = this.#current;
    this.#current = undefined;
    this.moves += 1;
    this.#hearing?.away();
    left?.close();
  }

  #ended(connection: Connection | undefined, gateway: string): void {
    if (connection !== this.#current || this.#closed) return;
    this.breaks += 1;
    this.#current = undefined;
    this.#hearing?.away();
    this.#choice.leave(gateway);
    void this.#open();
  }
}

async function connect(
  { kind, gateways, topicId, token }: EarOptions,
  gateway: string,
  events: ConnectionEvents,
): Promise<Connection | undefined> {
  const proof = token === undefined ? {} : { token };
  switch (kind) {
    case "websocket": {
      const client = new WebSocketClient(gateways.ws(gateway), { topics: [topicId], ...proof });
      hearFrames(client.frames, topicId, events);
      return { ended: client.closed, close: () => client.close() };
    }
    case "sse": {
      const path = `/api/v1/topics/${topicId}/subscribe`;
      const client = await SseClient.open(gateways.http(gateway), path, token).catch(() => undefined);
      if (client === undefined) return undefined;
      hearFrames(client.frames, topicId, events);
      return { ended: client.ended, close: () => client.close() };
    }
    case "grpc": {
      const ears = new GrpcEars(gateways.grpc(gateway), [topicId], proof);
      ears.on((event) => hearEvent(event, events));
      return { ended: ears.ended, close: () => ears.close() };
    }
  }
}

function hearFrames(frames: Frames, topicId: string, events: ConnectionEvents): void {
  const hear = (frame: { readonly type: string; readonly [field: string]: unknown }): void => {
    if (frame.type === "reconnect") events.moving(frame["delay_ms"] as number);
    if (frame["topic_id"] !== topicId) return;
    if (frame.type === "subscribed") events.subscribed();
    if (frame.type === "gap") events.gap(frame["reason"] as string, frame["missed"] as number | undefined);
    if (frame.type !== "message") return;
    const { n } = frame["payload"] as { n?: number };
    if (n !== undefined) events.message(n, frame["message_id"] as string, frame["seq"] as number);
  };
  // Some of an SSE stream may have come with its head.
  for (const frame of frames.all) hear(frame);
  frames.forget();
  frames.on(hear);
}

function hearEvent(event: GrpcEvent, events: ConnectionEvents): void {
  if (event.case === "subscribed") events.subscribed();
  if (event.case === "reconnect") events.moving(event.value.delayMs);
  if (event.case === "gap") {
    const { reason, missed } = event.value;
    events.gap(reason, missed === undefined ? undefined : Number(missed));
  }
  if (event.case !== "message") return;
  const { content, messageId, seq } = event.value;
  const { n } = JSON.parse(content.case === "payload" ? content.value : "{}") as { n?: number };
  if (n !== undefined) events.message(n, messageId, Number(seq));
}
