// Owns: an installation under its supervisor as a drill sees it: one address for all gateways (the kernel spreads
// connections), processes by their names whatever their ids are now.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { PeerEndpoint } from "#core/fleet/peers.ts";
import type { DrilledFleet } from "./drill.ts";
import { isAlive, type Standalone } from "./standalone.ts";
import { until } from "./until.ts";

export class DrilledStandalone implements DrilledFleet {
  readonly standalone: Standalone;

  constructor(standalone: Standalone) {
    this.standalone = standalone;
  }

  names(role: PeerEndpoint["role"]): readonly string[] {
    const peers = this.standalone.peers().filter((peer) => peer.role === role);
    return peers.map(({ name }) => name).toSorted();
  }

  http(): string {
    return this.standalone.http;
  }

  ws(): string {
    return this.standalone.ws;
  }

  grpc(): string {
    return this.standalone.grpc;
  }

  peer(name: string): PeerEndpoint {
    const peer = this.standalone.peer(name);
    if (peer === undefined) throw new Error(`${name} is not there`);
    return peer;
  }

  isRunning(name: string): boolean {
    return isAlive(this.peer(name).pid);
  }

  /** Sends a signal to the process that has a name now; resolves with its id. */
  kill(name: string, signal: NodeJS.Signals = "SIGKILL"): number {
    const { pid } = this.peer(name);
    process.kill(pid, signal);
    return pid;
  }

  /** Resolves when another process than `before` has the name. */
  async isBack(name: string, before: number): Promise<void> {
    const isAnother = (): boolean => {
      const pid = this.standalone.peer(name)?.pid ?? before;
      return pid !== before && isAlive(pid);
    };
    await until(isAnother, `${name} is there again`, 60_000);
  }

  /** Everything that a process, or the supervisor, has logged. */
  logs(name: string): string {
    return readFileSync(join(this.standalone.stateFolder, "logs", `${name}.log`), "utf8");
  }
}
