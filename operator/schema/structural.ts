// Owns: judging a value by a CRD's structural schema as the API server and `kubectl apply` (strict validation) do: fields
// that are null pruned, defaults filled in, types and bounds checked, unknown fields refused by name. ajv's door.
// Elsewhere: rules in CEL (rules.ts), metadata (metadata.ts).

import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import type { SchemaNode } from "./crd.ts";
import { type FieldPath, type Problem, quote } from "./problem.ts";

export class StructuralSchema {
  readonly #schema: SchemaNode;
  readonly #validate: ValidateFunction;

  constructor(schema: SchemaNode) {
    this.#schema = schema;
    this.#validate = new Ajv({ allErrors: true, useDefaults: true, verbose: true }).compile(toJsonSchema(schema));
  }

  /** Fills defaults into `value` (it is changed in place) and tells what is wrong with it. */
  check(value: unknown): readonly Problem[] {
    pruneNulls(value, this.#schema);
    if (this.#validate(value)) return [];
    return dedupe((this.#validate.errors ?? []).slice(0, PROBLEMS_MAX).map(toProblem));
  }
}

/** Problems told of one manifest: who has more mends these first. */
const PROBLEMS_MAX = 32;

/** Bounds of the integer formats that Kubernetes knows. */
const INTEGER_RANGES: Readonly<Record<string, readonly [number, number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
};

/** The same constraints as plain JSON Schema. Objects without `properties` (metadata) are left open: judged elsewhere. */
function toJsonSchema(node: SchemaNode): Record<string, unknown> {
  const { type, items, properties, required, default: standard, format } = node;
  const range = type === "integer" && format !== undefined ? INTEGER_RANGES[format] : undefined;
  const schema: Record<string, unknown> = { type };
  if (standard !== undefined) schema["default"] = standard;
  if (required !== undefined) schema["required"] = required;
  for (const keyword of ["enum", "minLength", "maxLength", "minItems", "maxItems", "pattern"] as const) {
    if (node[keyword] !== undefined) schema[keyword] = node[keyword];
  }
  const minimum = node.minimum ?? range?.[0];
  const maximum = node.maximum ?? range?.[1];
  if (minimum !== undefined) schema["minimum"] = minimum;
  if (maximum !== undefined) schema["maximum"] = maximum;
  if (items !== undefined) schema["items"] = toJsonSchema(items);
  if (properties !== undefined) {
    schema["properties"] = Object.fromEntries(
      Object.entries(properties).map(([name, child]) => [name, toJsonSchema(child)]),
    );
    schema["additionalProperties"] = false;
  }
  return schema;
}

/**
 * A field that is null is as if it were not there: "null values for fields that are not nullable are pruned before
 * defaulting" (Kubernetes docs, CRD defaulting). A list's item that is null stays, and is of the wrong type.
 */
function pruneNulls(value: unknown, node: SchemaNode): void {
  if (Array.isArray(value)) {
    if (node.items !== undefined) for (const item of value) pruneNulls(item, node.items);
    return;
  }
  if (typeof value !== "object" || value === null || node.properties === undefined) return;
  const record = value as Record<string, unknown>;
  for (const [name, child] of Object.entries(node.properties)) {
    if (!Object.hasOwn(record, name)) continue;
    if (record[name] === null) delete record[name];
    else pruneNulls(record[name], child);
  }
}

function toProblem(error: ErrorObject): Problem {
  const path = parsePointer(error.instancePath);
  const params = error.params as Readonly<Record<string, unknown>>;
  const not = `, not ${quote(error.data)}`;
  const limit = String(params["limit"]);
  switch (error.keyword) {
    case "additionalProperties": {
      const known = Object.keys((error.parentSchema?.["properties"] ?? {}) as object).join(", ");
      return { path: [...path, String(params["additionalProperty"])], message: `is not a field; there are ${known}` };
    }
    case "required":
      return { path: [...path, String(params["missingProperty"])], message: "must be set" };
    case "type": {
      const wanted = String(params["type"]);
      // YAML reads `on`, `y` and `5` as something else than text.
      const hint =
        wanted === "string" && ["boolean", "number"].includes(typeof error.data) ? " (put it in quotes)" : "";
      return { path, message: `must be ${ARTICLES[wanted] ?? wanted}${not}${hint}` };
    }
    case "enum":
      return { path, message: `must be one of ${(params["allowedValues"] as unknown[]).join(", ")}${not}` };
    case "minimum":
      return { path, message: `must be at least ${limit}${not}` };
    case "maximum":
      return { path, message: `must be at most ${limit}${not}` };
    case "minLength":
      return { path, message: `must have at least ${limit} ${limit === "1" ? "character" : "characters"}` };
    case "maxLength":
      return { path, message: `must have at most ${limit} characters, not ${Array.from(String(error.data)).length}` };
    case "minItems":
      return { path, message: `must have at least ${limit} entries, not ${(error.data as unknown[]).length}` };
    case "maxItems":
      return { path, message: `must have at most ${limit} entries, not ${(error.data as unknown[]).length}` };
    case "pattern":
      return { path, message: `must match ${String(params["pattern"])}${not}` };
    default:
      return { path, message: error.message ?? "is wrong" };
  }
}

const ARTICLES: Readonly<Record<string, string>> = {
  object: "a mapping",
  array: "a list",
  string: "a string",
  integer: "a whole number",
  boolean: "true or false",
  number: "a number",
};

/** RFC 6901. A step that is all digits is a list's place: none of our fields is named by a number. */
function parsePointer(pointer: string): FieldPath {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => {
      const name = step.replaceAll("~1", "/").replaceAll("~0", "~");
      return /^\d+$/.test(name) ? Number(name) : name;
    });
}

/** A wrong type also fails `enum`: one sentence a field is enough. */
function dedupe(problems: readonly Problem[]): readonly Problem[] {
  const seen = new Set<string>();
  return problems.filter((problem) => {
    const key = JSON.stringify(problem.path);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
