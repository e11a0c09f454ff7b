// Every log call of the code: a constant sentence, what varies in fields, and no field that would hold what a user said or
// proved who they are with. What processes really log is looked at after every run (test/harness/kept-logs.ts).

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const CALL = /\b#?log\.(?:fatal|error|warn|info|debug|trace)\(/g;

/** Fields whose values would be somebody's words, or their keys. */
const FORBIDDEN =
  /\b(?:payload|token|secret|password|authorization|envelope|frame|body|order|record|headers|principal|userId|publisherId)\b(?!\.)/;

interface LogCall {
  readonly where: string;
  /** Between the parentheses, without line ends. */
  readonly text: string;
}

function callsOf(path: string): LogCall[] {
  const source = readFileSync(join(ROOT, path), "utf8");
  return [...source.matchAll(CALL)].map((match) => {
    const start = match.index + match[0].length;
    let depth = 1;
    let end = start;
    for (; depth > 0 && end < source.length; end++) {
      if (source[end] === "(") depth += 1;
      if (source[end] === ")") depth -= 1;
    }
    const line = source.slice(0, start).split("\n").length;
    return {
      where: `${path}:${line}`,
      text: source
        .slice(start, end - 1)
        .replaceAll(/\s+/g, " ")
        .trim(),
    };
  });
}

const CALLS = globSync("{core,operator,router,gateway,canary,standalone}/**/*.ts", { cwd: ROOT }).flatMap(callsOf);

/** The sentence of a call: its last argument. */
function sentenceOf({ text }: LogCall): string | undefined {
  return /(?:^|, )"((?:[^"\\]|\\.)+)",?$/.exec(text)?.[1];
}

test("the calls are found", () => {
  expect(CALLS.length).toBeGreaterThan(50);
});

test("every call has a constant sentence, but for one that passes such a sentence on", () => {
  const without = CALLS.filter((call) => sentenceOf(call) === undefined);
  expect(without.filter(({ text }) => !/^fields, sentence$/.test(text))).toEqual([]);
});

test("no call has a field that would hold a payload, a token or who somebody is", () => {
  const fields = CALLS.map((call) => ({ ...call, text: call.text.replace(/"(?:[^"\\]|\\.)*"/g, "") }));
  expect(fields.filter(({ text }) => FORBIDDEN.test(text))).toEqual([]);
});

test("no sentence is used for two events of one file", () => {
  const seen = new Map<string, string>();
  const twice: string[] = [];
  for (const call of CALLS) {
    const key = `${call.where.split(":")[0]} ${sentenceOf(call)}`;
    const before = seen.get(key);
    if (before !== undefined) twice.push(`${before} and ${call.where}: ${sentenceOf(call)}`);
    seen.set(key, call.where);
  }
  expect(twice).toEqual([]);
});
