// Owns: the last line of .ci/run, worked out from the reports of vitest, of `npm run check` and of the look through all
// logs: `N passed, N failed`, and `, N skipped` with what was skipped above it. Exit code 0 only when nothing failed and
// every report is there. With --cluster the reports of `npm run test:cluster` count too, and must be there.

import { readFileSync } from "node:fs";

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numFailedTestSuites: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

const UNCOUNTED = new Set(["passed", "failed"]);

function read(file: string): unknown {
  return JSON.parse(readFileSync(file, "utf8"));
}

let passed = 0;
let failed = 0;
const skipped: string[] = [];

const withCluster = process.argv.includes("--cluster");
const reports = withCluster ? ["reports/vitest.json", "reports/vitest-cluster.json"] : ["reports/vitest.json"];
const runs = reports.map((report) => read(report) as VitestReport);
for (const tests of runs) {
  passed += tests.numPassedTests;
  failed += tests.numFailedTests;
}
for (const file of runs.flatMap((tests) => tests.testResults)) {
  for (const { fullName, status } of file.assertionResults) {
    if (status === "failed") process.stdout.write(`failed: ${fullName} (${file.name})\n`);
    if (!UNCOUNTED.has(status)) skipped.push(`${fullName} (${file.name})`);
  }
  // A file that could not even be loaded has no test that failed.
  if (file.status === "failed" && file.assertionResults.every(({ status }) => status !== "failed")) {
    process.stdout.write(`failed: ${file.name}: ${file.message}\n`);
    failed += 1;
  }
}

// The logs of all processes count as one check (test/harness/kept-logs.ts).
const logs = withCluster ? ["reports/logs.json", "reports/logs-cluster.json"] : ["reports/logs.json"];
for (const report of ["reports/checks.json", ...logs]) {
  const checks = read(report) as { readonly passed: number; readonly failed: number };
  passed += checks.passed;
  failed += checks.failed;
}

for (const name of skipped) process.stdout.write(`skipped: ${name}\n`);
const tail = skipped.length === 0 ? "" : `, ${skipped.length} skipped`;
process.stdout.write(`${passed} passed, ${failed} failed${tail}\n`);
process.exitCode = failed === 0 ? 0 : 1;
