// Owns: an SSE client for tests: fetch, with events, comments and `retry` kept as they came.

import { Frames } from "./frames.ts";

export class SseClient {
  readonly frames = new Frames();
  readonly comments: string[] = [];
  /** Field lines that are neither `data` nor comments, like `retry: 2000`. */
  readonly fields: string[] = [];
  readonly response: Response;
  /** Resolves when the stream has ended, whoever ended it. */
  readonly ended: Promise<void>;
  readonly #abort: AbortController;

  private constructor(response: Response, abort: AbortController) {
    this.response = response;
    this.#abort = abort;
    this.ended = this.#read().catch(() => {});
  }

  /** Resolves once the headers are there, whatever the status. */
  static async open(base: string, path: string, token?: string): Promise<SseClient> {
    const abort = new AbortController();
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    return new SseClient(await fetch(`${base}${path}`, { headers, signal: abort.signal }), abort);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.ended;
  }

  async #read(): Promise<void> {
    if (this.response.body === null) return;
    let rest = "";
    for await (const chunk of this.response.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#onLine(line);
    }
  }

  #onLine(line: string): void {
    if (line === "") return;
    if (line.startsWith(":")) this.comments.push(line.slice(1).trim());
    else if (line.startsWith("data: ")) this.frames.add(line.slice("data: ".length));
    else this.fields.push(line);
  }
}

/** Subscribes to one topic and waits for `subscribed`. */
export async function openSse(base: string, topicId: string, token?: string): Promise<SseClient> {
  const client = await SseClient.open(base, `/api/v1/topics/${topicId}/subscribe`, token);
  await client.frames.next({ type: "subscribed", topic_id: topicId });
  return client;
}
