// Owns: publishing many messages of one call, each with an outcome of its own, in the order given. For gRPC and HTTP.

import type { PublishResult } from "../fleet/publish-order.ts";
import { EarshotError } from "../runtime/errors.ts";
import type { Caller, Edge, PublishInput } from "./edge.ts";

/**
 * Hands every message on in its order, without waiting between them. An input that is an error already stays it.
 * Rejects only for a bug.
 */
export function publishBatch(
  edge: Pick<Edge, "publish">,
  caller: Caller,
  inputs: readonly (PublishInput | EarshotError)[],
): Promise<readonly (PublishResult | EarshotError)[]> {
  return Promise.all(
    inputs.map(async (input) => {
      if (input instanceof EarshotError) return input;
      try {
        return await edge.publish(caller, input);
      } catch (error) {
        if (error instanceof EarshotError) return error;
        throw error;
      }
    }),
  );
}
