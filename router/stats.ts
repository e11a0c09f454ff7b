// Owns: this router's counters, as plain numbers that hot paths add to. Elsewhere: their face as metrics (metrics.ts).

/** Why a message, or one link's copy of it, went nowhere. */
export type DropCause = "no_subscribers" | "backpressure" | "rate_limited" | "link_overflow";

/** Why a link ended. */
export type LinkEnd = "gateway_ended" | "silent" | "replaced" | "router_closed";

export class RouterStats {
  /** Messages sequenced, whether or not somebody had interest. */
  messages = 0;
  /** Bytes of their payloads. */
  messageBytes = 0;
  /** Records handed to links: one for each message and interested link. */
  fanoutRecords = 0;
  presenceFrames = 0;
  /** Receipts answered without every gateway's count. */
  receiptsLate = 0;
  /** Publishes refused because this router is not in the shard's list, or too cold to answer 0. */
  wrongRouter = 0;
  readonly dropped: Record<DropCause, number> = {
    no_subscribers: 0,
    backpressure: 0,
    rate_limited: 0,
    link_overflow: 0,
  };
  readonly linksEnded: Record<LinkEnd, number> = { gateway_ended: 0, silent: 0, replaced: 0, router_closed: 0 };
  /** Streams that were one too many. */
  readonly streamsRefused: Record<"link" | "publish", number> = { link: 0, publish: 0 };
}
