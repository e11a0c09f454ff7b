// Owns: doors of one long stream at a time, WebSocket or gRPC PublishStream. One that ends, or is told to move, is
// followed by another, at another gateway. What had no answer then is sent again where that is safe, else left open.

import { setTimeout as delay } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { PublisherService, PublishStreamRequestSchema } from "#proto/earshot/v1/publisher_pb.ts";
import {
  type DoorOptions,
  grpcFailure,
  isSafeToRepeat,
  type JsonResult,
  outcomeOf,
  payloadOf,
} from "./door-outcomes.ts";
import { GatewayChoice } from "./gateway-choice.ts";
import type { Door, Outcome } from "./message-counter.ts";
import { WebSocketClient } from "./websocket.ts";

/** Milliseconds between tries to open one: somebody must be there soon. */
const RETRY_MS = 20;

interface Pipe {
  send(number: number): void;
  close(): void;
}

interface PipeEvents {
  outcome(number: number, outcome: Outcome): void;
  /** The gateway asks for another one after some time. */
  moving(delayMs: number): void;
  /** It is over; `outcome` is that of everything without an answer. */
  over(outcome: Outcome): void;
}

/** Resolves undefined when nobody lets it in. */
type Connect = (options: DoorOptions, gateway: string, events: PipeEvents) => Promise<Pipe | undefined>;

interface Waiting {
  readonly number: number;
  resolve(outcome: Outcome): void;
}

interface Link {
  readonly pipe: Pipe;
  readonly waiting: Map<number, Waiting>;
}

export class StreamingDoor implements Door {
  readonly name: string;
  readonly size = 1;
  readonly ordered = true;
  readonly #options: DoorOptions;
  readonly #connect: Connect;
  readonly #choice: GatewayChoice;
  readonly #links = new Set<Link>();
  #current: Link | undefined;
  /** What waits until one is open. */
  #held: Waiting[] = [];
  #closed = false;

  private constructor(name: string, options: DoorOptions, connect: Connect) {
    this.name = `${name} at ${options.home}`;
    this.#options = options;
    this.#connect = connect;
    this.#choice = new GatewayChoice(options.gateways, options.home);
    void this.#open();
  }

  static webSocket(options: DoorOptions): StreamingDoor {
    return new StreamingDoor("websocket", options, connectWebSocket);
  }

  static grpc(options: DoorOptions): StreamingDoor {
    return new StreamingDoor("grpc stream", options, connectStream);
  }

  publish([number = 0]: readonly number[]): Promise<readonly Outcome[]> {
    return new Promise((resolve) => this.#send({ number, resolve: (outcome) => resolve([outcome]) }));
  }

  close(): void {
    this.#closed = true;
    for (const { pipe } of this.#links) pipe.close();
  }

  #send(waiting: Waiting): void {
    if (this.#current === undefined) {
      this.#held.push(waiting);
      return;
    }
    this.#current.waiting.set(waiting.number, waiting);
    this.#current.pipe.send(waiting.number);
  }

  async #open(): Promise<void> {
    while (!this.#closed) {
      const gateway = this.#choice.current;
      if (await this.#openAt(gateway)) return;
      this.#choice.leave(gateway);
      await delay(RETRY_MS);
    }
  }

  async #reopen(): Promise<void> {
    await delay(RETRY_MS);
    if (this.#current === undefined) await this.#open();
  }

  async #openAt(gateway: string): Promise<boolean> {
    const waiting = new Map<number, Waiting>();
    let link: Link | undefined;
    const pipe = await this.#connect(this.#options, gateway, {
      outcome: (number, outcome) => {
        waiting.get(number)?.resolve(outcome);
        waiting.delete(number);
      },
      moving: (delayMs) => void this.#move(gateway, delayMs),
      over: (outcome) => {
        if (link !== undefined) this.#over(link, gateway, outcome);
      },
    });
    if (pipe === undefined) return false;
    link = { pipe, waiting };
    this.#links.add(link);
    this.#current = link;
    for (const held of this.#held.splice(0)) this.#send(held);
    if (this.#closed) pipe.close();
    return true;
  }

  async #move(gateway: string, delayMs: number): Promise<void> {
    await delay(delayMs);
    this.#choice.leave(gateway);
    await this.#open();
  }

  #over(link: Link, gateway: string, outcome: Outcome): void {
    this.#links.delete(link);
    this.#choice.leave(gateway);
    if (this.#current === link) {
      this.#current = undefined;
      void this.#reopen();
    }
    const again = isSafeToRepeat(outcome) && !this.#closed;
    for (const waiting of link.waiting.values()) {
      if (again) this.#send(waiting);
      else waiting.resolve(outcome);
    }
  }
}

async function connectWebSocket(options: DoorOptions, gateway: string, events: PipeEvents): Promise<Pipe | undefined> {
  const client = new WebSocketClient(
    options.gateways.ws(gateway),
    options.token === undefined ? {} : { token: options.token },
  );
  const welcome = new Promise<true>((resolve) => {
    client.frames.on((frame) => {
      if (frame.type === "welcome") resolve(true);
      if (frame.type === "reconnect") events.moving(frame["delay_ms"] as number);
      if (frame.type === "published" || frame.type === "error") {
        events.outcome(Number(frame["id"]), outcomeOf(frame as JsonResult));
      }
    });
  });
  if ((await Promise.race([welcome, client.closed])) !== true) return undefined;
  void client.closed.then(({ code }) => events.over({ kind: "broken", why: `the WebSocket ended with ${code}` }));
  return {
    send: (number) =>
      client.send({
        type: "publish",
        id: String(number),
        topic_id: options.topicId,
        payload: payloadOf(number, options),
      }),
    close: () => void client.close(),
  };
}

function connectStream(options: DoorOptions, gateway: string, events: PipeEvents): Promise<Pipe> {
  const client = new GrpcClient(options.gateways.grpc(gateway), options.token);
  const stream = client.bidi(PublisherService.method.publishStream);
  stream.on("data", ({ id, outcome }) => {
    if (outcome.case === "result") {
      events.outcome(Number(id), { kind: "taken", deliveredTo: Number(outcome.value.deliveredTo) });
    } else events.outcome(Number(id), { kind: "error", code: outcome.value?.code ?? "no outcome" });
  });
  let isOver = false;
  const over = (outcome: Outcome): void => {
    if (isOver) return;
    isOver = true;
    client.close();
    // The first call of a turn may fail before the door knows the pipe.
    setImmediate(() => events.over(outcome));
  };
  stream.on("error", (error) => over(grpcFailure(error)));
  stream.on("end", () => over({ kind: "broken", why: "the stream ended" }));
  return Promise.resolve({
    send: (number) => {
      const content = { case: "payload", value: JSON.stringify(payloadOf(number, options)) } as const;
      const message = { topicId: options.topicId, content };
      stream.write(create(PublishStreamRequestSchema, { id: BigInt(number), message }));
    },
    close: () => {
      stream.end();
      client.close();
    },
  });
}
