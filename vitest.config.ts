// Owns: how tests run. Quick ones (pure, or one process) side by side; those that start real processes afterwards, one
// file at a time: on a machine with two cores they would take each other's time and miss their deadlines.

import { defineConfig } from "vitest/config";

const inCi = process.env["CI"] !== undefined && process.env["CI"] !== "";

export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Keeps what all processes log, and looks through it at the end.
    globalSetup: "test/harness/kept-logs.ts",
    // .ci/run counts from this file.
    ...(inCi ? { reporters: ["default", "json"], outputFile: { json: "reports/vitest.json" } } : {}),
    projects: [
      {
        extends: true,
        test: {
          name: "quick",
          include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts", "test/contract/**/*.test.ts"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "processes",
          include: ["test/integration/**/*.test.ts", "test/browser/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
