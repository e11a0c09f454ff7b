// Owns: one whole list, by pages. Pages are small enough to be read between two breaths: their length follows what the
// one before weighed. A list that became too old while it was read (410) starts over, by whoever asked for it.

import { Slices } from "#core/runtime/slices.ts";
import type { KubeApi, KubeObject } from "./api.ts";
import { keyOf, parsePage } from "./watch-event.ts";

export interface ListOptions {
  readonly api: Pick<KubeApi, "call">;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** Of one page. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called with each page. */
  readonly heard: () => void;
}

export interface WholeList<T> {
  readonly objects: ReadonlyMap<string, T>;
  readonly revision: bigint;
}

/** Objects of a page. */
const PAGE_LENGTH = 500;

/** Milliseconds of one page: more than that is no page that is on its way. */
const PAGE_MS_MAX = 30_000;

export async function listPages<T extends KubeObject>(options: ListOptions): Promise<WholeList<T>> {
  const { api, path, query, timeoutMs, signal, heard } = options;
  const objects = new Map<string, T>();
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
    for (const item of page.items) objects.set(keyOf(item), item);
    ({ next } = page);
    if (next === undefined) return { objects, revision: page.revision };
    await slices.breathe();
  }
}
