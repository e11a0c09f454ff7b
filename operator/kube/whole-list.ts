// Owns: one whole list, by pages that are small enough to be read between two breaths. A list that became too old while it
// was read (410) is begun anew by whoever asked for it.

import { Slices } from "#core/runtime/slices.ts";
import type { KubeApi, KubeObject } from "./api.ts";
import { parsePage } from "./watch-event.ts";

export interface ListOptions<T> {
  readonly api: Pick<KubeApi, "call">;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** Of one page. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called with each page. */
  readonly heard: () => void;
  readonly found: (object: T) => void;
}

/** Objects of a page: what kubectl asks for. As Topics of 3 KB, reading one takes some 10 ms. */
const PAGE_LENGTH = 500;

/** Milliseconds of one page: more than that is no page that is on its way. */
const PAGE_MS_MAX = 30_000;

/** Tells every object; resolves with the revision of the whole. */
export async function listPages<T extends KubeObject>(options: ListOptions<T>): Promise<bigint> {
  const { api, path, query, timeoutMs, signal, heard, found } = options;
  const slices = new Slices();
  let next: string | undefined;
  for (;;) {
    const page = parsePage<T>(
      await api.call("GET", path, {
        query: { ...query, limit: String(PAGE_LENGTH), ...(next === undefined ? {} : { continue: next }) },
        timeoutMs: Math.min(timeoutMs, PAGE_MS_MAX),
        signal,
      }),
    );
    heard();
    for (const item of page.items) found(item);
    ({ next } = page);
    if (next === undefined) return page.revision;
    await slices.breathe();
  }
}
