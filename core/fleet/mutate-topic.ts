// Owns: asking an operator to change a Topic, in bounded time and never twice: another operator is asked only when one
// says that it did nothing (it does not lead).

import type { Clock } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import { fromStatus, type GrpcClient } from "../runtime/grpc.ts";
import {
  ControlPlaneService,
  type MutateTopicRequest,
  type MutateTopicResponse,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";

/** Milliseconds a change of a Topic may take at the operators before its caller is told that none answers. */
const MUTATE_MS = 3_000;

/** `clients` are channels to the operators that are connected. Throws control_plane_unavailable. */
export async function mutateTopic(
  clients: readonly GrpcClient[],
  request: MutateTopicRequest,
  clock: Clock,
): Promise<MutateTopicResponse> {
  const endsAtMs = clock.monotonic() + MUTATE_MS;
  let refusal = new EarshotError("control_plane_unavailable", "no operator is connected; try again later");
  for (const client of clients) {
    try {
      return await client.unary(ControlPlaneService.method.mutateTopic, request, endsAtMs - clock.monotonic());
    } catch (error) {
      const failure = fromStatus(error, () => unanswered(error));
      // An operator that failed, or did not answer, may have made the change.
      if (failure.cause === error || failure.code !== "control_plane_unavailable") throw failure;
      refusal = failure;
    }
  }
  throw refusal;
}

function unanswered(cause: unknown): EarshotError {
  return new EarshotError("control_plane_unavailable", "the operator did not answer; try again later", { cause });
}
