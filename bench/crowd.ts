// Owns: a crowd of clients that come and go: WebSocket, SSE and gRPC, anonymous ones and users with tokens, each in the
// topic that all share and in a channel of a few. No two of them ever have the same user or channel, so that whatever a
// process keeps by name shows. Nothing they hear is kept.

import { once } from "node:events";
import { get } from "node:http";
import { create } from "@bufbuild/protobuf";
import { WebSocket } from "ws";
import { messageOf } from "#core/runtime/errors.ts";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { SubscribeRequestSchema, SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";
import { signToken } from "../test/harness/token.ts";

export interface CrowdOptions {
  /** `host:port` of the two public doors. */
  readonly http: string;
  readonly grpc: string;
  readonly secret: string;
  /** The topic that everybody hears. */
  readonly topicId: string;
}

interface Client {
  /** Ends it: in order, or (half of them) like a cable that is pulled. */
  leave(abruptly: boolean): void;
  /** Takes a new token for the same user, where it has one and a door for it. */
  renew?(): void;
  /** Resolves with how it ended. */
  readonly over: Promise<string>;
}

/** Clients in one channel, and calls to come in at a time. */
const CLIENTS_A_CHANNEL = 4;
const AT_ONCE = 50;

/** Of twenty clients in a row so many come over gRPC and SSE; the rest are WebSockets, as in life. */
const OF_TWENTY = { grpc: 1, sse: 5 };

export class Crowd {
  readonly #options: CrowdOptions;
  readonly #clients: Client[] = [];
  came = 0;
  left = 0;
  /** That could not come in, or were ended by the other side, by what they were told. */
  readonly failed = new Map<string, number>();
  heard = 0;
  renewed = 0;

  constructor(options: CrowdOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#clients.length;
  }

  /** A channel that somebody of the crowd is in. */
  get channel(): string {
    return this.#channelOf(this.came - 1 - Math.floor(Math.random() * Math.max(1, this.size)));
  }

  /** So many more come in; resolves when all are. */
  async come(count: number): Promise<void> {
    for (let left = count; left > 0; left -= AT_ONCE) {
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, left) }, () => this.#comeOne()));
    }
  }

  /** The oldest or any other leaves, and another comes in its place. */
  async replaceOne(): Promise<void> {
    const [client] = this.#clients.splice(Math.floor(Math.random() * this.#clients.length), 1);
    client?.leave(Math.random() < 0.5);
    this.left += 1;
    await client?.over;
    await this.#comeOne();
  }

  renewOne(): void {
    const client = this.#clients[Math.floor(Math.random() * this.#clients.length)];
    if (client?.renew === undefined) return;
    client.renew();
    this.renewed += 1;
  }

  /** Everybody goes at once, without a word. */
  async scatter(): Promise<void> {
    const all = this.#clients.splice(0);
    for (const client of all) client.leave(true);
    this.left += all.length;
    await Promise.all(all.map(({ over }) => over));
  }

  async #comeOne(): Promise<void> {
    const number = this.came;
    this.came += 1;
    const topics = [this.#options.topicId, this.#channelOf(number)];
    const place = number % 20;
    try {
      const client =
        place < OF_TWENTY.grpc
          ? await this.#overGrpc(topics, number)
          : place < OF_TWENTY.grpc + OF_TWENTY.sse
            ? await this.#overSse(topics, number)
            : await this.#overWebSocket(topics, number);
      this.#clients.push(client);
      void client.over.then((how) => this.#gone(client, how));
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  /** Ended by the other side: whoever leaves was taken out of the list before. */
  #gone(client: Client, how: string): void {
    const place = this.#clients.indexOf(client);
    if (place < 0) return;
    this.#clients.splice(place, 1);
    this.#fail(how);
  }

  #fail(why: string): void {
    this.failed.set(why, (this.failed.get(why) ?? 0) + 1);
  }

  #channelOf(number: number): string {
    return `${this.#options.topicId}:room-${Math.floor(Math.max(0, number) / CLIENTS_A_CHANNEL)}`;
  }

  #token(number: number): string {
    const claims = { sub: `user-${number}`, jti: `${number}-${this.renewed}`, earshot: { info: { number } } };
    return signToken(claims, this.#options.secret);
  }

  readonly #hear = (): void => {
    this.heard += 1;
  };

  async #overWebSocket(topics: readonly string[], number: number): Promise<Client> {
    const query = queryOf(topics);
    if (number % 2 === 0) query.set("presence", "true");
    const socket = new WebSocket(`ws://${this.#options.http}/ws/subscribe?${query.toString()}`, {
      perMessageDeflate: false,
    });
    const over = new Promise<string>((resolve) => {
      socket.once("close", (code) => resolve(`WebSocket ${code}`));
    });
    socket.on("error", () => undefined);
    socket.on("message", this.#hear);
    await Promise.race([once(socket, "open"), over.then((how) => Promise.reject(new Error(`refused, ${how}`)))]);
    const renew = (): void => socket.send(JSON.stringify({ type: "token", token: this.#token(number) }));
    const isUser = number % 3 !== 0;
    if (isUser) renew();
    return {
      leave: (abruptly) => (abruptly ? socket.terminate() : socket.close()),
      ...(isUser ? { renew } : {}),
      over,
    };
  }

  async #overSse(topics: readonly string[], number: number): Promise<Client> {
    const query = queryOf(topics);
    query.set("token", this.#token(number));
    const request = get(`http://${this.#options.http}/api/v1/subscribe?${query.toString()}`, { agent: false });
    const over = new Promise<string>((resolve) => {
      request.once("close", () => resolve("SSE ended"));
    });
    const [response] = (await once(request, "response")) as [NodeJS.ReadableStream & { statusCode: number }];
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    response.on("data", this.#hear);
    if (response.statusCode !== 200) throw new Error(`answered ${response.statusCode}`);
    return { leave: () => request.destroy(), over };
  }

  async #overGrpc(topics: readonly string[], number: number): Promise<Client> {
    const client = new GrpcClient(this.#options.grpc, this.#token(number));
    const request = create(SubscribeRequestSchema, { topicIds: [...topics], presence: true });
    const call = client.serverStream(SubscriberService.method.subscribe, request);
    const over = new Promise<string>((resolve) => {
      call.once("status", ({ code, details }) => {
        client.close();
        resolve(`gRPC ${code} ${details}`);
      });
    });
    call.on("error", () => undefined);
    call.on("data", this.#hear);
    await Promise.race([once(call, "data"), over.then((how) => Promise.reject(new Error(`refused, ${how}`)))]);
    return { leave: () => call.cancel(), over };
  }
}

function queryOf(topics: readonly string[]): URLSearchParams {
  const query = new URLSearchParams();
  for (const topicId of topics) query.append("topic_id", topicId);
  return query;
}
