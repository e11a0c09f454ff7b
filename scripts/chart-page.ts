// Owns: docs/chart.md: every value of the chart with its default and meaning, from values.yaml, below what whoever installs
// it has to know. `npm run chart` writes it.

import type { ChartValue } from "./chart-values.ts";

export function chartPage(values: readonly ChartValue[]): string {
  return `# The chart

Made by \`npm run chart\` from charts/earshot/values.yaml; values that are not possible are told by values.schema.json.

## Install

\`\`\`sh
docker build -t earshot:0.1.0 .            # then load it where the cluster finds it, as: kind load docker-image earshot:0.1.0
helm install earshot charts/earshot --namespace earshot --create-namespace
helm test earshot --namespace earshot --logs
\`\`\`

The notes that \`helm install\` prints show how to make a first Topic, hear it and speak on it, and how to add an issuer of
tokens. Kubernetes 1.30 or later is needed. Namespaces that enforce the restricted Pod Security Standard take all of it.

## What is in the cluster then

| what | names, after the installation's own name (\`<release>-earshot\`, or the release's where it holds that word) |
|---|---|
| Deployments, ServiceAccounts, PodDisruptionBudgets, NetworkPolicies | \`-operator\`, \`-router\`, \`-gateway\` |
| Services for clients and publishers | \`-gateway\` (8080 HTTP, SSE, WebSocket; 8081 gRPC), \`-publish\` (8081 gRPC) |
| Services by which processes find each other, headless | \`-operator\`, \`-router\` (7001) |
| ConfigMap with the settings | \`-settings\` |
| rights of the operator | Role \`-operator\`, ClusterRole \`<namespace>:...-topics\` (Roles, where \`watch.namespaces\` is set) |
| made by the operator, and gone with it | Lease, ShardMap; Secrets \`-ca\`, \`-operator-tls\`, \`-router-tls\`, \`-gateway-tls\` |

Only the operator speaks with the Kubernetes API. Pods of routers and gateways have no token for it: theirs is for the
other processes of the installation alone.

## Upgrade, uninstall, a second installation

- \`helm upgrade\` rolls what changed, one router after the other and gateways a quarter at a time; clients are told when to
  move. Settings are read at the start, so other settings roll the pods. What is in a Secret does not: restart the
  Deployments after you changed one (certificates and tokens are the exception, they are read again).
- \`helm uninstall\` leaves the CRDs and with them all Topics (\`crds.keep\`). Installed again under another release's name,
  it needs \`crds.enabled=false\` or \`--take-ownership\`.
- A second installation of one cluster has \`crds.enabled=false\`, and the two have no namespace of
  \`watch.namespaces\` in common.

## Memory

The memory limit is the request, so that a node never promises what it does not have, and \`heapPercentage\` of it is what
Node.js may take for its heap: change \`resources\` and the heap follows. No CPU limit is set, because a process that is
throttled makes everybody wait. Sockets and messages on their way are outside of the heap.

## Values

${sections(values)
  .map(([title, rows]) => `### ${title}\n\n| value | default | meaning |\n|---|---|---|\n${rows.join("\n")}\n`)
  .join("\n")}`;
}

/** Values with a common beginning stand together; those without one come first. */
function sections(values: readonly ChartValue[]): [string, string[]][] {
  const rows = new Map<string, string[]>();
  for (const value of values) {
    const { path } = value;
    const title = path.includes(".") ? path.slice(0, path.indexOf(".")) : "of the whole";
    rows.set(title, [...(rows.get(title) ?? []), rowOf(value)]);
  }
  return [...rows];
}

function rowOf({ path, description, default: usual }: ChartValue): string {
  const text = usual === "" ? "none" : `\`${JSON.stringify(usual)}\``;
  return `| \`${path}\` | ${text} | ${description.replaceAll("|", "\\|").replaceAll("<", "&lt;")} |`;
}
