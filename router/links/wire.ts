// Owns: the bytes of what a router writes most, put together from parts without encoding anything twice: a RouterFrame
// with a RecordBatch is two short heads and the records as they are. Protobuf wire format: a tag is field << 3 | type;
// lengths are varints (https://protobuf.dev/programming-guides/encoding/). test/property/router-wire.test.ts decodes all
// of it with protobuf-es. Numbers are safe integers.

import { create, toBinary } from "@bufbuild/protobuf";
import { type RouterFrame, RouterFrameSchema } from "#proto/earshot/internal/v1/link_pb.ts";

const LENGTH_DELIMITED = 2;
const VARINT = 0;

export function lengthTag(field: number): number {
  return (field << 3) | LENGTH_DELIMITED;
}

export function varintTag(field: number): number {
  return (field << 3) | VARINT;
}

/** RouterFrame.batch, RecordBatch.number, RecordBatch.records. All below 16, so each is one byte. */
const FRAME_BATCH = lengthTag(4);
const BATCH_NUMBER = varintTag(1);
export const BATCH_RECORD = lengthTag(2);

export function varintSize(value: number): number {
  let size = 1;
  let rest = value;
  for (; rest > 0x7fff_ffff; rest = Math.floor(rest / 0x80)) size += 1;
  for (; rest >= 0x80; rest >>>= 7) size += 1;
  return size;
}

/** Writes a varint and returns where it ends. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let index = at;
  // Above 31 bits (times, counters) shifts would cut.
  while (rest > 0x7fff_ffff) {
    target[index++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest >= 0x80) {
    target[index++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[index++] = rest;
  return index;
}

/** Bytes in front of the records of a batch whose records have `recordBytes` in all. */
export function batchHeadSize(number: number, recordBytes: number): number {
  const batchSize = 1 + varintSize(number) + recordBytes;
  return 1 + varintSize(batchSize) + 1 + varintSize(number);
}

/** Writes the head of a batch frame at 0 and returns where the first record begins. */
export function writeBatchHead(target: Uint8Array, number: number, recordBytes: number): number {
  const batchSize = 1 + varintSize(number) + recordBytes;
  target[0] = FRAME_BATCH;
  let at = writeVarint(target, 1, batchSize);
  target[at++] = BATCH_NUMBER;
  at = writeVarint(target, at, number);
  return at;
}

export function frameBytes(frame: RouterFrame["frame"]): Uint8Array {
  return toBinary(RouterFrameSchema, create(RouterFrameSchema, { frame }));
}
