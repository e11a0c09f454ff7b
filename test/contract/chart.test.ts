import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { chartFiles } from "../../scripts/chart.ts";

const ROOT = join(import.meta.dirname, "../..");

test.each(Object.entries(chartFiles()))("%s is what `npm run chart` writes", (path, text) => {
  expect(readFileSync(join(ROOT, path), "utf8")).toBe(text);
});
