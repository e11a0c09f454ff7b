// Owns: the public ports of a gateway, http and grpc: shared by the kernel, or handed over connection by connection by the
// process that started this one. Elsewhere: what is served there.

import type { Server } from "node:http";
import type { Socket } from "node:net";
import { ConfigError } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";
import type { GrpcConnections } from "#core/runtime/grpc-connections.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import { type DoorName, onHandedConnection } from "#core/runtime/parent.ts";
import type { Config } from "#core/runtime/settings.ts";
import { Listener } from "./listener.ts";

interface PublicPortsOptions {
  readonly config: Pick<Config, "host" | "port" | "grpcPort" | "portSharing">;
  readonly http: Server;
  readonly grpc: Pick<GrpcConnections, "accept">;
  readonly platform: NodeJS.Platform;
}

export class PublicPorts implements Component {
  readonly ports: Partial<Record<DoorName, number>>;
  readonly #listeners: readonly Listener[];
  readonly #stop: () => void;

  private constructor(listeners: readonly Listener[], ports: Partial<Record<DoorName, number>>, stop: () => void) {
    this.#listeners = listeners;
    this.ports = ports;
    this.#stop = stop;
  }

  /** Throws ConfigError when a port cannot be had. */
  static async open({ config, http, grpc, platform }: PublicPortsOptions): Promise<PublicPorts> {
    const accept: Record<DoorName, (socket: Socket) => void> = {
      http: (socket) => http.emit("connection", socket),
      grpc: (socket) => grpc.accept(socket),
    };
    if (config.portSharing === "handoff") {
      let open = true;
      onHandedConnection((door, socket) => {
        if (open) accept[door](socket);
        else socket.destroy();
      });
      const stop = (): void => {
        open = false;
      };
      return new PublicPorts([], { http: config.port, grpc: config.grpcPort }, stop);
    }
    const shared = platform === "linux";
    const httpListener = await listen("port", { ...config, number: config.port, shared, accept: accept.http });
    try {
      const grpcListener = await listen("grpcPort", {
        ...config,
        number: config.grpcPort,
        shared,
        accept: accept.grpc,
      });
      const ports = { http: httpListener.port, grpc: grpcListener.port };
      return new PublicPorts([httpListener, grpcListener], ports, () => undefined);
    } catch (error) {
      await httpListener.close();
      throw error;
    }
  }

  /**
   * Accepts no more; what was accepted is served on. Connections that are handed over are still taken: the supervisor
   * knows that this process drains, and those that it sent before are on their way.
   */
  async drain(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.close()));
  }

  async close(): Promise<void> {
    this.#stop();
    await this.drain();
  }
}

async function listen(
  setting: "port" | "grpcPort",
  options: { host: string; number: number; shared: boolean; accept: (socket: Socket) => void },
): Promise<Listener> {
  const { host, number, shared, accept } = options;
  try {
    return await Listener.listen({ host, port: number, shared, accept });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const reason = code === "EADDRINUSE" ? "is in use by another program" : `cannot be opened: ${messageOf(error)}`;
    throw new ConfigError(`port ${number} on ${host} (setting ${setting}) ${reason}`);
  }
}
