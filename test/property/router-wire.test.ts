import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  EvictionSchema,
  RecordBatchSchema,
  type Record as ProtoRecord,
  RecordKind,
  RecordSchema,
  RouterFrameSchema,
} from "#proto/earshot/internal/v1/link_pb.ts";
import { Outbox } from "../../router/links/outbox.ts";
import { varintSize, writeVarint } from "../../router/links/wire.ts";
import { buildRecord, type RecordParts } from "../../router/sequencer/build-record.ts";
import { envelopeHead } from "../../router/sequencer/envelope.ts";

const NOW_MS = Date.UTC(2026, 0, 1);

const channel = fc.stringMatching(/^[A-Za-z0-9\-_.~:]{1,128}$/);
const topicId = channel.map((name) => `shop.chat:${name}`);
const connectionId = fc.oneof(fc.constant(""), fc.string({ maxLength: 64 }));
const safeInteger = fc.oneof(fc.nat(300), fc.maxSafeNat());

const parts: fc.Arbitrary<RecordParts> = fc.record({
  topicId,
  kind: fc.constantFrom("message", "presence", "evict"),
  envelope: fc.oneof(
    fc.record({ kind: fc.constant("text" as const), text: fc.string({ unit: "grapheme", maxLength: 300 }) }),
    fc.record({ kind: fc.constant("bytes" as const), bytes: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({
      kind: fc.constant("message" as const),
      head: fc.string({ unit: "grapheme", maxLength: 100 }),
      payload: fc.uint8Array({ maxLength: 70_000 }),
      binary: fc.boolean(),
    }),
  ),
  seq: safeInteger,
  receiptId: safeInteger,
  low: fc.boolean(),
  originConnectionId: connectionId,
  excludeConnectionId: connectionId,
  nowMs: safeInteger,
  atMs: fc.nat(),
});

function envelopeOf({ envelope }: RecordParts): Buffer {
  switch (envelope.kind) {
    case "text":
      return Buffer.from(envelope.text);
    case "bytes":
      return Buffer.from(envelope.bytes);
    case "message": {
      const payload = Buffer.from(envelope.payload);
      const text = envelope.binary ? Buffer.from(`"${payload.toString("base64")}","encoding":"base64"`) : payload;
      return Buffer.concat([Buffer.from(envelope.head), text, Buffer.from("}")]);
    }
  }
}

const KINDS = { message: RecordKind.UNSPECIFIED, presence: RecordKind.PRESENCE, evict: RecordKind.EVICT };

function expected(made: RecordParts): ProtoRecord {
  return create(RecordSchema, {
    topicId: made.topicId,
    envelope: new Uint8Array(envelopeOf(made)),
    kind: KINDS[made.kind],
    seq: BigInt(made.seq),
    receiptId: BigInt(made.receiptId),
    lowPriority: made.low,
    originConnectionId: made.originConnectionId,
    excludeConnectionId: made.excludeConnectionId,
    routerTimeMs: BigInt(made.nowMs),
  });
}

test("a varint takes the bytes that were counted for it, for any safe integer", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const bytes = new Uint8Array(10);
      const end = writeVarint(bytes, 0, value);
      expect(end).toBe(varintSize(value));
      let read = 0n;
      for (let at = end - 1; at >= 0; at--) read = (read << 7n) | BigInt((bytes[at] ?? 0) & 0x7f);
      expect(read).toBe(BigInt(value));
    }),
  );
});

test("a batch put together from records decodes to those records, whatever is in them", () => {
  fc.assert(
    fc.property(fc.array(parts, { minLength: 1, maxLength: 20 }), safeInteger, (made, number) => {
      const outbox = new Outbox({ bytesMax: Number.POSITIVE_INFINITY, ageMsMax: 1 }, () => undefined);
      for (const one of made) outbox.push(buildRecord(one), 0);
      const batch = outbox.takeFrame(number, Number.POSITIVE_INFINITY);
      expect(batch?.records).toBe(made.length);
      const { frame } = fromBinary(RouterFrameSchema, batch?.frame ?? new Uint8Array());
      if (frame.case !== "batch") throw new Error(`a batch was written, ${frame.case} was read`);
      expect(frame.value.number).toBe(BigInt(number));
      const records = frame.value.records.map((bytes) => fromBinary(RecordSchema, bytes));
      expect(records.map(plain)).toEqual(made.map((one) => plain(expected(one))));
    }),
    { numRuns: 200 },
  );
});

