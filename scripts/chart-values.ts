// Owns: reading charts/earshot/values.yaml with its comments: each value's path, default and description, in the order of the
// file. Invariant: every value that is not a mapping of further values has a comment right above it.

import { type Document, isMap, isScalar, type Node, type Pair, parseDocument, type YAMLMap } from "yaml";

export interface ChartValue {
  /** Like `gateway.service.port`. */
  readonly path: string;
  readonly description: string;
  readonly default: unknown;
}

/** Mappings that users fill with names of their own: values, not branches. */
const LEAVES =
  /(^|\.)(config|commonLabels|labels|annotations|podLabels|podAnnotations|serviceAccountAnnotations|nodeSelector|affinity|resources)$/;

/** Every value of the file. Throws where one has no description. */
export function readChartValues(text: string): ChartValue[] {
  const document: Document = parseDocument(text);
  if (!isMap(document.contents)) throw new Error("values.yaml must be a mapping");
  return [...valuesOf(document.contents, "", document)];
}

function* valuesOf(map: YAMLMap, prefix: string, document: Document): Generator<ChartValue> {
  for (const [index, pair] of (map.items as Pair<Node, Node | null>[]).entries()) {
    const path = `${prefix}${String(pair.key)}`;
    if (isMap(pair.value) && pair.value.items.length > 0 && !LEAVES.test(path)) {
      yield* valuesOf(pair.value, `${path}.`, document);
      continue;
    }
    const description = commentOf(pair, index === 0 ? map : undefined);
    if (description === "") throw new Error(`${path} has no description`);
    yield { path, description, default: pair.value?.toJS(document) };
  }
}

/** The parser gives the comment above a mapping's first key to the mapping. */
function commentOf(pair: Pair<Node, Node | null>, map: YAMLMap | undefined): string {
  const own = isScalar(pair.key) ? pair.key.commentBefore : undefined;
  const comment = own ?? map?.commentBefore ?? "";
  // What stands above an empty line speaks of more than this value.
  return (comment.split(/\n\s*\n/).at(-1) ?? "")
    .split("\n")
    .map((line) => line.trim())
    .join(" ")
    .trim();
}
