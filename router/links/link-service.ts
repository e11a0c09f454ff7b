// Owns: LinkService at the router: which gateways are linked, one link an incarnation (a newer stream replaces the
// older). Reads their frames, writes batches once a turn of the event loop, forgets all of a link when it ends.
// Invariant: what a link brought is forgotten when it ends, and nothing is handed to it from that very moment.

import { create } from "@bufbuild/protobuf";
import { LINK_PROTOCOL_VERSION } from "#core/fleet/protocols.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { type Handlers, toStatus } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { ProcessSelf } from "#core/runtime/process.ts";
import { Slices } from "#core/runtime/slices.ts";
import {
  type GatewayFrame,
  type LinkHello,
  LinkHelloSchema,
  type LinkService as LinkServiceDesc,
} from "#proto/earshot/internal/v1/link_pb.ts";
import type { InterestTable } from "../interest.ts";
import type { QueuedRecord } from "../record.ts";
import type { LinkEnd, RouterStats } from "../stats.ts";
import { Admissions, type IntakeDeps, InterestIntake } from "./interest-intake.ts";
import { Link, type LinkCall, type LinkOptions, type LinkState } from "./link.ts";
import type { Receipts } from "./receipts.ts";
import { frameBytes } from "./wire.ts";

export interface LinksOptions {
  readonly self: ProcessSelf;
  readonly clock: Clock;
  readonly log: Log;
  readonly table: InterestTable<Link>;
  readonly receipts: Receipts<Link>;
  readonly intake: IntakeDeps;
  /** A link's copy of a record had to give way. */
  readonly dropped: (record: QueuedRecord) => void;
  readonly batchSent: LinkOptions["batchSent"];
  readonly batchHandedOn: LinkOptions["batchHandedOn"];
  readonly stats: Pick<RouterStats, "linksEnded" | "streamsRefused">;
  /** A gateway came with its whole interest, or went. */
  readonly changed: () => void;
  /** A gateway has handed on something. */
  readonly handedOn: () => void;
}

/** Links at once: above any fleet of gateways. */
export const LINKS_MAX = 4_096;

/** Milliseconds a stream may take to its Hello. */
const HELLO_MS = 5_000;

export class Links implements Component {
  readonly handlers: Handlers<typeof LinkServiceDesc>;
  readonly #options: LinksOptions;
  readonly #hello: Uint8Array;
  readonly #admissions = new Admissions();
  /** By the gateway's incarnation. */
  readonly #links = new Map<string, Link>();
  readonly #intakes = new Map<Link, InterestIntake>();
  #dirty: Link[] = [];
  readonly #flush = (): void => this.#flushDirty();
  #draining = false;
  #closed = false;

