// Owns: what may stand in a log: every line one JSON object with a constant sentence, nowhere a token, a secret or a payload.
// Pure. Called by test/harness/kept-logs.ts for all that the processes of a test run have logged.

/** What tests put into messages, so that a payload in a log is known for one. */
export const PAYLOAD_MARK = "payload-must-not-be-logged";

export interface KeptLog {
  readonly name: string;
  readonly text: string;
}

export interface LogRules {
  /** Texts of the code among which every sentence must be: what is put together at run time is not. */
  readonly sentences: ReadonlySet<string>;
  /** Secrets of the run. */
  readonly secrets: readonly string[];
}

/** What must stand in no log, whatever its form. */
const FORBIDDEN: readonly (readonly [RegExp, string])[] = [
  [/eyJ[\w-]{4,}\.[\w-]{4,}/, "a token"],
  [/[?&"](?:access_)?token=[^&\s"]/, "a token in a URL"],
  [/\bBearer\s+[\w~+/.-]{8,}/, "an Authorization header"],
  [/\brediss?:\/\/[^/\s"@]*:[^/\s"@]+@/, "a password in a URL"],
  [/-----BEGIN [A-Z ]*PRIVATE KEY/, "a private key"],
  [new RegExp(PAYLOAD_MARK), "a payload"],
];

/** Names of fields that would hold what must not be logged. */
const FORBIDDEN_FIELDS = new Set([
  "payload",
  "token",
  "authorization",
  "secret",
  "password",
  "envelope",
  "body",
  "headers",
]);

/** Node.js's own words about itself, which are no events of ours. */
const OF_NODE = /^\(node:\d+\) |^\(Use `node --trace-/;

/** What is wrong, one sentence each: log, line, and what; never the line itself, which may hold a secret. */
export function checkLogs(logs: readonly KeptLog[], rules: LogRules): readonly string[] {
  return logs.flatMap(({ name, text }) => {
    const lines = text.split("\n").filter((line) => line !== "");
    return lines.flatMap((line, index) => {
      const isAlone = [lines[index - 1], lines[index + 1]].every((other) => other === undefined || isJson(other));
      return problemsOf(line, isAlone, rules).map((what) => `${name}:${index + 1}: ${what}`);
    });
  });
}

function isJson(line: string): boolean {
  return parsed(line) !== undefined;
}

/** `isAlone`: neither the line before it nor the one behind is plain text. */
function problemsOf(line: string, isAlone: boolean, rules: LogRules): readonly string[] {
  const problems = FORBIDDEN.flatMap(([pattern, what]) => (pattern.test(line) ? [`holds ${what}`] : []));
  if (rules.secrets.some((secret) => line.includes(secret))) problems.push("holds a secret");
  const fields = parsed(line);
  if (fields === undefined) {
    // One sentence says why a process cannot begin (core/runtime/process.ts); an error that nobody caught has many lines.
    if (!OF_NODE.test(line) && !isAlone) problems.push("is no line of JSON");
    return problems;
  }
  const { level, time, role, message } = fields;
  for (const [name, value] of Object.entries({ level, time, role, message })) {
    if (typeof value !== "string" || value === "") problems.push(`has no ${name}`);
  }
  if (typeof message === "string" && !rules.sentences.has(message))
    problems.push("has a sentence that is not constant");
  for (const name of namesIn(fields)) if (FORBIDDEN_FIELDS.has(name)) problems.push(`has the field ${name}`);
  return problems;
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function namesIn(value: unknown): readonly string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [name, ...namesIn(inner)]);
}

/** Every text in double quotes of source code. */
export function textsOf(source: string): readonly string[] {
  return [...source.matchAll(/"((?:[^"\\\n]|\\.)*)"/g)].map(([, text = ""]) => text);
}
