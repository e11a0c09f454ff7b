// Owns: the small HTTP server of each process for kubelets, Prometheus and `GET /api/v1/status`: /healthz (the event
// loop turns), /readyz (200 or 503 with the reasons as JSON), /metrics. Never on a port that users reach.

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Component } from "./lifecycle.ts";
import type { Registry } from "./metrics.ts";
import { createServer } from "./node-http.ts";

/** Reasons why this process is not ready; empty when it is. */
export type Readiness = () => readonly string[];

export class Probes implements Component {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on `host:port` (0: any free one). Rejects when it cannot. */
  static async listen(host: string, port: number, registry: Registry, readiness: Readiness): Promise<Probes> {
    const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
      const answer = (status: number, type: string, body: string): void => {
        response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(body);
      };
      switch (request.url ?? "") {
        case "/healthz":
          answer(200, "application/json", '{"ok":true}');
          return;
        case "/readyz": {
          const reasons = readiness();
          answer(
            reasons.length === 0 ? 200 : 503,
            "application/json",
            JSON.stringify({ ready: reasons.length === 0, reasons }),
          );
          return;
        }
        case "/metrics":
          registry.metrics().then(
            (text) => answer(200, registry.contentType, text),
            () => answer(500, "text/plain", "metrics could not be collected"),
          );
          return;
        default:
          answer(404, "text/plain", "not found: /healthz, /readyz and /metrics are here");
      }
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, host, () => {
        server.off("error", reject);
        resolve();
      });
    });
    return new Probes(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}
