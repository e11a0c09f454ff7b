// Owns: the standard health service (https://github.com/grpc/grpc/blob/master/doc/health-checking.md): whether this
// server and each of its services take calls. It needs no token: kubelets and load balancers have none.

import { create } from "@bufbuild/protobuf";
import {
  bindService,
  GrpcStatus,
  GrpcStatusError,
  type Server,
  type ServerWritableStream,
  toStatus,
} from "../runtime/grpc.ts";
import {
  Health,
  type HealthCheckRequest,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as Status,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
} from "#proto/grpc/health/v1/health_pb.ts";

type WatchCall = ServerWritableStream<HealthCheckRequest, HealthCheckResponse | Uint8Array>;

/** Watches of one server at the same time; one more is refused. Load balancers hold one a connection. */
export const HEALTH_WATCHES_MAX = 1_000;

export class GrpcHealth {
  /** Fully qualified; "" is the server as a whole. */
  readonly #services = new Set<string>([""]);
  readonly #watches = new Set<WatchCall>();
  #serving = true;

  /** Watches that are open. */
  get watches(): number {
    return this.#watches.size;
  }

  bind(server: Server): void {
    this.#services.add(Health.typeName);
    bindService(server, Health, {
      check: async (request) => {
        if (!this.#services.has(request.service)) throw unknownService();
        return this.#answer(request.service);
      },
      list: async () => {
        const statuses = Object.fromEntries([...this.#services].map((name) => [name, this.#answer(name)]));
        return create(HealthListResponseSchema, { statuses });
      },
      watch: (call) => this.#watch(call),
    });
  }

  /** A service that the server has. */
  add(typeName: string): void {
    this.#services.add(typeName);
  }

  /** What every service answers from now on; watchers are told. */
  setServing(serving: boolean): void {
    if (this.#serving === serving) return;
    this.#serving = serving;
    for (const call of this.#watches) call.write(this.#answer(call.request.service));
  }

  /** Ends the watches, so that the server can. */
  end(): void {
    for (const call of this.#watches) call.end();
    this.#watches.clear();
  }

  #watch(call: WatchCall): void {
    if (this.#watches.size >= HEALTH_WATCHES_MAX) {
      call.emit("error", toStatus(new GrpcStatusError(GrpcStatus.RESOURCE_EXHAUSTED, "too many health watches")));
      return;
    }
    this.#watches.add(call);
    call.on("cancelled", () => this.#watches.delete(call));
    call.write(this.#answer(call.request.service));
  }

  #answer(service: string): HealthCheckResponse {
    const known = this.#services.has(service);
    const status = known ? (this.#serving ? Status.SERVING : Status.NOT_SERVING) : Status.SERVICE_UNKNOWN;
    return create(HealthCheckResponseSchema, { status });
  }
}

/** The protocol asks for NOT_FOUND, which no code of ours is: no user of topics meets it. */
function unknownService(): GrpcStatusError {
  return new GrpcStatusError(GrpcStatus.NOT_FOUND, "no such service");
}