  constructor(options: LinksOptions) {
    this.#options = options;
    const { incarnation, name, node, zone } = options.self;
    const value = create(LinkHelloSchema, { protocolVersion: LINK_PROTOCOL_VERSION, incarnation, name, node, zone });
    this.#hello = frameBytes({ case: "hello", value });
    this.handlers = { open: (call) => this.#open(call) };
  }

  /** Links by state. */
  get states(): Readonly<Record<LinkState, number>> {
    const states = { registering: 0, complete: 0 };
    for (const { initialComplete } of this.#links.values()) states[initialComplete ? "complete" : "registering"] += 1;
    return states;
  }

  /** Monotonic: when the gateway that has been silent longest was heard; undefined when none is linked. */
  get heardAtMs(): number | undefined {
    const times = [...this.#links.values()].map(({ heardAtMs }) => heardAtMs);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Batches of interest that are not answered. */
  get interestBatches(): number {
    let waiting = 0;
    for (const intake of this.#intakes.values()) waiting += intake.waiting;
    return waiting;
  }

  get undrainedBytes(): number {
    let bytes = 0;
    for (const link of this.#links.values()) bytes += link.undrainedBytes;
    return bytes;
  }

  /** Every gateway has handed on everything that it was given. */
  get drained(): boolean {
    for (const link of this.#links.values()) if (!link.drained) return false;
    return true;
  }

  /** Whether every gateway has handed on what was sequenced up to a monotonic time. */
  isHandedOn(atMs: number): boolean {
    for (const link of this.#links.values()) if (!link.isHandedOn(atMs)) return false;
    return true;
  }

  /** Whether this gateway is linked and its whole interest known. */
  complete(gatewayIncarnation: string): boolean {
    return this.#links.get(gatewayIncarnation)?.initialComplete === true;
  }

  /** Lets go of what waits too long. Called a few times a second. */
  sweep(nowMs: number): void {
    for (const link of this.#links.values()) link.sweep(nowMs);
  }

  announceDraining(): void {
    this.#draining = true;
    for (const link of this.#links.values()) link.announceDraining();
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const link of this.#links.values()) this.#end(link, "router_closed");
    return Promise.resolve();
  }

  #open(call: LinkCall): void {
    // A stream that fails tells so by "error" as well as by "cancelled": the latter is heard below.
    call.on("error", () => undefined);
    if (this.#closed || this.#links.size >= LINKS_MAX) {
      this.#options.stats.streamsRefused.link += 1;
      call.emit("error", toStatus(new EarshotError("overloaded", "this router takes no more links")));
      return;
    }
    let link: Link | undefined;
    let intake: InterestIntake | undefined;
    const late: Timer = this.#options.clock.after(HELLO_MS, () => call.end());
    const over = (): void => {
      late.cancel();
      if (link !== undefined) this.#end(link, "gateway_ended");
      else call.end();
    };
    call.on("cancelled", over);
    call.on("end", over);
    call.on("data", ({ frame }: GatewayFrame) => {
      if (link === undefined || intake === undefined) {
        if (frame.case !== "hello") return;
        late.cancel();
        const made = this.#welcome(call, frame.value);
        link = made;
        intake = new InterestIntake(made, this.#options.intake, this.#admissions, () => this.#onComplete(made));
        this.#intakes.set(made, intake);
        return;
      }
      if (link.open) this.#onFrame(link, intake, frame);
    });
  }

  #welcome(call: LinkCall, gateway: LinkHello): Link {
    const { clock, receipts, dropped, batchSent, batchHandedOn, log } = this.#options;
    const older = this.#links.get(gateway.incarnation);
    if (older !== undefined) this.#end(older, "replaced");
    const link = new Link({
      call,
      gateway,
      clock,
      dropped: (which, record) => {
        if (record.receiptId !== 0) receipts.dropped(which, record.receiptId);
        dropped(record);
      },
      dead: (which) => this.#end(which, "silent"),
      flushSoon: (which) => this.#flushSoon(which),
      batchSent,
      batchHandedOn,
    });
    this.#links.set(gateway.incarnation, link);
    link.send(this.#hello);
    if (this.#draining) link.announceDraining();
    log.info({ gateway: gateway.name, gatewayIncarnation: gateway.incarnation }, "gateway linked");
    return link;
  }

  #onFrame(link: Link, intake: InterestIntake, frame: GatewayFrame["frame"]): void {
    link.heard();
    switch (frame.case) {
      case "interest":
        intake.take(frame.value);
        return;
      case "batchConfirm":
        link.confirmed(Number(frame.value.number));
        this.#options.handedOn();
        return;
      case "receipts":
        for (const { receiptId, written, notWritten } of frame.value.receipts) {
          this.#options.receipts.answer(link, Number(receiptId), written, notWritten);
        }
        return;
      case "heartbeat":
      case "hello":
      case undefined:
        return;
    }
  }

  #onComplete(link: Link): void {
    link.initialComplete = true;
    this.#options.changed();
  }

  #end(link: Link, reason: LinkEnd): void {
    if (!link.open) return;
    this.#options.stats.linksEnded[reason] += 1;
    this.#intakes.delete(link);
    const { incarnation, name } = link.gateway;
    if (this.#links.get(incarnation) === link) this.#links.delete(incarnation);
    const { receipts, log, changed } = this.#options;
    // First the link, so that nothing is pushed to it while its interest goes.
    link.close();
    receipts.linkGone(link);
    void this.#forget(link);
    log.info({ gateway: name, gatewayIncarnation: incarnation, reason }, "gateway link ended");
    changed();
  }

  /** Takes a link's interest away, in slices: a gateway may have had a million topics. */
  async #forget(link: Link): Promise<void> {
    const { table, clock } = this.#options;
    const slices = new Slices();
    const steps = table.removing(link, clock.monotonic());
    while (steps.next().done !== true) if (slices.isOver) await slices.breathe();
  }

  #flushSoon(link: Link): void {
    if (this.#dirty.length === 0) queueMicrotask(this.#flush);
    this.#dirty.push(link);
  }

  #flushDirty(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const link of dirty) link.flush();
  }
}
