// Owns: `npm run check`: everything that is checked without running Earshot, one line a check, all of them even when one
// fails. `--count <file>` also writes how many passed and failed, for .ci/run. Tests are not here (`npm test`).

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

interface Check {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** What to do when it fails. */
  readonly mend: string;
  /** Left out, and told, where the machine lacks its program. */
  readonly isOptional?: true;
}

const CHECKS: readonly Check[] = [
  { name: "types", command: ["tsc", "--noEmit"], mend: "mend the types named above" },
  {
    name: "types of the page",
    command: ["tsc", "--noEmit", "--project", "gateway/http/page/client"],
    mend: "mend the types named above",
  },
  { name: "lint", command: ["oxlint", "--type-aware", "--deny-warnings"], mend: "mend the lines named above" },
  { name: "format", command: ["biome", "format", "."], mend: "npm run format" },
  { name: "unused code", command: ["knip"], mend: "delete what nobody uses" },
  { name: "proto lint", command: ["buf", "lint"], mend: "mend the .proto files named above" },
  {
    name: "chart lint",
    command: ["helm", "lint", "--strict", "charts/earshot"],
    mend: "mend the templates named above",
    isOptional: true,
  },
];

function run(command: readonly string[], cwd = "."): { ok: boolean; output: string } {
  const [program = "", ...rest] = command;
  const result = spawnSync(program, rest, { cwd, encoding: "utf8" });
  return { ok: result.status === 0, output: `${result.stdout}${result.stderr}${result.error?.message ?? ""}` };
}

/** Generates the code of the .proto files elsewhere and compares it with what is committed. */
function generatedIsFresh(): { ok: boolean; output: string } {
  const folder = mkdtempSync(join(tmpdir(), "earshot-generated-"));
  try {
    for (const name of ["proto", "buf.yaml", "buf.gen.yaml"]) cpSync(name, join(folder, name), { recursive: true });
    rmSync(join(folder, "proto/gen"), { recursive: true });
    const generated = run(["buf", "generate"], folder);
    return generated.ok ? run(["diff", "-r", "proto/gen", join(folder, "proto/gen")]) : generated;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function report(name: string, result: { ok: boolean; output: string }, mend: string): boolean {
  process.stdout.write(result.ok ? `ok      ${name}\n` : `${result.output}\nFAILED  ${name}: ${mend}\n`);
  return result.ok;
}

/** Whether a check can be made here; says so where not. */
function canRun({ name, command: [program], isOptional }: Check): boolean {
  const isThere = isOptional !== true || spawnSync(program, ["version"]).error === undefined;
  if (!isThere) process.stdout.write(`skipped ${name}: there is no ${program} here\n`);
  return isThere;
}

const outcomes = CHECKS.filter(canRun).map(({ name, command, mend }) => report(name, run(command), mend));
outcomes.push(report("generated code", generatedIsFresh(), "npm run generate, and commit proto/gen"));
const passed = outcomes.filter((ok) => ok).length;
const failed = outcomes.length - passed;
const countFile = process.argv[process.argv.indexOf("--count") + 1];
if (process.argv.includes("--count") && countFile !== undefined) {
  mkdirSync(dirname(countFile), { recursive: true });
  writeFileSync(countFile, JSON.stringify({ passed, failed }));
}
process.exitCode = failed === 0 ? 0 : 1;
