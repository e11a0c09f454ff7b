// Owns: which metrics there are, for what names them: those of docs/metrics.md, what the rules record, and what the operator
// exposes in Kubernetes alone.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");

/** Whether a metric (or a series of a histogram) is there. */
export function knownMetrics(): (name: string) => boolean {
  const page = readFileSync(join(ROOT, "docs/metrics.md"), "utf8");
  const exposed = new Map(
    [...page.matchAll(/^\| `(\w+)` \| (\w+) \|/gm)].map(([, name = "", type = ""]) => [name, type]),
  );
  const rules = readFileSync(join(ROOT, "charts/earshot/files/rules.yaml"), "utf8");
  const recorded = new Set([...rules.matchAll(/record: (\S+)/g)].map(([, name = ""]) => name));
  const operator = globSync("operator/**/*.ts", { cwd: ROOT }).map((file) => readFileSync(join(ROOT, file), "utf8"));
  return (name) => {
    if (exposed.has(name) || recorded.has(name)) return true;
    if (exposed.get(name.replace(/_(bucket|count|sum)$/, "")) === "histogram") return true;
    const bare = name.replace(/_(bucket|count|sum)$/, "");
    return operator.some((text) => text.includes(`"${bare}"`));
  };
}
