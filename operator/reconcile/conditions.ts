// Owns: what a Topic's status says (crds/topics.earshot.dev.yaml), decided from what is known of it. Pure.
// Elsewhere: when a Topic is programmed or hot (program.ts, hot.ts), where a status is kept (stores).

export interface Condition {
  readonly type: "Accepted" | "Programmed" | "Ready" | "Hot" | "Stalled";
  readonly status: "True" | "False" | "Unknown";
  readonly observedGeneration: number;
  /** RFC 3339, whole seconds. */
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

export interface TopicStatus {
  readonly observedGeneration: number;
  readonly topicId: string;
  readonly conditions: readonly Condition[];
}

export interface TopicFacts {
  readonly topicId: string;
  readonly generation: number;
  /** Why the newest manifest is not carried; undefined: it is. */
  readonly rejected: string | undefined;
  /** What the installation lowered, in a sentence; undefined: nothing. */
  readonly clamped: string | undefined;
  readonly programmed: Programmed;
  readonly hot: boolean;
  /** What of the spec is not kept though it is accepted, in a sentence; undefined: nothing. */
  readonly remark: string | undefined;
}

export type Programmed =
  /** Not every connected process has this generation yet. */
  | { readonly kind: "waiting" }
  | { readonly kind: "done" }
  /** An operator before this one decided it for this generation, in these words. */
  | { readonly kind: "stands"; readonly reason: string; readonly message: string }
  /** The deadline passed without these processes. */
  | { readonly kind: "gaveUp"; readonly missing: number; readonly connected: number };

type Verdict = Pick<Condition, "status" | "reason" | "message">;

/** The status after `previous`; the very same object when nothing in it changed. */
export function decideStatus(facts: TopicFacts, previous: TopicStatus | undefined, nowMs: number): TopicStatus {
  const accepted = decideAccepted(facts);
  const programmed = decideProgrammed(facts.programmed);
  const verdicts: [Condition["type"], Verdict][] = [
    ["Accepted", accepted],
    ["Programmed", programmed],
    ["Ready", decideReady(accepted, programmed, facts.remark)],
  ];
  // Conditions that are only of interest when they hold, or held before (kstatus: Stalled absent is False).
  for (const [type, verdict] of [
    ["Hot", decideHot(facts.hot)],
    ["Stalled", decideStalled(accepted)],
  ] as const) {
    const known = previous?.conditions.some((condition) => condition.type === type) ?? false;
    if (verdict.status === "True" || known) verdicts.push([type, verdict]);
  }
  const status: TopicStatus = {
    observedGeneration: facts.generation,
    topicId: facts.topicId,
    conditions: share(verdicts.map(([type, verdict]) => settle(type, verdict, { facts, previous, nowMs }))),
  };
  return previous !== undefined && JSON.stringify(status) === JSON.stringify(previous) ? previous : status;
}

let lastConditions: readonly Condition[] = [];

/** Thousands of Topics that are decided on in one go say the same: they share one list. */
function share(conditions: readonly Condition[]): readonly Condition[] {
  if (JSON.stringify(conditions) !== JSON.stringify(lastConditions)) lastConditions = conditions;
  return lastConditions;
}

function settle(
  type: Condition["type"],
  verdict: Verdict,
  { facts, previous, nowMs }: { facts: TopicFacts; previous: TopicStatus | undefined; nowMs: number },
): Condition {
  const before = previous?.conditions.find((condition) => condition.type === type);
  const now = `${new Date(nowMs).toISOString().slice(0, 19)}Z`;
  return {
    type,
    status: verdict.status,
    observedGeneration: facts.generation,
    lastTransitionTime: before?.status === verdict.status ? before.lastTransitionTime : now,
    reason: verdict.reason,
    message: verdict.message,
  };
}

function decideAccepted({ rejected, clamped }: TopicFacts): Verdict {
  if (rejected !== undefined) {
    return { status: "False", reason: "Invalid", message: `${rejected}; what was good before stays in force` };
  }
  if (clamped !== undefined) return { status: "True", reason: "Clamped", message: clamped };
  return { status: "True", reason: "Accepted", message: "The spec is carried as it is" };
}

function decideProgrammed(programmed: Programmed): Verdict {
  switch (programmed.kind) {
    case "waiting":
      return { status: "Unknown", reason: "Pending", message: "Not every connected process has this generation yet" };
    case "stands":
      return { status: "True", reason: programmed.reason, message: programmed.message };
    case "done":
      return { status: "True", reason: "Programmed", message: "Every connected process has this generation" };
    case "gaveUp": {
      const { missing, connected } = programmed;
      const message = `${missing} of ${connected} connected processes did not confirm in time`;
      return { status: "True", reason: "PartlyConfirmed", message };
    }
  }
}

function decideReady(accepted: Verdict, programmed: Verdict, remark: string | undefined): Verdict {
  if (accepted.status !== "True") return accepted;
  if (programmed.status !== "True") return programmed;
  const { reason, message } = accepted.reason === "Clamped" ? accepted : READY;
  return { status: "True", reason, message: remark === undefined ? message : `${message}; ${remark}` };
}

const READY = { reason: "Ready", message: "Messages are carried as the spec says" };

function decideHot(hot: boolean): Verdict {
  return hot
    ? { status: "True", reason: "ManySubscriptions", message: "A topic id of this Topic has very many subscriptions" }
    : { status: "False", reason: "FewSubscriptions", message: "No topic id of this Topic has very many subscriptions" };
}

function decideStalled(accepted: Verdict): Verdict {
  return accepted.status === "False"
    ? { status: "True", reason: accepted.reason, message: accepted.message }
    : { status: "False", reason: "Accepted", message: "Nothing waits for anybody" };
}
