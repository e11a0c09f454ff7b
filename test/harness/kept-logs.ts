// Owns: the logs of every process that the tests start: kept when their folders are removed, and checked at the end of the
// run (scripts/log-check.ts). vitest.config.ts names this file as a global setup; harnesses call `keepLogs`.
// Invariant: each run has a folder of its own, so that two at once do not meet.

import { randomBytes } from "node:crypto";
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { checkLogs, type KeptLog, textsOf } from "../../scripts/log-check.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const RUNS = join(ROOT, "reports", "logs");

/** Names the folder of this run to the workers. */
const VARIABLE = "KEPT_LOGS";

/** Secrets that tests give to processes. */
const SECRETS = ["a test's own secret", "a test's peer secret", "the secret of an edge under test"];

/** Where a run says what its logs were like, for .ci/run; vitest.cluster.config.ts names another file. */
const REPORT = join(ROOT, "reports", process.env["KEPT_LOGS_REPORT"] ?? "logs.json");

/** Problems shown; the rest are a number. */
const SHOWN_MAX = 20;

/** Keeps every log below a folder, and the secret that was made there, before the folder is removed. */
export function keepLogs(folder: string): void {
  const run = process.env[VARIABLE];
  if (run === undefined) return;
  for (const path of globSync("{*.log,logs/*.log,state/logs/*.log}", { cwd: folder })) {
    keepText(basename(path), readFileSync(join(folder, path), "utf8"));
  }
  const secret = join(folder, "state", "secret");
  if (existsSync(secret)) writeFileSync(join(run, `${unique()}.secret`), readFileSync(secret));
}

/** Keeps one log. */
function keepText(name: string, text: string): void {
  const run = process.env[VARIABLE];
  if (run !== undefined && text !== "") writeFileSync(join(run, `${unique()}-${name}`), text);
}

function unique(): string {
  return randomBytes(6).toString("hex");
}

/** Before the tests: the folder of this run. */
export function setup(): void {
  if (process.env[VARIABLE] !== undefined) return;
  mkdirSync(RUNS, { recursive: true });
  for (const run of readdirSync(RUNS)) if (!isAlive(Number(run))) rmSync(join(RUNS, run), { recursive: true });
  const run = join(RUNS, String(process.pid));
  mkdirSync(run, { recursive: true });
  process.env[VARIABLE] = run;
}

/** After them: throws where anything stands in a log that must not. */
export function teardown(): void {
  const run = process.env[VARIABLE];
  if (run === undefined) return;
  const files = readdirSync(run);
  const logs: KeptLog[] = [];
  const secrets = [...SECRETS];
  for (const file of files) {
    const text = readFileSync(join(run, file), "utf8");
    if (file.endsWith(".secret")) secrets.push(text.trim());
    else logs.push({ name: file, text });
  }
  const sources = globSync("{core,operator,router,gateway,canary,standalone}/**/*.ts", { cwd: ROOT });
  const sentences = new Set(sources.flatMap((path) => textsOf(readFileSync(join(ROOT, path), "utf8"))));
  const problems = checkLogs(logs, { sentences, secrets });
  const failed = problems.length === 0 ? 0 : 1;
  writeFileSync(REPORT, JSON.stringify({ passed: 1 - failed, failed, logs: logs.length }));
  if (failed === 0) return;
  process.exitCode = 1;
  const shown = problems.slice(0, SHOWN_MAX).join("\n  ");
  throw new Error(`${problems.length} lines of the logs in ${run} hold what no log may:\n  ${shown}`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
