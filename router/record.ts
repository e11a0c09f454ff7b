// Owns: one record as links share it: the bytes of a Record as they stand in a batch, made once, and what a link needs to
// know when it has to choose. Made by sequencer/build-record.ts; held by links and batch windows until it is sent.

export type RecordKindName = "message" | "presence" | "evict";

export interface QueuedRecord {
  /** Tag, length and bytes of an encoded Record: what stands in RecordBatch. Never changed. */
  readonly framed: Buffer;
  readonly topicId: string;
  readonly kind: RecordKindName;
  readonly low: boolean;
  /** Monotonic: when it was sequenced. */
  readonly atMs: number;
  /** 0: no receipt wanted. */
  readonly receiptId: number;
}
