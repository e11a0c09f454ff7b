// Holds the image against what its processes need: every file that a main imports, however far away, is let into the build
// by .dockerignore, and nothing of tests, benches or development is.

import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const MAINS = ["operator/main.ts", "router/main.ts", "gateway/main.ts", "canary/main.ts", "scripts/warm.ts"];
const LET_IN = readFileSync(join(ROOT, ".dockerignore"), "utf8")
  .split("\n")
  .flatMap((line) => (line.startsWith("!") ? [line.slice(1)] : []));
const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)|(?:^|\n)import\s+"([^"]+)"/g;

function isLetIn(path: string): boolean {
  return LET_IN.some((place) => path === place || path.startsWith(`${place}/`));
}

/** Files of ours that are loaded with a file. */
function filesOf(file: string, known = new Set<string>()): Set<string> {
  if (known.has(file)) return known;
  known.add(file);
  for (const match of readFileSync(join(ROOT, file), "utf8").matchAll(IMPORT)) {
    const name = match[1] ?? match[2] ?? match[3] ?? "";
    const path = name.startsWith(".")
      ? normalize(join(dirname(file), name))
      : name.replace(/^#core\//, "core/").replace(/^#proto\//, "proto/gen/");
    if (path.endsWith(".ts")) filesOf(path, known);
  }
  return known;
}

test.each(MAINS)("everything that %s needs is let into the image", (main) => {
  const files = [...filesOf(main)];
  expect(files.filter((path) => !isLetIn(path))).toEqual([]);
});

test("the CRD that Topics are judged by, the page and the libraries' list are let in", () => {
  const page = globSync("gateway/http/page/client/**/*.ts", { cwd: ROOT });
  expect(page.length).toBeGreaterThan(3);
  const needed = ["crds/topics.earshot.dev.yaml", "package.json", "package-lock.json", ...page];
  expect(needed.filter((path) => !isLetIn(path) || !existsSync(join(ROOT, path)))).toEqual([]);
});

test("whatever is let in is there, and nothing of tests or development is", () => {
  expect(LET_IN.filter((place) => !existsSync(join(ROOT, place)))).toEqual([]);
  for (const path of ["test", "bench", "docs", "charts", "examples", "node_modules", ".git", "standalone/main.ts"]) {
    expect(isLetIn(path), path).toBe(false);
  }
});

test("the image runs as an ordinary user, with node as its first process", () => {
  const lines = readFileSync(join(ROOT, "Dockerfile"), "utf8").split("\n");
  expect(lines).toContain("USER 1000:1000");
  expect(lines).toContain('ENTRYPOINT ["node"]');
  expect(lines.filter((line) => line.startsWith("FROM"))).toEqual([
    "FROM node:24-slim AS libraries",
    "FROM node:24-slim",
  ]);
  expect(lines.some((line) => line.includes("npm ci --omit=dev --ignore-scripts"))).toBe(true);
});