test("a batch is byte for byte what protobuf-es would write", () => {
  fc.assert(
    fc.property(fc.array(parts, { minLength: 1, maxLength: 5 }), (made) => {
      const outbox = new Outbox({ bytesMax: Number.POSITIVE_INFINITY, ageMsMax: 1 }, () => undefined);
      for (const one of made) outbox.push(buildRecord(one), 0);
      const records = made.map((one) => toBinary(RecordSchema, expected(one)));
      const value = create(RecordBatchSchema, { number: 7n, records });
      const frame = toBinary(RouterFrameSchema, create(RouterFrameSchema, { frame: { case: "batch", value } }));
      expect(outbox.takeFrame(7, Number.POSITIVE_INFINITY)?.frame.equals(frame)).toBe(true);
    }),
    { numRuns: 100 },
  );
});

test("any JSON payload survives in its envelope byte for byte, on one line, and the envelope parses", () => {
  const head = fc.record({ topicId, publisherId: fc.string({ unit: "binary" }), seq: safeInteger, sequence: fc.nat() });
  fc.assert(
    fc.property(fc.json({ stringUnit: "grapheme" }), head, (payload, { topicId: id, publisherId, seq, sequence }) => {
      const record = buildRecord({
        topicId: id,
        kind: "message",
        envelope: {
          kind: "message",
          head: envelopeHead({ topicId: id, messageId: `r3a-${sequence}`, seq, publisherId, nowMs: NOW_MS }),
          payload: Buffer.from(payload),
          binary: false,
        },
        seq,
        receiptId: 0,
        low: false,
        originConnectionId: "",
        excludeConnectionId: "",
        nowMs: NOW_MS,
        atMs: 0,
      });
      const text = Buffer.from(recordOf(record.framed).envelope).toString();
      expect(text).not.toMatch(/[\n\r]/);
      expect(text.endsWith(`"payload":${payload}}`)).toBe(true);
      expect(Object.entries(JSON.parse(text) as object).slice(0, 6)).toEqual([
        ["type", "message"],
        ["topic_id", id],
        ["message_id", `r3a-${sequence}`],
        ["seq", seq],
        ["publisher_id", publisherId.toWellFormed()],
        ["timestamp", "2026-01-01T00:00:00.000Z"],
      ]);
    }),
    { numRuns: 300 },
  );
});

test("any bytes survive as base64, and the envelope says so behind the payload", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (payload) => {
      const { framed } = buildRecord({
        topicId: "shop.chat",
        kind: "message",
        envelope: {
          kind: "message",
          head: envelopeHead({ topicId: "shop.chat", messageId: "r-1", seq: 1, publisherId: "bob", nowMs: NOW_MS }),
          payload,
          binary: true,
        },
        seq: 1,
        receiptId: 0,
        low: false,
        originConnectionId: "",
        excludeConnectionId: "",
        nowMs: NOW_MS,
        atMs: 0,
      });
      const envelope = JSON.parse(Buffer.from(recordOf(framed).envelope).toString()) as Record<string, string>;
      expect(Object.keys(envelope).slice(-2)).toEqual(["payload", "encoding"]);
      expect(envelope["encoding"]).toBe("base64");
      expect(new Uint8Array(Buffer.from(envelope["payload"] ?? "", "base64"))).toEqual(new Uint8Array(payload));
    }),
  );
});

test("an eviction travels as its own message", () => {
  const bytes = toBinary(EvictionSchema, create(EvictionSchema, { userId: "alice", reason: "requested" }));
  const common = {
    seq: 0,
    receiptId: 3,
    low: false,
    originConnectionId: "",
    excludeConnectionId: "",
    nowMs: 1,
    atMs: 1,
  };
  const { framed } = buildRecord({
    topicId: "shop.chat",
    kind: "evict",
    envelope: { kind: "bytes", bytes },
    ...common,
  });
  const record = recordOf(framed);
  expect(record.kind).toBe(RecordKind.EVICT);
  expect(fromBinary(EvictionSchema, record.envelope).userId).toBe("alice");
});

function recordOf(framed: Buffer): ProtoRecord {
  const [bytes = new Uint8Array()] = fromBinary(RecordBatchSchema, framed).records;
  return fromBinary(RecordSchema, bytes);
}

function plain(record: ProtoRecord): object {
  return { ...record, envelope: Buffer.from(record.envelope).toString("hex") };
}
