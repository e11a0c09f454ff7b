// Owns: what is wrong with a manifest, in the words of whoever wrote it: the field's path, what would be right, the line.

export type FieldPath = readonly (string | number)[];

export interface Problem {
  readonly path: FieldPath;
  /** Follows the field's path in a sentence: `must be one of Public, Private..., not "Open"`. */
  readonly message: string;
  /** From 1; absent where the manifest did not come from a file. */
  readonly line?: number;
}

/** `spec.publishers[0].name` */
export function formatPath(path: FieldPath): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(step.slice(0, PART_LENGTH_MAX))}]`;
  }
  return text;
}

/** One line for terminal and log: `line 7: spec.delivery.maxMessageBytes must be at most 1048576, not 2000000`. */
export function formatProblem(problem: Problem): string {
  const field = formatPath(problem.path);
  const sentence = field === "" ? problem.message : `${field} ${problem.message}`;
  return problem.line === undefined ? sentence : `line ${problem.line}: ${sentence}`;
}

/** A value as a message may quote it: JSON, cut where it is long. */
export function quote(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length <= PART_LENGTH_MAX ? text : `${text.slice(0, PART_LENGTH_MAX)}...`;
}

/** Characters of a quoted value or key: enough to recognise it, and a log line stays one. */
const PART_LENGTH_MAX = 64;
