// Owns: the public gRPC server of one process: PublisherService, TopicService, health, reflection, and what a gateway
// adds (SubscriberService). Elsewhere: which port it listens on and how it is shared (the mains).

import type { DescService } from "@bufbuild/protobuf";
import { type Clock, SYSTEM_CLOCK } from "../runtime/clock.ts";
import { createGrpcServer, listenGrpc, type Server } from "../runtime/grpc.ts";
import { GRPC_CONNECTIONS_MAX, GrpcConnections } from "../runtime/grpc-connections.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { type Registry, readCounter, readGauge } from "../runtime/metrics.ts";
import type { TlsSource } from "../runtime/tls.ts";
import { PublisherService } from "#proto/earshot/v1/publisher_pb.ts";
import { TopicService } from "#proto/earshot/v1/topic_pb.ts";
import { Health } from "#proto/grpc/health/v1/health_pb.ts";
import type { Edge } from "./edge.ts";
import { GrpcHealth, HEALTH_WATCHES_MAX } from "./grpc-health.ts";
import { GrpcReflection } from "./grpc-reflection.ts";
import { type PublishStream, STREAM_OUTSTANDING_MAX } from "./publish-stream.ts";
import { bindPublisherService } from "./publisher-service.ts";
import { bindTopicService } from "./topic-service.ts";

/** Bytes of one message on the wire: a batch's 2 MiB and one largest message, with room for their other fields. */
const RECEIVE_BYTES_MAX = 4 * 1024 * 1024;

/** Milliseconds a connection without a call is kept: its client's next one opens another, in a millisecond. */
const IDLE_MS = 5 * 60_000;

/** Calls of one connection at the same time: HTTP/2 makes more wait at the caller. */
const CALLS_PER_CONNECTION_MAX = 1_000;

export interface PublicGrpcOptions {
  readonly edge: Edge;
  readonly log: Log;
  /** Absent: its streams are not measured. */
  readonly registry?: Registry;
  readonly clock?: Clock;
  /** Absent: plain text. */
  readonly tls?: TlsSource | undefined;
  /** Further services: `bind` adds their handlers, the descriptors go into health and reflection. */
  readonly extra?: {
    readonly services: readonly DescService[];
    bind(server: Server, connections: GrpcConnections): void;
  };
}

export interface PublicGrpc extends Component {
  /** Listens on `host:port` (0: any free one); resolves with the port. */
  listen(host: string, port: number): Promise<number>;
  /** Takes connections that were accepted elsewhere. */
  readonly connections: GrpcConnections;
  drain(deadlineMs: number): Promise<void>;
}

/** A server that does not listen yet. */
export function createPublicGrpcServer(options: PublicGrpcOptions): PublicGrpc {
  const { edge, log, registry, clock = SYSTEM_CLOCK, tls, extra } = options;
  const server = createGrpcServer({
    maxReceiveBytes: RECEIVE_BYTES_MAX,
    maxConcurrentCalls: CALLS_PER_CONNECTION_MAX,
    maxIdleMs: IDLE_MS,
    // What a gateway adds are streams that outlive a GOAWAY.
    pings: extra === undefined,
  });
  const connections = new GrpcConnections(server, { tls });
  let draining = false;
  const streams = new Set<PublishStream>();
  const health = new GrpcHealth();
  const reflection = new GrpcReflection();
  if (registry !== undefined) observe(registry, { connections, streams, health, reflection });
  bindPublisherService(server, { edge, clock, log, streams, draining: () => draining });
  bindTopicService(server, edge);
  extra?.bind(server, connections);
  for (const service of [PublisherService, TopicService, ...(extra?.services ?? [])]) {
    health.add(service.typeName);
    reflection.add(service);
  }
  health.bind(server);
  reflection.add(Health);
  reflection.bind(server);
  return {
    listen: (host, port) => listenGrpc(server, host, port, tls),
    connections,
    async drain(deadlineMs) {
      draining = true;
      health.setServing(false);
      for (const stream of streams) stream.drain();
      const gone = connections.drain(deadlineMs);
      // Streams that would stay for ever.
      health.end();
      reflection.end();
      await gone;
      await new Promise<void>((resolve) => {
        // An error here says that it was shut down before.
        server.tryShutdown(() => resolve());
      });
    },
    async close() {
      health.end();
      reflection.end();
      await connections.close();
      server.forceShutdown();
    },
  };
}

interface Observed {
  readonly connections: GrpcConnections;
  readonly streams: ReadonlySet<PublishStream>;
  readonly health: GrpcHealth;
  readonly reflection: GrpcReflection;
}

function observe(registry: Registry, { connections, streams, health, reflection }: Observed): void {
  const accepted = `Connections of gRPC clients that came over the shared port, ${GRPC_CONNECTIONS_MAX} at most; one more is closed at once.`;
  readGauge(registry, "earshot_grpc_connections", accepted, () => connections.size);
  const refused = "Connections of gRPC clients that were closed at once, because there were too many.";
  readCounter(registry, "earshot_grpc_connections_refused_total", refused, () => connections.refused);
  readGauge(
    registry,
    "earshot_grpc_publish_streams",
    "PublishStreams of publishers that are open.",
    () => streams.size,
  );
  const help = `Messages of PublishStreams under way, ${STREAM_OUTSTANDING_MAX} a stream at most; then nothing more is read.`;
  readGauge(registry, "earshot_grpc_publish_stream_outstanding", help, () => {
    let outstanding = 0;
    for (const stream of streams) outstanding += stream.outstanding;
    return outstanding;
  });
  const asked = "Reflection streams that are open; they end with their connections.";
  readGauge(registry, "earshot_grpc_reflection_streams", asked, () => reflection.streams);
  const watches = `Health watches that are open, ${HEALTH_WATCHES_MAX} at most; one more is refused.`;
  readGauge(registry, "earshot_grpc_health_watches", watches, () => health.watches);
}
