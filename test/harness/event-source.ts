// Owns: a real EventSource for tests: Node's own, in a process with the flag that it still needs.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Frames } from "./frames.ts";

const PROGRAM = `
const source = new EventSource(process.argv[1]);
const tell = (what) => process.stdout.write(JSON.stringify(what) + "\\n");
source.onopen = () => tell({ open: true });
source.onerror = () => tell({ readyState: source.readyState });
// Its wait before it reconnects does not keep a process alive.
setInterval(() => {}, 1000);
source.onmessage = ({ data, lastEventId, type }) => tell({ data, lastEventId, type });
`;

interface Told {
  readonly open?: true;
  /** 0: it reconnects; 2: it has given up. */
  readonly readyState?: number;
  readonly data?: string;
  readonly lastEventId?: string;
  readonly type?: string;
}

export class EventSourceClient {
  readonly frames = new Frames();
  readonly told: Told[] = [];
  readonly #child: ChildProcess;

  constructor(url: string) {
    const argv = ["--experimental-eventsource", "--no-warnings", "--eval", PROGRAM, url];
    this.#child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
    let rest = "";
    this.#child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#hear(JSON.parse(line) as Told);
    });
  }

  /** How often it has connected. */
  get opened(): number {
    return this.told.filter(({ open }) => open).length;
  }

  /** Whether it has given up for good. */
  get gaveUp(): boolean {
    return this.told.some(({ readyState }) => readyState === 2);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  #hear(told: Told): void {
    this.told.push(told);
    if (told.data !== undefined) this.frames.add(told.data);
  }
}
