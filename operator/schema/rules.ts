// Owns: the x-kubernetes-validations of a CRD, evaluated as the API server does: every rule at every value its schema
// node stands for, transition rules (those that speak of oldSelf) only where there is an old value. cel-js's door.
// Called after the structural schema found nothing wrong, so that a rule meets only values of the right type.

import assert from "node:assert/strict";
import { Environment } from "@marcbachmann/cel-js";
import type { SchemaNode, ValidationRule } from "./crd.ts";
import type { FieldPath, Problem } from "./problem.ts";

interface CompiledRule {
  readonly holds: (self: unknown, oldSelf: unknown) => boolean;
  readonly isTransition: boolean;
  readonly message: string;
  readonly fieldPath: FieldPath;
}

interface RuleNode {
  readonly node: SchemaNode;
  readonly rules: readonly CompiledRule[];
  readonly properties: ReadonlyMap<string, RuleNode>;
  readonly items: RuleNode | undefined;
}

export class RuleSet {
  readonly #root: RuleNode | undefined;

  constructor(schema: SchemaNode) {
    const environment = new Environment().registerVariable("self", "dyn").registerVariable("oldSelf", "dyn");
    this.#root = compileNode(schema, environment, true);
  }

  /** What `value` breaks, given the value it replaces (undefined: it is new). */
  check(value: unknown, old: unknown): readonly Problem[] {
    const problems: Problem[] = [];
    if (this.#root === undefined) return problems;
    const { node } = this.#root;
    checkNode(this.#root, toCel(value, node), old === undefined ? undefined : toCel(old, node), { path: [], problems });
    return problems;
  }
}

/** Undefined where neither the node nor anything below it has a rule. */
function compileNode(node: SchemaNode, environment: Environment, correlatable: boolean): RuleNode | undefined {
  const rules = (node["x-kubernetes-validations"] ?? []).map((rule) => compileRule(rule, environment));
  // Kubernetes refuses such a CRD too: items of an atomic list have no old value of their own.
  assert(
    correlatable || !rules.some((rule) => rule.isTransition),
    "a transition rule stands where oldSelf is not known",
  );
  const properties = new Map<string, RuleNode>();
  for (const [name, child] of Object.entries(node.properties ?? {})) {
    const compiled = compileNode(child, environment, correlatable);
    if (compiled !== undefined) properties.set(name, compiled);
  }
  const items = node.items === undefined ? undefined : compileNode(node.items, environment, false);
  if (rules.length === 0 && properties.size === 0 && items === undefined) return undefined;
  return { node, rules, properties, items };
}

function compileRule(rule: ValidationRule, environment: Environment): CompiledRule {
  const evaluate = environment.parse(rule.rule);
  return {
    holds: (self, oldSelf) => {
      try {
        return evaluate({ self, oldSelf }) === true;
      } catch {
        // "no such key" and the like: the API server counts an error as a broken rule.
        return false;
      }
    },
    isTransition: /\boldSelf\b/.test(rule.rule),
    message: rule.message,
    fieldPath: (rule.fieldPath ?? "").split(".").slice(1),
  };
}

interface Walk {
  readonly path: FieldPath;
  readonly problems: Problem[];
}

/** `self` and `oldSelf` in CEL's types. */
function checkNode(compiled: RuleNode, self: unknown, oldSelf: unknown, { path, problems }: Walk): void {
  if (self === undefined || self === null) return;
  for (const { isTransition, holds, fieldPath, message } of compiled.rules) {
    if (isTransition && oldSelf === undefined) continue;
    if (!holds(self, oldSelf)) problems.push({ path: [...path, ...fieldPath], message: `is wrong: ${message}` });
  }
  for (const [name, child] of compiled.properties) {
    checkNode(child, fieldOf(self, name), fieldOf(oldSelf, name), { path: [...path, name], problems });
  }
  if (compiled.items === undefined || !Array.isArray(self)) return;
  for (const [index, item] of self.entries()) {
    checkNode(compiled.items, item, undefined, { path: [...path, index], problems });
  }
}

/** The field of a converted value. */
function fieldOf(value: unknown, property: string): unknown {
  const name = escapeProperty(property);
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

/**
 * A value in CEL's types and names: a schema's integers become bigints, so that `/`, `<` and `==` mean what they mean
 * there (int is 64 bits wide); properties are named as Kubernetes names them in rules.
 */
function toCel(value: unknown, node: SchemaNode | undefined): unknown {
  if (node === undefined) return value;
  if (node.type === "integer") return BigInt(value as number);
  if (Array.isArray(value)) return value.map((item) => toCel(item, node.items));
  if (typeof value !== "object" || value === null || node.properties === undefined) return value;
  const converted: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(value)) {
    if (Object.hasOwn(node.properties, name)) converted[escapeProperty(name)] = toCel(field, node.properties[name]);
  }
  return converted;
}

/** https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#escaping */
const RESERVED_WORDS: ReadonlySet<string> = new Set(
  "true false null in as break const continue else for function if import let loop package namespace return".split(" "),
);

function escapeProperty(name: string): string {
  if (RESERVED_WORDS.has(name)) return `__${name}__`;
  return name
    .replaceAll("__", "__underscores__")
    .replaceAll(".", "__dot__")
    .replaceAll("-", "__dash__")
    .replaceAll("/", "__slash__");
}
