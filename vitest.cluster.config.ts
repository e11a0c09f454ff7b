// Owns: how tests run that need Kubernetes (`npm run test:cluster`): one file at a time, against one API server.
// KUBEBUILDER_ASSETS gives what needs an API server alone; KUBECONFIG a cluster with pods (test/cluster/full-*.test.ts).

import { defineConfig } from "vitest/config";

const inCi = process.env["CI"] !== undefined && process.env["CI"] !== "";
process.env["KEPT_LOGS_REPORT"] = "logs-cluster.json";

export default defineConfig({
  test: {
    include: ["test/cluster/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 240_000,
    maxWorkers: 1,
    globalSetup: ["test/harness/kept-logs.ts", "test/harness/kube-setup.ts"],
    ...(inCi ? { reporters: ["default", "json"], outputFile: { json: "reports/vitest-cluster.json" } } : {}),
  },
});
