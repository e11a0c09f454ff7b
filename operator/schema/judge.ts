// Owns: the verdict on a Topic manifest, by the CRD file itself: structural schema with defaults, CEL rules, metadata.
// Called for every manifest of a folder and for every Topic made over HTTP, so that both are what Kubernetes would take.
// Invariant: what is judged good here is good there, and the other way round (test/property/operator-schema.test.ts).

import type { Subject, TopicPolicy } from "#core/domain/topic.ts";
import { readCustomResource } from "./crd.ts";
import { checkMetadata, type ObjectName } from "./metadata.ts";
import { formatProblem, type Problem, quote } from "./problem.ts";
import { RuleSet } from "./rules.ts";
import { StructuralSchema } from "./structural.ts";

/** A Topic as its manifest says it, defaults filled in. */
export interface TopicManifest extends ObjectName {
  /** `<namespace>.<name>` */
  readonly key: string;
  /** metadata.creationTimestamp, where it is there and can be read. */
  readonly createdAtMs: number | undefined;
  readonly policy: TopicPolicy;
}

export type Verdict =
  | { readonly ok: true; readonly manifest: TopicManifest }
  /** `key` where the manifest at least says whose it is. */
  | { readonly ok: false; readonly key: string | undefined; readonly problems: readonly Problem[] };

const RESOURCE = readCustomResource("topics.earshot.dev");
const STRUCTURE = new StructuralSchema(RESOURCE.schema);
const RULES = new RuleSet(RESOURCE.schema);

export const TOPIC_API_VERSION = RESOURCE.apiVersion;
export const TOPIC_KIND = RESOURCE.kind;

/**
 * Judges a manifest (parsed YAML or JSON; defaults are filled into it). `inForce` answers the policy that the same Topic
 * has now: transition rules compare with it.
 */
export function judgeTopic(value: unknown, inForce: (key: string) => TopicPolicy | undefined): Verdict {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return {
      ok: false,
      key: undefined,
      problems: [{ path: [], message: `a manifest is a mapping, not ${quote(value)}` }],
    };
  }
  const wrongKind = checkKind(value as Record<string, unknown>);
  if (wrongKind.length > 0) return { ok: false, key: undefined, problems: wrongKind };
  const metadata = checkMetadata(value);
  const key = metadata.name === undefined ? undefined : `${metadata.name.namespace}.${metadata.name.name}`;
  // metadata has its own judge; what the schema says of it (it is there, it is a mapping) is already told.
  const structural = STRUCTURE.check(value).filter((problem) => problem.path[0] !== "metadata");
  const problems = [...metadata.problems, ...structural];
  if (problems.length > 0 || metadata.name === undefined || key === undefined) return { ok: false, key, problems };
  const old = inForce(key);
  const broken = RULES.check(value, old === undefined ? undefined : { ...value, spec: policyToSpec(old) });
  if (broken.length > 0) return { ok: false, key, problems: broken };
  const { spec, metadata: given } = value as unknown as { spec: TopicSpec; metadata: { creationTimestamp?: unknown } };
  const createdAtMs = Date.parse(String(given.creationTimestamp));
  return {
    ok: true,
    manifest: {
      ...metadata.name,
      key,
      createdAtMs: Number.isFinite(createdAtMs) ? createdAtMs : undefined,
      policy: share(specToPolicy(spec)),
    },
  };
}

/** Policies remembered for sharing: most Topics of an installation have one of a few, and each is half of a Topic. */
const SHARED_POLICIES_MAX = 256;
const sharedPolicies = new Map<string, TopicPolicy>();

/** The same object for policies that say the same. */
function share(policy: TopicPolicy): TopicPolicy {
  const text = JSON.stringify(policy);
  const known = sharedPolicies.get(text);
  if (known !== undefined) return known;
  if (sharedPolicies.size >= SHARED_POLICIES_MAX) sharedPolicies.clear();
  sharedPolicies.set(text, policy);
  return policy;
}

/**
 * The policy of a `spec` that an API server has judged already: shape and defaults alone, no rules. The reason of one that
 * does not fit is one line.
 */
export function readSpec(
  spec: unknown,
): { readonly ok: true; readonly policy: TopicPolicy } | { readonly ok: false; readonly reason: string } {
  const value = { apiVersion: TOPIC_API_VERSION, kind: TOPIC_KIND, metadata: {}, spec };
  const [problem] = STRUCTURE.check(value);
  if (problem !== undefined) return { ok: false, reason: formatProblem(problem) };
  return { ok: true, policy: share(specToPolicy(value.spec as TopicSpec)) };
}

function checkKind(value: Record<string, unknown>): readonly Problem[] {
  const problems: Problem[] = [];
  const { apiVersion, kind } = value;
  if (kind !== TOPIC_KIND) problems.push({ path: ["kind"], message: `must be ${TOPIC_KIND}, not ${quote(kind)}` });
  if (apiVersion !== TOPIC_API_VERSION) {
    problems.push({ path: ["apiVersion"], message: `must be ${TOPIC_API_VERSION}, not ${quote(apiVersion)}` });
  }
  return problems;
}

/** `spec` as the CRD shapes it, after defaults. */
export interface TopicSpec {
  permissions: TopicPolicy["permissions"];
  owner?: string;
  publishers?: Subject[];
  subscribers?: Subject[];
  channels: TopicPolicy["channels"];
  presence: TopicPolicy["presence"];
  delivery: {
    slowConsumer: TopicPolicy["slowConsumer"];
    maxMessageBytes: number;
    batchWindowMilliseconds: number;
    priority: TopicPolicy["priority"];
  };
  limits: { maxPublishesPerSecond: number; maxSubscribers: number; maxChannels: number };
}

function specToPolicy(spec: TopicSpec): TopicPolicy {
  const { permissions, owner, publishers = [], subscribers = [], channels, presence } = spec;
  return { permissions, owner, publishers, subscribers, channels, presence, ...spec.delivery, ...spec.limits };
}

export function policyToSpec(policy: TopicPolicy): TopicSpec {
  const { permissions, owner, publishers, subscribers, channels, presence } = policy;
  const { slowConsumer, maxMessageBytes, batchWindowMilliseconds, priority } = policy;
  const { maxPublishesPerSecond, maxSubscribers, maxChannels } = policy;
  return {
    permissions,
    ...(owner === undefined ? {} : { owner }),
    publishers: [...publishers],
    subscribers: [...subscribers],
    channels,
    presence,
    delivery: { slowConsumer, maxMessageBytes, batchWindowMilliseconds, priority },
    limits: { maxPublishesPerSecond, maxSubscribers, maxChannels },
  };
}
