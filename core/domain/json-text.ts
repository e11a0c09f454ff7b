// Owns: reading the JSON of a request without ever rebuilding what a user said. An object's members come as parsed
// scalars or as the very text that was written (payloads: large integers, key order and `__proto__` survive); in that
// text only line ends between tokens become spaces, so that one envelope serves SSE too. Used by HTTP bodies and
// WebSocket frames alike (core/edge turns what is wrong into an EarshotError). Invariant: bytes are checked for UTF-8
// and depth before anything is built from them, and what is unknown is refused by name, never dropped.

import type { Code } from "./codes.ts";
import { isDeeperThan, membersOf, type Span, skipSpace, skipValue, trimJson, withoutLineEnds } from "./json-scan.ts";
import { JSON_DEPTH_MAX } from "./limits.ts";

/** What was read, or why not: the code, a sentence for the user, and the path of the field (`messages[3].payload`). */
export type JsonRead<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: Code; readonly message: string; readonly field: string | undefined };

type JsonKind = "object" | "array" | "string" | "number" | "boolean" | "null";

/** Thrown by JsonFields inside readJsonObject, which alone catches it. */
class JsonProblem extends Error {
  readonly code: Code;
  readonly field: string | undefined;

  constructor(code: Code, message: string, field: string | undefined) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

/**
 * Reads one JSON object from bytes (UTF-8, a byte order mark is allowed). `read` asks `fields` for what it knows; fields
 * that it did not ask for are refused afterwards. Not JSON, or not an object, is `invalid_json`; everything else that
 * is wrong is `invalid_request`.
 */
export function readJsonObject<T>(bytes: Uint8Array, read: (fields: JsonFields) => T): JsonRead<T> {
  try {
    const text = decodeUtf8(bytes);
    if (text === undefined) throw new JsonProblem("invalid_json", "not valid UTF-8", undefined);
    const root = parse(text);
    if (kindOf(root) !== "object") {
      throw new JsonProblem("invalid_json", `a JSON object is needed, not ${article(kindOf(root))}`, undefined);
    }
    return { ok: true, value: readAll(new JsonFields(text, skipSpace(text, 0), root as object, ""), read) };
  } catch (error) {
    if (!(error instanceof JsonProblem)) throw error;
    return { ok: false, code: error.code, message: error.message, field: error.field };
  }
}

/** One JSON value as text, ready to be spoken: checked, without space around it, line ends as spaces. */
export function readJsonText(text: string, field: string): JsonRead<string> {
  try {
    parse(text, field);
    return { ok: true, value: withoutLineEnds(trimJson(text)) };
  } catch (error) {
    if (!(error instanceof JsonProblem)) throw error;
    const code = error.code === "invalid_json" ? "invalid_request" : error.code;
    return { ok: false, code, message: error.message, field };
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** Text of UTF-8 bytes, without a byte order mark; undefined when they are not UTF-8. */
function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The members of one JSON object. Asking for a field makes it known; `finish` refuses every other one. */
export class JsonFields {
  readonly #text: string;
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #spans: ReadonlyMap<string, Span>;
  readonly #asked = new Set<string>();
  /** Where this object is, with a dot behind it; empty for the outermost. */
  readonly #path: string;

  /** `start` is where the object's text begins in `text`, which JSON.parse has accepted. */
  constructor(text: string, start: number, object: object, path: string) {
    this.#text = text;
    this.#object = object as Readonly<Record<string, unknown>>;
    this.#path = path;
    this.#spans = membersOf(text, start, (name) => this.fail(shown(name), "stands there twice"));
  }

  /** What kind of value a field has; undefined when it is absent. */
  kind(name: string): JsonKind | undefined {
    this.#asked.add(name);
    return this.#spans.has(name) ? kindOf(this.#object[name]) : undefined;
  }

  has(name: string): boolean {
    return this.kind(name) !== undefined;
  }

  string(name: string): string {
    return this.optionalString(name) ?? this.#missing(name);
  }

  optionalString(name: string): string | undefined {
    const kind = this.kind(name);
    if (kind === undefined) return undefined;
    if (kind !== "string") this.#wrong(name, "a string");
    return this.#object[name] as string;
  }

  optionalBoolean(name: string): boolean | undefined {
    const kind = this.kind(name);
    if (kind === undefined) return undefined;
    if (kind !== "boolean") this.#wrong(name, "true or false");
    return this.#object[name] as boolean;
  }

  /** A whole number from `min` to `max`. */
  optionalInteger(name: string, min: number, max: number): number | undefined {
    if (!this.has(name)) return undefined;
    const value = this.#object[name];
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    return this.#wrong(name, `a whole number from ${min} to ${max}`);
  }

  optionalNumber(name: string): number | undefined {
    const kind = this.kind(name);
    if (kind === undefined) return undefined;
    if (kind !== "number") this.#wrong(name, "a number");
    return this.#object[name] as number;
  }

  choice<Choice extends string>(name: string, choices: readonly Choice[]): Choice {
    return this.optionalChoice(name, choices) ?? this.#missing(name);
  }

  optionalChoice<Choice extends string>(name: string, choices: readonly Choice[]): Choice | undefined {
    if (!this.has(name)) return undefined;
    const found = choices.find((choice) => choice === this.#object[name]);
    return found ?? this.#wrong(name, `one of ${choices.join(", ")}`);
  }

  /** The text of a field's value as it was written, but for line ends, which are spaces. */
  raw(name: string): string {
    return this.optionalRaw(name) ?? this.#missing(name);
  }

  optionalRaw(name: string): string | undefined {
    this.#asked.add(name);
    const span = this.#spans.get(name);
    return span === undefined ? undefined : withoutLineEnds(this.#text.slice(span.start, span.end));
  }

  /** An object in a field, read as this one is. */
  optionalObject<T>(name: string, read: (fields: JsonFields) => T): T | undefined {
    const kind = this.kind(name);
    const span = this.#spans.get(name);
    if (kind === undefined || span === undefined) return undefined;
    if (kind !== "object") this.#wrong(name, "an object");
    const object = this.#object[name] as object;
    return readAll(new JsonFields(this.#text, span.start, object, `${this.#path}${name}.`), read);
  }

  /** An array of strings, `max` at most. */
  optionalStrings(name: string, max: number): readonly string[] | undefined {
    const values = this.#array(name, max);
    const wrong = values?.findIndex((value) => typeof value !== "string") ?? -1;
    if (wrong >= 0) this.#wrong(`${name}[${wrong}]`, "a string");
    return values as readonly string[] | undefined;
  }

  /** An array of objects, `max` at most, each read as this one is. */
  optionalObjects<T>(name: string, max: number, read: (fields: JsonFields, index: number) => T): T[] | undefined {
    const values = this.#array(name, max);
    const span = this.#spans.get(name);
    if (values === undefined || span === undefined) return undefined;
    const items: T[] = [];
    let at = span.start;
    for (const [index, value] of values.entries()) {
      // Behind the bracket or comma that stands before the item.
      at = skipSpace(this.#text, at + 1);
      if (kindOf(value) !== "object") this.#wrong(`${name}[${index}]`, "an object");
      const fields = new JsonFields(this.#text, at, value as object, `${this.#path}${name}[${index}].`);
      items.push(readAll(fields, (inner) => read(inner, index)));
      at = skipSpace(this.#text, skipValue(this.#text, at));
    }
    return items;
  }

  /** Refuses a field for a reason of the caller's. `reason` goes on after the field's path: "must be base64". */
  fail(name: string, reason: string, code: Code = "invalid_request"): never {
    throw new JsonProblem(code, `${this.#path}${name} ${reason}`, `${this.#path}${name}`);
  }

  /** Lets every other field be: for formats that are not ours alone (a token's claims). */
  ignoreOthers(): void {
    for (const name of this.#spans.keys()) this.#asked.add(name);
  }

  /** Refuses every field that nobody asked for. */
  finish(): void {
    for (const name of this.#spans.keys()) {
      if (this.#asked.has(name)) continue;
      const allowed = [...this.#asked].join(", ");
      this.fail(shown(name), `is not a field here; these are: ${allowed === "" ? "none" : allowed}`);
    }
  }

  #array(name: string, max: number): readonly unknown[] | undefined {
    const kind = this.kind(name);
    if (kind === undefined) return undefined;
    if (kind !== "array") this.#wrong(name, "an array");
    const values = this.#object[name] as readonly unknown[];
    if (values.length > max) this.fail(name, `has ${values.length} items, at most ${max} are allowed`);
    return values;
  }

  #wrong(name: string, right: string): never {
    this.fail(name, `must be ${right}`);
  }

  #missing(name: string): never {
    this.fail(name, "is missing");
  }
}

function readAll<T>(fields: JsonFields, read: (fields: JsonFields) => T): T {
  const value = read(fields);
  fields.finish();
  return value;
}

/** Parses JSON text that may not be nested too deep. `what` begins the sentence about it. */
function parse(text: string, what = "this"): unknown {
  if (isDeeperThan(text, JSON_DEPTH_MAX)) {
    throw new JsonProblem("invalid_request", `${what} is nested deeper than ${JSON_DEPTH_MAX} levels`, undefined);
  }
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // V8's own message quotes the text, which may be a payload or a token.
    throw new JsonProblem("invalid_json", `${what} is not JSON`, undefined);
  }
}

function kindOf(value: unknown): JsonKind {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value as JsonKind;
}

function article(kind: JsonKind): string {
  if (kind === "null") return "null";
  return `${kind === "array" ? "an" : "a"} ${kind}`;
}

/** A name from outside as a message may carry it: short, and one line. */
function shown(name: string): string {
  const quoted = JSON.stringify(name.slice(0, SHOWN_NAME_LENGTH));
  return /^"[A-Za-z0-9_-]+"$/.test(quoted) ? quoted.slice(1, -1) : quoted;
}

/** Characters of an unknown field's name that an error repeats. */
const SHOWN_NAME_LENGTH = 64;
