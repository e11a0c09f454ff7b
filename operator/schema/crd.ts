// Owns: reading a CustomResourceDefinition of crds/, the single source of the schema. Kubernetes judges by the very same
// file. What is not a v1 CRD with one served version and a structural schema is a bug of ours, and ends the process.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

/** A structural schema, as far as our CRDs use it (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/). */
export interface SchemaNode {
  readonly type: "object" | "array" | "string" | "integer" | "boolean" | "number";
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  readonly format?: string;
  readonly "x-kubernetes-validations"?: readonly ValidationRule[];
  readonly "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
}

export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
  /** Path below the node that carries the rule, as `.owner`. */
  readonly fieldPath?: string;
}

export interface CustomResource {
  /** `earshot.dev/v1alpha1` */
  readonly apiVersion: string;
  readonly kind: string;
  readonly schema: SchemaNode;
}

const CRDS_FOLDER = join(import.meta.dirname, "..", "..", "crds");

/** Reads `crds/<name>.yaml`. */
export function readCustomResource(name: string): CustomResource {
  const crd = parse(readFileSync(join(CRDS_FOLDER, `${name}.yaml`), "utf8")) as {
    apiVersion: string;
    kind: string;
    spec: {
      group: string;
      names: { kind: string };
      versions: { name: string; served: boolean; schema: { openAPIV3Schema: SchemaNode } }[];
    };
  };
  assert.equal(crd.apiVersion, "apiextensions.k8s.io/v1");
  assert.equal(crd.kind, "CustomResourceDefinition");
  const [version, ...others] = crd.spec.versions;
  assert(version !== undefined && others.length === 0 && version.served, `${name} has one served version`);
  return {
    apiVersion: `${crd.spec.group}/${version.name}`,
    kind: crd.spec.names.kind,
    schema: version.schema.openAPIV3Schema,
  };
}
