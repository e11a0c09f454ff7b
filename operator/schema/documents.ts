// Owns: taking YAML text apart as kubectl does: many documents, YAML 1.1 scalars (`on` is true), a line for every field.
// Documents are cut at their `---` lines first (nothing in YAML may hold such a line), so that one that cannot be read
// spoils no other, and a file of many thousands is parsed a document at a time.

import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type ScalarTag,
  type Tags,
} from "yaml";
import { messageOf } from "#core/runtime/errors.ts";
import type { FieldPath, Problem } from "./problem.ts";

/** A piece of a file that may hold one document. */
export interface Piece {
  readonly text: string;
  /** Of its first line, from 1. */
  readonly line: number;
}

export type ReadDocument =
  | { readonly ok: true; readonly value: unknown; readonly lineOf: (path: FieldPath) => number }
  | { readonly ok: false; readonly problem: Problem };

/** Aliases that one document may expand to: against "billion laughs". */
const ALIASES_MAX = 100;

/** Characters of one document: etcd takes 1.5 MiB, and 64 subjects with long names need 40 KiB. */
const DOCUMENT_LENGTH_MAX = 1024 * 1024;

/** Cuts a file at its document separators. Pieces without content (comments alone) are left out. */
export function* cutDocuments(text: string): Generator<Piece> {
  let start = 0;
  let startLine = 1;
  let line = 1;
  const body = text.startsWith("\uFEFF") ? text.slice(1) : text;
  for (let at = 0; at < body.length; line++) {
    const end = body.indexOf("\n", at);
    const next = end < 0 ? body.length : end + 1;
    if (at > start && isSeparator(body, at) && !isPrologue(body.slice(start, at))) {
      yield* piece(body.slice(start, at), startLine);
      start = at;
      startLine = line;
    }
    at = next;
  }
  yield* piece(body.slice(start), startLine);
}

function* piece(text: string, line: number): Generator<Piece> {
  if (/^(?!\s*#|---\s*(#|$)|\.\.\.\s*$)\s*\S/m.test(text)) yield { text, line };
}

function isSeparator(text: string, at: number): boolean {
  return text.startsWith("---", at) && (at + 3 === text.length || /\s/.test(text.charAt(at + 3)));
}

/** Directives (`%YAML 1.2`) stand before the `---` of their own document. */
function isPrologue(text: string): boolean {
  return text.startsWith("%") && text.split("\n").every((line) => /^(%|\s*#|\s*$)/.test(line));
}

/** Reads one piece. */
export function readDocument(piece: Piece): ReadDocument {
  if (piece.text.length > DOCUMENT_LENGTH_MAX) {
    return refuse(`is larger than ${DOCUMENT_LENGTH_MAX} characters`, piece.line);
  }
  const lineCounter = new LineCounter();
  const document = parseDocument(piece.text, {
    version: "1.1",
    schema: "yaml-1.1",
    merge: true,
    lineCounter,
    customTags: kubectlTags,
    logLevel: "silent",
  });
  const lineAt = (offset: number): number => piece.line + Math.max(1, lineCounter.linePos(offset).line) - 1;
  const [error] = document.errors;
  if (error !== undefined) return refuse(firstSentence(error.message), lineAt(error.pos[0]));
  try {
    const value: unknown = document.toJS({ maxAliasCount: ALIASES_MAX });
    return { ok: true, value, lineOf: (path) => lineAt(offsetOf(document, path)) };
  } catch (error) {
    return refuse(firstSentence(messageOf(error)), piece.line);
  }
}

/** Octal numbers of YAML 1.2, which go-yaml reads beside those of 1.1 (`017`). */
const OCTAL: ScalarTag = {
  tag: "tag:yaml.org,2002:int",
  default: true,
  test: /^[-+]?0o[0-7]+$/,
  resolve: (text) => (text.startsWith("-") ? -1 : 1) * Number.parseInt(text.replace(/^[-+]?0o/, ""), 8),
};

/** What go-yaml resolves for kubectl: no dates, sets, binary or base-60 numbers; they stay text. */
function kubectlTags(tags: Tags): Tags {
  const kept = tags.filter((tag) => {
    if (typeof tag === "string")
      return !["timestamp", "binary", "omap", "pairs", "set", "intTime", "floatTime"].includes(tag);
    const dropped = ["timestamp", "binary", "omap", "pairs", "set"].some(
      (name) => tag.tag === `tag:yaml.org,2002:${name}`,
    );
    return !dropped && tag.format !== "TIME";
  });
  return [OCTAL, ...kept];
}

/** The yaml library appends a picture of the place. */
function firstSentence(message: string): string {
  return `is not YAML: ${(message.split("\n")[0] ?? message).replace(/ at line \d+, column \d+:?$/, "")}`;
}

/** Where the field of a path stands; its nearest ancestor where it is not there. */
function offsetOf(document: Document.Parsed, path: FieldPath): number {
  let node: unknown = document.contents;
  let offset = startOf(node);
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === step);
      if (pair === undefined) break;
      offset = startOf(pair.key);
      node = pair.value;
    } else if (isSeq(node) && typeof step === "number") {
      node = node.items[step];
      offset = startOf(node) || offset;
    } else break;
  }
  return offset;
}

function startOf(node: unknown): number {
  return isNode(node) ? ((node as Node).range?.[0] ?? 0) : 0;
}

function refuse(message: string, line: number): ReadDocument {
  return { ok: false, problem: { path: [], message: `the document ${message}`, line } };
}
