// Owns: the lines of a watch stream, each the JSON of one event. A line that is not whole is never told; one that is too
// long ends the stream, before it fills the memory.

/** Bytes of one line: etcd takes objects up to 1.5 MiB. */
const LINE_BYTES_MAX = 2 * 1024 * 1024;

const NEWLINE = 0x0a;

/** Throws where a line is longer than `bytesMax`. `heard` is called for every piece, whole line or not. */
export async function* linesOf(
  pieces: AsyncIterable<Uint8Array>,
  heard: () => void,
  bytesMax = LINE_BYTES_MAX,
): AsyncGenerator<string> {
  let begun: Uint8Array[] = [];
  let begunBytes = 0;
  for await (const piece of pieces) {
    heard();
    let from = 0;
    for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, from)) {
      const tail = piece.subarray(from, end);
      if (begunBytes + tail.length > bytesMax) throw tooLong(bytesMax);
      const line = begun.length === 0 ? tail : Buffer.concat([...begun, tail]);
      begun = [];
      begunBytes = 0;
      from = end + 1;
      if (line.length > 0) yield Buffer.from(line.buffer, line.byteOffset, line.length).toString("utf8");
    }
    if (from === piece.length) continue;
    begun.push(piece.subarray(from));
    begunBytes += piece.length - from;
    if (begunBytes > bytesMax) throw tooLong(bytesMax);
  }
}

function tooLong(bytesMax: number): Error {
  return new Error(`a line of the watch is longer than ${bytesMax} bytes`);
}
