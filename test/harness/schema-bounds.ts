// Owns: what a CRD's schema allows at its very edge, and the first thing that it forbids: for every bound of every field a
// value at the bound and one past it. Made from the schema itself, so that no bound is forgotten.

import type { SchemaNode } from "../../operator/schema/crd.ts";

export interface BoundCase {
  /** As the API server names it: `spec.publishers[0].name`. */
  readonly field: string;
  /** Keys and places from the root. */
  readonly path: readonly (string | number)[];
  /** `maxLength 256` */
  readonly bound: string;
  /** Allowed; absent where another field decides whether it is. */
  readonly at: readonly unknown[];
  readonly past: unknown;
}

/** Every bound of `node` and below it. Lists are entered at their first item. */
export function* boundsOf(node: SchemaNode, path: readonly (string | number)[]): Generator<BoundCase> {
  for (const { bound, at, past } of ownBounds(node)) yield { field: fieldOf(path), path, bound, at, past };
  for (const [name, child] of Object.entries(node.properties ?? {})) yield* boundsOf(child, [...path, name]);
  if (node.items !== undefined) yield* boundsOf(node.items, [...path, 0]);
}

type Bound = Pick<BoundCase, "bound" | "at" | "past">;

function* ownBounds(node: SchemaNode): Generator<Bound> {
  yield { bound: `type ${node.type}`, at: [], past: node.type === "string" ? 5 : "five" };
  const { minimum, maximum, minLength, maxLength, maxItems, pattern } = node;
  if (node.enum !== undefined) yield { bound: "enum", at: node.enum, past: "Nonesuch" };
  if (minimum !== undefined) yield { bound: `minimum ${minimum}`, at: [minimum], past: minimum - 1 };
  if (maximum !== undefined) yield { bound: `maximum ${maximum}`, at: [maximum], past: maximum + 1 };
  if (minLength !== undefined) {
    yield { bound: `minLength ${minLength}`, at: ["a".repeat(minLength)], past: "a".repeat(minLength - 1) };
  }
  if (maxLength !== undefined) {
    yield { bound: `maxLength ${maxLength}`, at: ["a".repeat(maxLength)], past: "a".repeat(maxLength + 1) };
  }
  if (node.format === "date-time") yield { bound: "date-time", at: ["2026-01-01T00:00:00Z"], past: "yesterday" };
  if (pattern !== undefined) yield { bound: "pattern", at: ["abc"], past: "ABC-" };
  if (maxItems !== undefined) yield* itemBound(maxItems, node.items);
}

function* itemBound(maxItems: number, items: SchemaNode | undefined): Generator<Bound> {
  const itemsOf = (count: number): unknown[] => Array.from({ length: count }, (_, index) => exampleOf(items, index));
  yield { bound: `maxItems ${maxItems}`, at: [itemsOf(maxItems)], past: itemsOf(maxItems + 1) };
}

/** An item that is right; one of its own for every index, where a list has keys. */
function exampleOf(node: SchemaNode | undefined, index: number): unknown {
  if (node?.properties?.["lastTransitionTime"] !== undefined) return exampleCondition(`Type${index}`);
  return { kind: "User", name: `user-${index}` };
}

export function exampleCondition(type: string): Readonly<Record<string, unknown>> {
  return { type, status: "True", reason: "Example", message: "", lastTransitionTime: "2026-01-01T00:00:00Z" };
}

/** `base` with `value` at `path`; the way there must exist in `base`. */
export function withValue(base: unknown, path: readonly (string | number)[], value: unknown): unknown {
  const copy = structuredClone(base);
  let node = copy as Record<string | number, unknown>;
  for (const step of path.slice(0, -1)) node = node[step] as Record<string | number, unknown>;
  const last = path.at(-1);
  if (last === undefined) return value;
  node[last] = value;
  return copy;
}

function fieldOf(path: readonly (string | number)[]): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === "number") return `${text}[${step}]`;
    return text === "" ? step : `${text}.${step}`;
  }, "");
}
