import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import * as limits from "#core/domain/limits.ts";
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
