// Owns: what Helm's --wait, Flux and Argo CD's health make of an object: the rules of kstatus for kinds that it does not know
// (sigs.k8s.io/cli-utils, pkg/kstatus/status: checkGenericProperties in generic.go, then checkReadyCondition in core.go).

export type Kstatus = "Current" | "InProgress" | "Failed" | "Terminating";

export interface KstatusObject {
  readonly metadata: { readonly generation?: number; readonly deletionTimestamp?: string };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

export function kstatusOf({ metadata, status = {} }: KstatusObject): Kstatus {
  const { observedGeneration, conditions = [] } = status;
  if (metadata.deletionTimestamp !== undefined) return "Terminating";
  if (observedGeneration !== undefined && observedGeneration !== metadata.generation) return "InProgress";
  for (const condition of conditions) {
    if (condition.type === "Reconciling" && condition.status === "True") return "InProgress";
    if (condition.type === "Stalled" && condition.status === "True") return "Failed";
  }
  const ready = conditions.find(({ type }) => type === "Ready");
  return ready === undefined || ready.status === "True" ? "Current" : "InProgress";
}
