// Owns: who is there, as a client that watches works it out: the first list, then who joined and left.

import type { Frame } from "./frames.ts";
import { call } from "./http.ts";
import type { WebSocketClient } from "./websocket.ts";

export class Watcher {
  readonly users = new Set<string>();
  count = 0;
  frames = 0;
  /** Users of whom a frame said that they left. */
  readonly left: string[] = [];

  constructor(client: WebSocketClient) {
    for (const frame of client.frames.all) this.take(frame);
    client.frames.on((frame) => this.take(frame));
  }

  take(frame: Frame): void {
    if (frame.type !== "presence") return;
    this.frames += 1;
    this.count = Number(frame["count"]);
    if (Array.isArray(frame["subscribers"])) this.users.clear();
    for (const list of ["subscribers", "joined"]) for (const user of usersIn(frame[list])) this.users.add(user);
    for (const user of usersIn(frame["left"])) {
      this.users.delete(user);
      this.left.push(user);
    }
  }

  get seen(): string {
    return `${this.count}: ${[...this.users].sort().join(",")}`;
  }
}

/** The whole of `/subscribers`' first page: `2: alice,bob`, behind `stale` where it says so. */
export async function listedAt(base: string, topic: string): Promise<string> {
  const { json } = await call(base, "GET", `/api/v1/topics/${topic}/subscribers?limit=1000`);
  const users = new Set(usersIn(json["subscribers"]));
  return `${json["stale"] === true ? "stale " : ""}${String(json["count"])}: ${[...users].sort().join(",")}`;
}

function usersIn(list: unknown): string[] {
  return Array.isArray(list) ? list.map((member: { user_id: string }) => member.user_id) : [];
}
