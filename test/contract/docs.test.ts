import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import * as limits from "#core/domain/limits.ts";
import { variableOf } from "#core/runtime/config.ts";
import { SETTINGS } from "#core/runtime/settings.ts";
import { pages } from "../../scripts/docs.ts";

const ROOT = join(import.meta.dirname, "../..");

test.each(Object.entries(pages()))("%s is what `npm run docs` writes", (path, text) => {
  expect(readFileSync(join(ROOT, path), "utf8")).toBe(text);
});

test("every fixed limit stands in docs/config.md with a reason", () => {
  const page = pages()["docs/config.md"] ?? "";
  for (const name of Object.keys(limits))
    expect(page).toMatch(new RegExp(`\\| \`${name}\` \\| [\\d,.]+ \\| \\w.{20,} \\|`));
});

const WRITTEN = globSync("{*.md,docs/**/*.md}", { cwd: ROOT });

test("every link between our pages leads somewhere", () => {
  const broken: string[] = [];
  for (const path of WRITTEN) {
    for (const [, target = ""] of readFileSync(join(ROOT, path), "utf8").matchAll(/\]\(([^)\s#]+)[^)]*\)/g)) {
      if (!/^[a-z]+:/.test(target) && !existsSync(join(ROOT, dirname(path), target))) broken.push(`${path}: ${target}`);
    }
  }
  expect(broken).toEqual([]);
});

test("every environment variable that a page names is a setting, or what tests in a cluster read", () => {
  const known = new Set([...Object.keys(SETTINGS).map(variableOf), "EARSHOT_CONFIG"]);
  for (const file of globSync("test/harness/kube-*.ts", { cwd: ROOT })) {
    const read = readFileSync(join(ROOT, file), "utf8").matchAll(/process\.env\["(EARSHOT_TEST_[A-Z_]+)"\]/g);
    for (const [, name = ""] of read) known.add(name);
  }
  const unknown: string[] = [];
  for (const path of WRITTEN) {
    for (const [name] of readFileSync(join(ROOT, path), "utf8").matchAll(/EARSHOT_[A-Z_]*[A-Z]/g)) {
      if (!known.has(name)) unknown.push(`${path}: ${name}`);
    }
  }
  expect(unknown).toEqual([]);
});
