// Frames that every recipient shares are read back by ws's own receiver and by a reader of SSE, whatever is in them.

import * as fc from "fast-check";
import * as ws from "ws";
import { describe, expect, it } from "vitest";
import { GRPC, SSE, WEBSOCKET } from "../../gateway/fanout/encoding.ts";
import { Flight, JOIN_BYTES_MAX } from "../../gateway/fanout/flight.ts";
import { webSocketFrame, webSocketHeaderLength } from "../../gateway/fanout/frames.ts";

interface ReceiverLike {
  on(event: "message", listener: (data: Buffer, isBinary: boolean) => void): void;
  on(event: "error", listener: (error: Error) => void): void;
  write(bytes: Uint8Array): boolean;
}

/** ws's receiver, as a client has it; its types do not name it. */
const { Receiver } = ws as unknown as { Receiver: new (options: { isServer: boolean }) => ReceiverLike };

function readWebSocket(bytes: Uint8Array): string[] {
  const receiver = new Receiver({ isServer: false });
  const heard: string[] = [];
  let failure: Error | undefined;
  receiver.on("message", (data, isBinary) => heard.push(isBinary ? "binary" : data.toString("utf8")));
  receiver.on("error", (error) => {
    failure = error;
  });
  receiver.write(bytes);
  if (failure !== undefined) throw failure;
  return heard;
}

function readSse(bytes: Uint8Array): string[] {
  const events = Buffer.from(bytes).toString("utf8").split("\n\n");
  expect(events.pop()).toBe("");
  return events.map((event) => {
    expect(event.startsWith("data: ")).toBe(true);
    return event.slice("data: ".length);
  });
}

/** Text of exactly `length` bytes, ASCII. */
function textOf(length: number): string {
  return "x".repeat(length);
}

/** Envelopes hold no line ends. */
const envelope = fc
  .string({ unit: "grapheme", maxLength: 400 })
  .map((text) => text.replaceAll(/[\r\n\u2028\u2029]/g, " "));

function flightOf(envelopes: readonly string[]): Flight {
  const flight = new Flight((bytes) => Buffer.concat([Buffer.from("grpc:"), bytes]), "all");
  for (const text of envelopes) flight.add(Buffer.from(text));
  return flight;
}

describe("a WebSocket frame", () => {
  it.each([
    0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 1_048_576,
  ])("of %i bytes is read back", (length) => {
    const frame = webSocketFrame(Buffer.from(textOf(length)));
    expect(frame.length).toBe(webSocketHeaderLength(length) + length);
    expect(readWebSocket(frame)).toEqual([textOf(length)]);
  });

  it("of any length is read back", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 70_000 }), (length) => {
        expect(readWebSocket(webSocketFrame(Buffer.from(textOf(length))))).toEqual([textOf(length)]);
      }),
      { numRuns: 50 },
    );
  });
});

describe("a flight", () => {
  it("is one buffer in which every message is read back, in order, for WebSocket and for SSE", () => {
    fc.assert(
      fc.property(fc.array(envelope, { minLength: 1, maxLength: 20 }), (envelopes) => {
        const flight = flightOf(envelopes);
        expect(readWebSocket(flight.joined(WEBSOCKET))).toEqual(envelopes);
        expect(readSse(flight.joined(SSE))).toEqual(envelopes);
      }),
    );
  });

  it("has parts that are the same bytes as the whole", () => {
    fc.assert(
      fc.property(fc.array(envelope, { minLength: 1, maxLength: 20 }), (envelopes) => {
        const flight = flightOf(envelopes);
        for (const encoding of [WEBSOCKET, SSE] as const) {
          const parts = envelopes.map((_, index) => flight.part(encoding, index));
          expect(Buffer.concat(parts).equals(flight.joined(encoding))).toBe(true);
        }
        expect(envelopes.map((_, index) => flight.part(GRPC, index).toString())).toEqual(
          envelopes.map((text) => `grpc:${text}`),
        );
      }),
    );
  });

  it("takes no more once its bytes were made, nor beyond what one write is worth", () => {
    const flight = flightOf(["a"]);
    expect(flight.takes(Buffer.from("b"))).toBe(true);
    expect(flight.takes(Buffer.alloc(JOIN_BYTES_MAX))).toBe(false);
    flight.joined(WEBSOCKET);
    expect(flight.takes(Buffer.from("b"))).toBe(false);
  });
});
