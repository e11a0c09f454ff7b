// Owns: the verdict on a Topic that is made or changed over HTTP or gRPC, in the codes that its caller is told. Pure.

import type { TopicPolicy } from "#core/domain/topic.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { judgeTopic, policyToSpec, TOPIC_API_VERSION, TOPIC_KIND, type TopicManifest } from "../schema/judge.ts";
import type { ObjectName } from "../schema/metadata.ts";
import { formatProblem } from "../schema/problem.ts";

/** `before`: its policy now, where it is there. Throws topic_name_invalid, invalid_request. */
export function judgeChange(
  { namespace, name }: ObjectName,
  policy: TopicPolicy,
  before: TopicPolicy | undefined,
): TopicManifest {
  const spec = structuredClone(policyToSpec(policy));
  const value = { apiVersion: TOPIC_API_VERSION, kind: TOPIC_KIND, metadata: { namespace, name }, spec };
  const verdict = judgeTopic(value, () => before);
  if (verdict.ok) return verdict.manifest;
  const [problem] = verdict.problems;
  const sentence = problem === undefined ? "the Topic is wrong" : formatProblem(problem);
  throw new EarshotError(problem?.path[0] === "metadata" ? "topic_name_invalid" : "invalid_request", sentence);
}
