// Owns: which methods a path takes, for `405` and its `Allow`. Filled as routes are registered.

export class RouteTable {
  readonly #methods = new Map<string, Set<string>>();

  add(method: string | readonly string[], url: string): void {
    // What a parameter is called makes no other path.
    const pattern = url.replaceAll(/:[^/]+/g, ":");
    const methods = this.#methods.get(pattern) ?? new Set();
    for (const one of typeof method === "string" ? [method] : method) methods.add(one);
    this.#methods.set(pattern, methods);
  }

  /** Methods of the pattern that a URL matches, sorted; none when there is no such path. */
  methodsOf(url: string): readonly string[] {
    const path = (url.split("?", 1)[0] ?? "").split("/");
    for (const [pattern, methods] of this.#methods) {
      if (matches(pattern.split("/"), path)) return [...methods].sort();
    }
    return [];
  }
}

function matches(pattern: readonly string[], path: readonly string[]): boolean {
  if (pattern.length !== path.length) return false;
  return pattern.every((segment, index) => (segment === ":" ? path[index] !== "" : segment === path[index]));
}
