// Owns: asking whether one more channel may be born under a Topic with maxChannels, and answering other routers who ask.
// The registrar is the primary of the Topic's own id. Whoever cannot be asked in time admits. Once a second a router
// tells the registrars of Topics whose channels here have become other than it told last.

import { create } from "@bufbuild/protobuf";
import type { Router } from "#core/domain/shard-map.ts";
import { ownersOf } from "#core/domain/shard-map.ts";
import type { Topic } from "#core/domain/topic.ts";
import { GrpcClient } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import {
  type AdmitChannelRequest,
  AdmitChannelRequestSchema,
  RouterService,
} from "#proto/earshot/internal/v1/router_pb.ts";
import { type ChannelCensus, ChannelRegister } from "./channels.ts";
import type { Placement } from "./placement.ts";

export interface ChannelAdmissionOptions {
  readonly incarnation: string;
  readonly identity: PeerIdentity;
  readonly placement: Placement;
  readonly census: ChannelCensus;
  readonly topic: (key: string) => Topic | undefined;
}

/** Milliseconds a first subscriber of a channel waits for the registrar: its own `subscribed` waits as long. */
const ASK_MS = 200;

/** Topics told about at once: their registrars answer in a millisecond, and a second later come the next. */
const REPORTS_MAX = 256;

export class ChannelAdmission implements Component {
  readonly #options: ChannelAdmissionOptions;
  readonly #register = new ChannelRegister();
  /** By incarnation. */
  readonly #clients = new Map<string, GrpcClient>();
  /** What the registrar of a Topic was told last, and who that was. */
  readonly #told = new Map<string, { readonly registrar: string; readonly channels: number }>();
  #closed = false;

  constructor(options: ChannelAdmissionOptions) {
    this.#options = options;
  }

  /** Topics whose channels another router was told of. */
  get told(): number {
    return this.#told.size;
  }

  /** Asked before a channel of which this router is primary gets its first interest. */
  admit(topic: Topic): boolean | Promise<boolean> {
    const { maxChannels } = topic.policy;
    const channels = this.#options.census.primariesOf(topic.key);
    if (channels >= maxChannels) return false;
    const registrar = this.#registrarOf(topic.key);
    if (registrar === undefined) return true;
    if (registrar === "self") return channels + this.#others(topic.key) < maxChannels;
    this.#told.set(topic.key, { registrar: registrar.incarnation, channels: channels + 1 });
    return this.#ask(registrar, this.#request(topic.key, channels, false));
  }

  /** Another router asks. */
  answer(request: AdmitChannelRequest): boolean {
    const { topic: key, routerIncarnation, channels, reportOnly } = request;
    this.#register.set(key, routerIncarnation, channels);
    if (reportOnly) return true;
    const maxChannels = this.#options.topic(key)?.policy.maxChannels ?? 0;
    const admitted = maxChannels === 0 || this.#options.census.primariesOf(key) + this.#others(key) < maxChannels;
    if (admitted) this.#register.set(key, routerIncarnation, channels + 1);
    return admitted;
  }

  /** Tells registrars what has changed since they were told. Called once a second. */
  sweep(): void {
    let reports = 0;
    for (const key of new Set([...this.#told.keys(), ...this.#options.census.topics()])) {
      if (reports >= REPORTS_MAX) return;
      if ((this.#options.topic(key)?.policy.maxChannels ?? 0) === 0) {
        this.#told.delete(key);
        continue;
      }
      const registrar = this.#registrarOf(key);
      if (registrar === undefined || registrar === "self") {
        this.#told.delete(key);
        continue;
      }
      const channels = this.#options.census.primariesOf(key);
      const told = this.#told.get(key);
      if (told?.registrar === registrar.incarnation && told.channels === channels) continue;
      if (told === undefined && channels === 0) continue;
      reports += 1;
      if (channels === 0) this.#told.delete(key);
      else this.#told.set(key, { registrar: registrar.incarnation, channels });
      void this.#ask(registrar, this.#request(key, channels, true));
    }
  }

  /** Lets go of channels to routers that are in the map no more. */
  mapChanged(): void {
    const { routers } = this.#options.placement.map;
    for (const [incarnation, client] of this.#clients) {
      if (routers.some((router) => router.incarnation === incarnation)) continue;
      client.close();
      this.#clients.delete(incarnation);
    }
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
    return Promise.resolve();
  }

  #others(key: string): number {
    const { routers } = this.#options.placement.map;
    return this.#register.othersOf(key, (incarnation) => routers.some((router) => router.incarnation === incarnation));
  }

  #registrarOf(key: string): Router | "self" | undefined {
    const [primary] = ownersOf(this.#options.placement.map, key);
    return primary?.incarnation === this.#options.incarnation ? "self" : primary;
  }

  #request(topic: string, channels: number, reportOnly: boolean): AdmitChannelRequest {
    const { incarnation } = this.#options;
    return create(AdmitChannelRequestSchema, { topic, routerIncarnation: incarnation, channels, reportOnly });
  }

  async #ask(registrar: Router, request: AdmitChannelRequest): Promise<boolean> {
    if (this.#closed) return true;
    try {
      const client = this.#clientOf(registrar);
      return (await client.unary(RouterService.method.admitChannel, request, ASK_MS)).admitted;
    } catch {
      return true;
    }
  }

  #clientOf({ incarnation, address }: Router): GrpcClient {
    let client = this.#clients.get(incarnation);
    if (client === undefined) {
      client = new GrpcClient(address, this.#options.identity.toward("router"));
      this.#clients.set(incarnation, client);
    }
    return client;
  }
}
